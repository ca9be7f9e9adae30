// How linear_cross_entropy cuts its rows. The same on every backend, since the order of sums depends on it.
#pragma once
#include <algorithm>
#include <cstdint>

namespace lowrank {

/// Rows of logits held at once: at most 64 MB of them. Without a gradient of the weight no more than products need to be fast; with one
/// every chunk reads and writes all of it.
inline int64_t loss_chunk_rows(int64_t rows, int64_t vocabulary, bool weight_gradient) {
  constexpr int64_t kFloats = 1 << 24, kUnit = 8, kMost = 128;
  const int64_t fit = std::max(kUnit, kFloats / std::max<int64_t>(1, vocabulary) / kUnit * kUnit);
  return std::clamp<int64_t>(rows, 1, weight_gradient ? fit : std::min(fit, kMost));
}

}  // namespace lowrank
