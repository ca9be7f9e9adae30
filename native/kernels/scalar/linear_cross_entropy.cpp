// The loss from hidden states: logits of a few rows at a time, turned into their own gradient in place.
#include "kernels/checks.h"
#include "kernels/loss_chunk.h"
#include "kernels/scalar/cross_entropy.h"
#include "kernels/scalar/kernels.h"
#include "kernels/scalar/products.h"

namespace lowrank::scalar {

namespace {

/// Returns the loss of one row and turns its logits into their gradient.
float row_loss(float* logits, int64_t n, int32_t label, int32_t ignore, float factor) {
  const LogSumExp row(logits, n);
  const float loss = label == ignore ? 0.0f : row.loss(logits[label]);
  logits_gradient(logits, logits, n, label, ignore, row.value(), factor);
  return loss;
}

}  // namespace

Status linear_cross_entropy(Context& ctx, Out loss, Out count, Out dx, Out dw, In x, In w, In labels, i32 ignore, bool mean) {
  int64_t counted = 0;
  if (const Status bad = check_labels(labels, ignore, w.rows, counted); !bad.ok()) return bad;
  const float n = mean && counted > 0 ? static_cast<float>(counted) : 1.0f, factor = 1.0f / n;
  const int64_t chunk = loss_chunk_rows(x.rows, w.rows, dw.data != nullptr);
  float *memory = reinterpret_cast<float*>(ctx.scratch), *losses = memory + chunk * w.rows;
  TreeSum<float> tree;
  Status status;
  if (dw && x.rows == 0)
    status = for_each_row(ctx, dw.rows, dw.cols, [&](int64_t r) { std::fill(dw.row<float>(r), dw.row<float>(r) + dw.cols, 0.0f); });
  for (int64_t first = 0; first < x.rows && status.ok(); first += chunk) {
    const int64_t rows = std::min(chunk, x.rows - first);
    const View logits = matrix_of(memory, rows, w.rows), hidden = rows_of(x, first, rows);
    status = product_nt(ctx, logits, hidden, w, View{}, 1.0f, false);
    if (!status.ok()) break;
    status = for_each_row(ctx, rows, w.rows, [&](int64_t i) {
      losses[i] = row_loss(logits.row<float>(i), w.rows, *labels.row<const int32_t>(first + i), ignore, factor);
    });
    if (!status.ok()) break;
    tree.add(tree_sum<float>(rows, [&](int64_t i) { return losses[i]; }));
    if (dx) status = product_nn(ctx, rows_of(dx, first, rows), logits, w, 1.0f, false);
    if (dw && status.ok()) status = product_tn(ctx, dw, logits, hidden, 1.0f, first > 0);
  }
  if (!status.ok()) return status;
  if (count) *count.row<float>(0) = static_cast<float>(counted);
  if (loss) *loss.row<float>(0) = tree.total() / n;
  return {};
}

int64_t linear_cross_entropy_scratch(int, Out, Out, Out, Out dw, In x, In w, In, i32, bool) {
  const int64_t chunk = loss_chunk_rows(x.rows, w.rows, dw.data != nullptr);
  return (chunk * w.rows + chunk) * static_cast<int64_t>(sizeof(float));
}

}  // namespace lowrank::scalar
