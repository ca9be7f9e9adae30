// Sums in a fixed order: chains of kChain vectors, combined in a binary tree. The order depends on the shape alone.

constexpr int64_t kChain = 64;

/// Adds values pairwise in the order in which they come, like a binary counter.
template <int Vecs>
struct VecTree {
  Vec levels[34][Vecs];
  uint64_t count = 0;

  void push(const Vec (&value)[Vecs]) {
    Vec carry[Vecs];
    for (int v = 0; v < Vecs; ++v) carry[v] = value[v];
    int level = 0;
    for (uint64_t n = count++; n & 1; n >>= 1, ++level) {
      for (int v = 0; v < Vecs; ++v) carry[v] = add(levels[level][v], carry[v]);
    }
    for (int v = 0; v < Vecs; ++v) levels[level][v] = carry[v];
  }

  void total(Vec (&sum)[Vecs]) const {
    for (int v = 0; v < Vecs; ++v) sum[v] = zero();
    for (int level = 0; count >> level; ++level) {
      if (!(count >> level & 1)) continue;
      for (int v = 0; v < Vecs; ++v) sum[v] = add(levels[level][v], sum[v]);
    }
  }
};

/// The terms of a sum: x[i], or x[i] * factor[i] when `factor` is not null.
struct Terms {
  const float* x;
  const float* factor;

  LOWRANK_INLINE_MEMBER Vec all(int64_t i) const { return factor ? mul(load(x + i), load(factor + i)) : load(x + i); }
  LOWRANK_INLINE_MEMBER Vec first(int64_t i, int64_t n) const {
    return factor ? mul(load_first(x + i, n), load_first(factor + i, n)) : load_first(x + i, n);
  }
};

/// Sum of n terms. `terms` gives a vector of them at a time: all(i), and first(i, lanes) with zeros behind.
template <class T>
float tree_sum(const T& terms, int64_t n) {
  VecTree<1> tree;
  for (int64_t begin = 0; begin < n; begin += kChain * kWidth) {
    const int64_t end = lesser(n, begin + kChain * kWidth);
    Vec a = zero(), b = zero(), c = zero(), d = zero();
    int64_t i = begin;
    for (; i + 4 * kWidth <= end; i += 4 * kWidth) {
      a = add(a, terms.all(i));
      b = add(b, terms.all(i + kWidth));
      c = add(c, terms.all(i + 2 * kWidth));
      d = add(d, terms.all(i + 3 * kWidth));
    }
    for (; i + kWidth <= end; i += kWidth) a = add(a, terms.all(i));
    if (i < end) b = add(b, terms.first(i, end - i));
    const Vec chain[1] = {add(add(a, b), add(c, d))};
    tree.push(chain);
  }
  Vec sum[1];
  tree.total(sum);
  return reduce_add(sum[0]);
}

/// y[r] = factor * sum of x[r, :]
Status sum_cols(Context& ctx, Out y, In x, f32 factor) {
  return for_each_row(ctx, x.rows, x.cols, [&](int64_t r) {
    *y.row<float>(r) = factor * tree_sum(Terms{x.row<const float>(r), nullptr}, x.cols);
  });
}

// --- sums down the columns ---

constexpr int kStripVecs = 4;
constexpr int64_t kStrip = kStripVecs * kWidth;

/// y[0 .. columns) = factor * sum over n rows of x, or of x * times.
void sum_strip(float* y, const View& x, const View& times, int64_t first_row, int64_t n, int64_t column, int64_t columns, float factor) {
  VecTree<kStripVecs> tree;
  for (int64_t begin = 0; begin < n; begin += kChain) {
    Vec chain[kStripVecs];
    for (int v = 0; v < kStripVecs; ++v) chain[v] = zero();
    for (int64_t r = first_row + begin; r < first_row + lesser(n, begin + kChain); ++r) {
      const Terms terms{x.row<const float>(r) + column, times ? times.row<const float>(r) + column : nullptr};
      LOWRANK_UNROLL(4) for (int v = 0; v < kStripVecs; ++v) {
        const int64_t lanes = columns - v * kWidth;
        if (lanes >= kWidth) chain[v] = add(chain[v], terms.all(v * kWidth));
        if (lanes > 0 && lanes < kWidth) chain[v] = add(chain[v], terms.first(v * kWidth, lanes));
      }
    }
    tree.push(chain);
  }
  Vec sum[kStripVecs];
  tree.total(sum);
  for (int v = 0; v < kStripVecs; ++v) store_first(y + v * kWidth, mul(broadcast(factor), sum[v]), columns - v * kWidth);
}

/// y[g, c] = factor * sum over the n rows r of group g of x[r, c], or of x[r, c] * times[r, c].
Status column_sums(Context& ctx, const View& y, const View& x, const View& times, int64_t n, float factor) {
  const int64_t strips = divide_up(y.cols, kStrip);
  return for_each_row(ctx, y.rows * strips, greater(1, n) * kStrip, [&](int64_t i) {
    const int64_t group = i / strips, column = i % strips * kStrip;
    sum_strip(y.row<float>(group) + column, x, times, group * n, n, column, lesser(kStrip, y.cols - column), factor);
  });
}

Status sum_rows(Context& ctx, Out y, In x, i32 n, f32 factor) { return column_sums(ctx, y, x, View{}, n, factor); }

// --- sums of everything ---

/// *sum = sum of x, or of x * times, in at most kSegments segments that threads share.
Status matrix_sum(Context& ctx, float* sum, View x, View times) {
  constexpr int64_t kSegments = 256;
  if (x.contiguous() && (!times || times.contiguous())) {
    x = flat(x);
    if (times) times = flat(times);
  }
  const bool one_row = x.rows == 1;
  const int64_t whole = one_row ? x.cols : x.rows, grain = one_row ? kSpan : greater(1, kSpan / greater(1, x.cols));
  const int64_t length = greater(grain, divide_up(whole, kSegments)), segments = divide_up(whole, length);
  float partial[kSegments];
  const auto segment = [&](int64_t s) {
    const int64_t begin = s * length, end = lesser(whole, begin + length);
    const int64_t first_row = one_row ? 0 : begin, last_row = one_row ? 1 : end, column = one_row ? begin : 0;
    float total = 0;
    for (int64_t r = first_row; r < last_row; ++r) {
      const Terms terms{x.row<const float>(r) + column, times ? times.row<const float>(r) + column : nullptr};
      total += tree_sum(terms, one_row ? end - begin : x.cols);
    }
    partial[s] = total;
  };
  const Status status = run_tiles(ctx, segments, x.size(), segment);
  if (status.ok()) *sum = tree_sum(Terms{partial, nullptr}, segments);
  return status;
}

Status sum_all(Context& ctx, Out y, In x, f32 factor) {
  float sum = 0;
  const Status status = matrix_sum(ctx, &sum, x, View{});
  *y.row<float>(0) = factor * sum;
  return status;
}
