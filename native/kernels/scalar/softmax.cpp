// Softmax and cross entropy over rows.
#include <cmath>
#include <limits>

#include "kernels/checks.h"
#include "kernels/scalar/cross_entropy.h"
#include "kernels/scalar/kernels.h"

namespace lowrank::scalar {

// y = exp(x - max) / sum(exp(x - max))
Status softmax_forward(Context& ctx, Out y, In x) {
  return for_each_row(ctx, x.rows, x.cols, [&](int64_t r) {
    const float* in = x.row<const float>(r);
    float* out = y.row<float>(r);
    float max = -std::numeric_limits<float>::infinity();
    for (int64_t c = 0; c < x.cols; ++c) max = in[c] > max ? in[c] : max;
    for (int64_t c = 0; c < x.cols; ++c) out[c] = std::exp(in[c] - max);
    const float sum = tree_sum<float>(x.cols, [&](int64_t c) { return out[c]; });
    for (int64_t c = 0; c < x.cols; ++c) out[c] /= sum;
  });
}

// dx = y (dy - sum(dy y))
Status softmax_backward(Context& ctx, Out dx, In dy, In y) {
  return for_each_row(ctx, y.rows, y.cols, [&](int64_t r) {
    const float *g = dy.row<const float>(r), *p = y.row<const float>(r);
    float* out = dx.row<float>(r);
    const float dot = tree_sum<float>(y.cols, [&](int64_t c) { return g[c] * p[c]; });
    for (int64_t c = 0; c < y.cols; ++c) out[c] = p[c] * (g[c] - dot);
  });
}

// loss = sum over counted rows of log(sum(exp(logits))) - logits[label], divided by their number when `mean`
Status cross_entropy_forward(Context& ctx, Out loss, Out lse, Out count, In logits, In labels, i32 ignore, bool mean) {
  int64_t counted = 0;
  if (const Status bad = check_labels(labels, ignore, logits.cols, counted); !bad.ok()) return bad;
  TreeSum<float> tree;
  for (int64_t first = 0; first < logits.rows; first += kChunk) {
    float row_loss[kChunk];
    const int64_t rows = std::min(kChunk, logits.rows - first);
    const Status status = for_each_row(ctx, rows, logits.cols, [&](int64_t i) {
      const float* in = logits.row<const float>(first + i);
      const int32_t label = *labels.row<const int32_t>(first + i);
      const LogSumExp row(in, logits.cols);
      if (lse) *lse.row<float>(first + i) = row.value();
      row_loss[i] = label == ignore ? 0.0f : row.loss(in[label]);
    });
    if (!status.ok()) return status;
    tree.add(tree_sum<float>(rows, [&](int64_t i) { return row_loss[i]; }));
  }
  const float n = static_cast<float>(counted);
  if (count) *count.row<float>(0) = n;
  if (loss) *loss.row<float>(0) = mean && counted > 0 ? tree.total() / n : tree.total();
  return {};
}

// dlogits = dloss (softmax(logits) - [column is the label]) / count (or 1); 0 on ignored rows
Status cross_entropy_backward(Context& ctx, Out dlogits, In dloss, In logits, In labels, In lse, In count, i32 ignore, bool mean) {
  int64_t counted = 0;
  if (const Status bad = check_labels(labels, ignore, logits.cols, counted); !bad.ok()) return bad;
  const float factor = mean ? *dloss.row<const float>(0) / *count.row<const float>(0) : *dloss.row<const float>(0);
  return for_each_row(ctx, logits.rows, logits.cols, [&](int64_t r) {
    logits_gradient(dlogits.row<float>(r), logits.row<const float>(r), logits.cols, *labels.row<const int32_t>(r), ignore,
                    *lse.row<const float>(r), factor);
  });
}

}  // namespace lowrank::scalar
