// Softmax and cross entropy over rows.

/// Lanes below n of x, `other` in the rest.
LOWRANK_INLINE Vec first_lanes(Vec x, int64_t n, Vec other) {
  return select(less(to_float(iota()), broadcast(static_cast<float>(n))), x, other);
}

/// The largest element that is not NaN; a NaN reaches the result through exp and the sum.
float row_max(const float* x, int64_t n) {
  const Vec lowest = broadcast(-INFINITY);
  Vec a = lowest, b = lowest;
  int64_t i = 0;
  for (; i + 2 * kWidth <= n; i += 2 * kWidth) {
    a = max(load(x + i), a);
    b = max(load(x + i + kWidth), b);
  }
  for (; i < n; i += kWidth) a = max(first_lanes(load_first(x + i, n - i), n - i, lowest), a);
  return reduce_max(max(a, b));
}

/// The terms exp(x[i] - shift) of a row's sum.
struct ExpTerms {
  const float* x;
  float shift;

  LOWRANK_INLINE_MEMBER Vec all(int64_t i) const { return exp(sub(load(x + i), broadcast(shift))); }
  LOWRANK_INLINE_MEMBER Vec first(int64_t i, int64_t n) const {
    return first_lanes(exp(sub(load_first(x + i, n), broadcast(shift))), n, zero());
  }
};

struct ExpShifted {
  float shift;
  LOWRANK_INLINE_MEMBER Vec operator()(Vec x) const { return exp(sub(x, broadcast(shift))); }
};
struct DividedBy {
  float divisor;
  LOWRANK_INLINE_MEMBER Vec operator()(Vec x) const { return div(x, broadcast(divisor)); }
};

void softmax_row(float* y, const float* x, int64_t n) {
  map_span(y, x, n, ExpShifted{row_max(x, n)});
  map_span(y, y, n, DividedBy{tree_sum(Terms{y, nullptr}, n)});
}

Status softmax_forward(Context& ctx, Out y, In x) {
  return for_each_row(ctx, x.rows, x.cols, [&](int64_t r) { softmax_row(y.row<float>(r), x.row<const float>(r), x.cols); });
}

struct SoftmaxBackward {
  float dot;
  LOWRANK_INLINE_MEMBER Vec operator()(Vec dy, Vec y) const { return mul(y, sub(dy, broadcast(dot))); }
};

void softmax_backward_row(float* dx, const float* dy, const float* y, int64_t n) {
  map_span(dx, dy, y, 1, n, SoftmaxBackward{tree_sum(Terms{dy, y}, n)});
}

Status softmax_backward(Context& ctx, Out dx, In dy, In y) {
  return for_each_row(ctx, y.rows, y.cols,
                      [&](int64_t r) { softmax_backward_row(dx.row<float>(r), dy.row<const float>(r), y.row<const float>(r), y.cols); });
}

// --- cross entropy ---

/// max and log(sum(exp(x - max))) of one row.
struct LogSumExp {
  float max, log_sum;

  LogSumExp(const float* x, int64_t n) : max(row_max(x, n)) {
    log_sum = static_cast<float>(log(static_cast<double>(tree_sum(ExpTerms{x, max}, n))));
  }

  float value() const { return max + log_sum; }
  float loss(float own) const { return log_sum - (own - max); }
};

float row_loss(const View& lse, const View& logits, int32_t label, int32_t ignore, int64_t r) {
  const float* x = logits.row<const float>(r);
  const LogSumExp row(x, logits.cols);
  if (lse) *lse.row<float>(r) = row.value();
  return label == ignore ? 0.0f : row.loss(x[label]);
}

Status cross_entropy_forward(Context& ctx, Out loss, Out lse, Out count, In logits, In labels, i32 ignore, bool mean) {
  int64_t counted = 0;
  const Status bad = check_labels(labels, ignore, logits.cols, counted);
  if (!bad.ok()) return bad;
  constexpr int64_t kRows = 512;  // losses of one group; the groups are summed in a tree
  VecTree<1> tree;
  for (int64_t first = 0; first < logits.rows; first += kRows) {
    float losses[kRows];
    const int64_t rows = lesser(kRows, logits.rows - first);
    const auto row = [&](int64_t i) { losses[i] = row_loss(lse, logits, *labels.row<const int32_t>(first + i), ignore, first + i); };
    const Status status = for_each_row(ctx, rows, logits.cols, row);
    if (!status.ok()) return status;
    const Vec sum[1] = {first_lanes(broadcast(tree_sum(Terms{losses, nullptr}, rows)), 1, zero())};
    tree.push(sum);
  }
  Vec total[1];
  tree.total(total);
  const float n = static_cast<float>(counted), sum = reduce_add(total[0]);
  if (count) *count.row<float>(0) = n;
  if (loss) *loss.row<float>(0) = mean && counted > 0 ? sum / n : sum;
  return {};
}

struct ScaledSoftmax {
  float shift, factor;
  LOWRANK_INLINE_MEMBER Vec operator()(Vec x) const { return mul(broadcast(factor), exp(sub(x, broadcast(shift)))); }
};

/// out = factor (exp(x - lse) - [column is the label]); 0 on an ignored row. out may be x.
void logits_gradient(float* out, const float* x, int64_t n, int32_t label, int32_t ignore, float lse, float factor) {
  if (label == ignore) return fill_span(out, 0.0f, n);
  const float at_label = x[label];
  map_span(out, x, n, ScaledSoftmax{lse, factor});
  Vec probability = exp(sub(broadcast(at_label), broadcast(lse)));
  store_first(out + label, mul(broadcast(factor), sub(probability, broadcast(1.0f))), 1);
}

Status cross_entropy_backward(Context& ctx, Out dlogits, In dloss, In logits, In labels, In lse, In count, i32 ignore, bool mean) {
  int64_t counted = 0;
  const Status bad = check_labels(labels, ignore, logits.cols, counted);
  if (!bad.ok()) return bad;
  const float factor = mean ? *dloss.row<const float>(0) / *count.row<const float>(0) : *dloss.row<const float>(0);
  return for_each_row(ctx, logits.rows, logits.cols, [&](int64_t r) {
    logits_gradient(dlogits.row<float>(r), logits.row<const float>(r), logits.cols, *labels.row<const int32_t>(r), ignore,
                    *lse.row<const float>(r), factor);
  });
}
