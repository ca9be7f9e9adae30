// The loss from hidden states: logits of a few rows at a time, turned into their own gradient in place.

/// The loss of one row of logits; when `gradient`, they become factor * (softmax - [column is the label]).
float loss_row(float* logits, int64_t n, int32_t label, int32_t ignore, float factor, bool gradient) {
  if (label == ignore) {
    if (gradient) fill_span(logits, 0.0f, n);
    return 0.0f;
  }
  if (!gradient) return LogSumExp(logits, n).loss(logits[label]);
  const float max = row_max(logits, n), below = max - logits[label];
  map_span(logits, logits, n, ExpShifted{max});
  const float total = tree_sum(Terms{logits, nullptr}, n), at_label = logits[label];
  map_span(logits, logits, n, Scaled{factor / total});
  logits[label] = factor * (at_label / total - 1.0f);
  return static_cast<float>(log(static_cast<double>(total))) + below;
}

/// The products of one chunk, on `logits` [rows, V].
struct LossChunk {
  Product forward, dx, dw;

  LossChunk(const View& logits, const View& x, const View& w, const View& gx, const View& gw, bool accumulate)
      : forward(product_nt(logits, x, w, View{})) {
    if (gx) dx = product_nn(gx, logits, w);
    if (gw) dw = product_tn(gw, logits, x), dw.accumulate = accumulate;
  }

  int64_t scratch(int threads) const {
    return greater(product_scratch(threads, forward), greater(product_scratch(threads, dx), product_scratch(threads, dw)));
  }
};

Status linear_cross_entropy(Context& ctx, Out loss, Out count, Out dx, Out dw, In x, In w, In labels, i32 ignore, bool mean) {
  int64_t counted = 0;
  const Status bad = check_labels(labels, ignore, w.rows, counted);
  if (!bad.ok()) return bad;
  const float n = mean && counted > 0 ? static_cast<float>(counted) : 1.0f, factor = 1.0f / n;
  const int64_t chunk = loss_chunk_rows(x.rows, w.rows, dw.data != nullptr);
  Scratch scratch{ctx.scratch};
  float *memory = scratch.take(chunk * w.rows), *losses = scratch.take(chunk);
  std::byte* shared = ctx.scratch + scratch.used;
  VecTree<1> tree;
  Status status;
  if (dw && x.rows == 0) status = fill(ctx, dw, 0.0f);
  for (int64_t first = 0; first < x.rows && status.ok(); first += chunk) {
    const int64_t rows = lesser(chunk, x.rows - first);
    const View logits = matrix_of(memory, rows, w.rows);
    const LossChunk products(logits, rows_of(x, first, rows), w, dx ? rows_of(dx, first, rows) : View{}, dw, first > 0);
    status = compute(ctx, products.forward, shared);
    if (!status.ok()) break;
    status = for_each_row(ctx, rows, w.rows, [&](int64_t i) {
      losses[i] = loss_row(logits.row<float>(i), w.rows, *labels.row<const int32_t>(first + i), ignore, factor, dx || dw);
    });
    if (!status.ok()) break;
    const Vec sum[1] = {first_lanes(broadcast(tree_sum(Terms{losses, nullptr}, rows)), 1, zero())};
    tree.push(sum);
    if (dx) status = compute(ctx, products.dx, shared);
    if (dw && status.ok()) status = compute(ctx, products.dw, shared);
  }
  if (!status.ok()) return status;
  Vec total[1];
  tree.total(total);
  if (count) *count.row<float>(0) = static_cast<float>(counted);
  if (loss) *loss.row<float>(0) = reduce_add(total[0]) / n;
  return {};
}

int64_t linear_cross_entropy_scratch(int threads, Out, Out, Out dx, Out dw, In x, In w, In, i32, bool) {
  const int64_t chunk = loss_chunk_rows(x.rows, w.rows, dw.data != nullptr), last = x.rows % chunk == 0 ? chunk : x.rows % chunk;
  int64_t products = 0;
  for (const int64_t rows : {chunk, last}) {
    const View logits = matrix_of(nullptr, rows, w.rows);
    products = greater(products, LossChunk(logits, rows_of(x, 0, rows), w, dx ? rows_of(dx, 0, rows) : View{}, dw, false).scratch(threads));
  }
  return Scratch::bytes(chunk * w.rows) + Scratch::bytes(chunk) + products;
}
