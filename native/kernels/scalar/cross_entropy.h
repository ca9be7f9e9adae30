// The loss of one row of logits, for both kernels that compute it.
#pragma once
#include <cmath>
#include <limits>

#include "kernels/scalar/sums.h"

namespace lowrank::scalar {

/// max and log(sum(exp(x - max))) of one row: a row's log-sum-exp without overflow, in two parts.
struct LogSumExp {
  float max, log_sum;

  LogSumExp(const float* x, int64_t n) : max(-std::numeric_limits<float>::infinity()) {
    for (int64_t c = 0; c < n; ++c) max = x[c] > max ? x[c] : max;
    log_sum = std::log(tree_sum<float>(n, [&](int64_t c) { return std::exp(x[c] - max); }));
  }

  float value() const { return max + log_sum; }
  float loss(float own) const { return log_sum - (own - max); }
};

/// out = factor (exp(x - lse) - [column is the label]); 0 on an ignored row. out may be x.
inline void logits_gradient(float* out, const float* x, int64_t n, int32_t label, int32_t ignore, float lse, float factor) {
  if (label == ignore) {
    std::fill(out, out + n, 0.0f);
    return;
  }
  for (int64_t c = 0; c < n; ++c) out[c] = factor * (std::exp(x[c] - lse) - (c == label ? 1.0f : 0.0f));
}

}  // namespace lowrank::scalar
