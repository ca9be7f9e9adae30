// How linear_cross_entropy cuts its rows. The same on every backend, since the order of sums depends on it.
#pragma once
#include <algorithm>
#include <cstdint>

namespace lowrank {

/// Rows of logits held at once: at most 64 MB of them, and no more than products need to be fast.
inline int64_t loss_chunk_rows(int64_t rows, int64_t vocabulary) {
  constexpr int64_t kFloats = 1 << 24, kUnit = 8, kMost = 128;
  const int64_t fit = kFloats / std::max<int64_t>(1, vocabulary) / kUnit * kUnit;
  return std::clamp<int64_t>(rows, 1, std::clamp(fit, kUnit, kMost));
}

}  // namespace lowrank
