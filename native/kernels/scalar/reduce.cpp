// Sums, their transposes, and argmax.
#include <cmath>

#include "kernels/scalar/kernels.h"
#include "kernels/scalar/sums.h"

namespace lowrank::scalar {

// y = factor * sum of x
Status sum_all(Context& ctx, Out y, In x, f32 factor) {
  float sum = 0;
  const Status status = matrix_sum(ctx, sum, x.rows, x.cols, [&](int64_t r, int64_t c) { return x.row<const float>(r)[c]; });
  *y.row<float>(0) = factor * sum;
  return status;
}

// y[r] = factor * sum of x[r, :]
Status sum_cols(Context& ctx, Out y, In x, f32 factor) {
  return for_each_row(ctx, x.rows, x.cols, [&](int64_t r) {
    const float* in = x.row<const float>(r);
    *y.row<float>(r) = factor * tree_sum<float>(x.cols, [&](int64_t c) { return in[c]; });
  });
}

// y[g, c] = factor * sum over the n rows r of group g of x[r, c]
Status sum_rows(Context& ctx, Out y, In x, i32 n, f32 factor) {
  return column_sums(ctx, y, n, factor, [&](int64_t r, int64_t c) { return x.row<const float>(r)[c]; });
}

// y[r, c] = factor * x[r / n, c]; an x of one column or one element is repeated along the other axis too
Status broadcast(Context& ctx, Out y, In x, i32 n, f32 factor) {
  const int64_t column_step = x.cols == 1 ? 0 : 1;
  return for_each_span(ctx, y.rows, y.cols, [&](int64_t r, int64_t begin, int64_t end) {
    float* out = y.row<float>(r);
    const float* in = x.row<const float>(x.rows == 1 ? 0 : r / n);
    for (int64_t c = begin; c < end; ++c) out[c] = factor * in[c * column_step];
  });
}

// y[r] = column of the largest element of x[r, :]; the first among equals; the first NaN, if any
Status argmax(Context& ctx, Out y, In x) {
  return for_each_row(ctx, x.rows, x.cols, [&](int64_t r) {
    const float* in = x.row<const float>(r);
    int64_t best = 0;
    for (int64_t c = 0; c < x.cols && !std::isnan(in[best]); ++c)
      if (in[c] > in[best] || std::isnan(in[c])) best = c;
    *y.row<int32_t>(r) = static_cast<int32_t>(best);
  });
}

}  // namespace lowrank::scalar
