// Softmax and cross entropy over rows.
#include <cmath>
#include <limits>

#include "kernels/scalar/kernels.h"
#include "kernels/scalar/sums.h"

namespace lowrank::scalar {

namespace {

/// max and log(sum(exp(x - max))) of one row: a row's log-sum-exp without overflow, in two parts.
struct LogSumExp {
  float max, log_sum;

  LogSumExp(const float* x, int64_t n) : max(-std::numeric_limits<float>::infinity()) {
    for (int64_t c = 0; c < n; ++c) max = x[c] > max ? x[c] : max;
    log_sum = std::log(tree_sum<float>(n, [&](int64_t c) { return std::exp(x[c] - max); }));
  }
};

/// The first label that is neither `ignore` nor a column, as an error.
Status check_labels(const In& labels, int32_t ignore, int64_t cols) {
  for (int64_t r = 0; r < labels.rows; ++r) {
    const int32_t label = *labels.row<const int32_t>(r);
    if (label != ignore && (label < 0 || label >= cols)) return Status::index(label, r, cols);
  }
  return {};
}

}  // namespace

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
  if (const Status bad = check_labels(labels, ignore, logits.cols); !bad.ok()) return bad;
  TreeSum<float> tree;
  int64_t counted = 0;
  for (int64_t first = 0; first < logits.rows; first += kChunk) {
    float row_loss[kChunk];
    const int64_t rows = std::min(kChunk, logits.rows - first);
    const Status status = for_each_row(ctx, rows, logits.cols, [&](int64_t i) {
      const float* in = logits.row<const float>(first + i);
      const int32_t label = *labels.row<const int32_t>(first + i);
      const LogSumExp row(in, logits.cols);
      if (lse) *lse.row<float>(first + i) = row.max + row.log_sum;
      row_loss[i] = label == ignore ? 0.0f : row.log_sum - (in[label] - row.max);
    });
    if (!status.ok()) return status;
    for (int64_t i = 0; i < rows; ++i) counted += *labels.row<const int32_t>(first + i) != ignore;
    tree.add(tree_sum<float>(rows, [&](int64_t i) { return row_loss[i]; }));
  }
  const float n = static_cast<float>(counted);
  if (count) *count.row<float>(0) = n;
  if (loss) *loss.row<float>(0) = mean && counted > 0 ? tree.total() / n : tree.total();
  return {};
}

// dlogits = dloss (softmax(logits) - [column is the label]) / count (or 1); 0 on ignored rows
Status cross_entropy_backward(Context& ctx, Out dlogits, In dloss, In logits, In labels, In lse, In count, i32 ignore, bool mean) {
  if (const Status bad = check_labels(labels, ignore, logits.cols); !bad.ok()) return bad;
  const float factor = mean ? *dloss.row<const float>(0) / *count.row<const float>(0) : *dloss.row<const float>(0);
  return for_each_row(ctx, logits.rows, logits.cols, [&](int64_t r) {
    const float *in = logits.row<const float>(r), log_sum = *lse.row<const float>(r);
    const int32_t label = *labels.row<const int32_t>(r);
    float* out = dlogits.row<float>(r);
    if (label == ignore) {
      std::fill(out, out + logits.cols, 0.0f);
      return;
    }
    for (int64_t c = 0; c < logits.cols; ++c) out[c] = factor * (std::exp(in[c] - log_sum) - (c == label ? 1.0f : 0.0f));
  });
}

}  // namespace lowrank::scalar
