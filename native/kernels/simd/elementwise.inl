// Element by element: sums, products, ReLU, copies, conversions.

struct Same {
  LOWRANK_INLINE_MEMBER Vec operator()(Vec x) const { return x; }
};
struct Sum {
  LOWRANK_INLINE_MEMBER Vec operator()(Vec a, Vec b) const { return add(a, b); }
};
struct Times {
  LOWRANK_INLINE_MEMBER Vec operator()(Vec a, Vec b) const { return mul(a, b); }
};
struct Scaled {
  float factor;
  LOWRANK_INLINE_MEMBER Vec operator()(Vec x) const { return mul(broadcast(factor), x); }
};
template <>
constexpr bool kPastCaches<Same> = true;
template <>
constexpr bool kPastCaches<Sum> = true;
template <>
constexpr bool kPastCaches<Times> = true;
template <>
constexpr bool kPastCaches<Scaled> = true;

struct Relu {
  LOWRANK_INLINE_MEMBER Vec operator()(Vec x) const { return max(zero(), x); }  // max gives x when it is NaN
};
struct ReluBackward {
  LOWRANK_INLINE_MEMBER Vec operator()(Vec dy, Vec x) const { return select(at_least(zero(), x), zero(), dy); }
};

/// db = dy, or dy * times, summed over what was broadcast when db has fewer elements.
Status reduce_to(Context& ctx, const View& db, const View& dy, const View& times) {
  if (db.rows == dy.rows && db.cols == dy.cols) return times ? map(ctx, db, dy, times, Times{}) : map(ctx, db, dy, Same{});
  if (db.cols == dy.cols) return column_sums(ctx, db, dy, times, dy.rows, 1.0f);
  return matrix_sum(ctx, db.row<float>(0), dy, times);
}

Status add_forward(Context& ctx, Out y, In a, In b) { return map(ctx, y, a, b, Sum{}); }

Status add_backward(Context& ctx, Out da, Out db, In dy) {
  Status status;
  if (da) status = map(ctx, da, dy, Same{});
  if (db && status.ok()) status = reduce_to(ctx, db, dy, View{});
  return status;
}

Status mul_forward(Context& ctx, Out y, In a, In b) { return map(ctx, y, a, b, Times{}); }

Status mul_backward(Context& ctx, Out da, Out db, In dy, In a, In b) {
  Status status;
  if (da) status = map(ctx, da, dy, b, Times{});
  if (db && status.ok()) status = reduce_to(ctx, db, dy, a);
  return status;
}

Status scale(Context& ctx, Out y, In x, f32 factor) { return map(ctx, y, x, Scaled{factor}); }

/// As many chains as the micro-kernel of products has: they do not wait for each other, and all stay in registers.
constexpr int kChains = kTileRows * kTileVecs;

void multiply_add_block(float* y, const float* x, int64_t n, float factor, float summand, i32 steps) {
  const Vec times = broadcast(factor), plus = broadcast(summand);
  Vec chain[kChains];
  LOWRANK_UNROLL(32) for (int c = 0; c < kChains; ++c) chain[c] = load_lanes(x + c * kWidth, n - c * kWidth);
  for (i32 step = 0; step < steps; ++step) {
    LOWRANK_UNROLL(32) for (int c = 0; c < kChains; ++c) chain[c] = fma(times, chain[c], plus);
  }
  LOWRANK_UNROLL(32) for (int c = 0; c < kChains; ++c) store_lanes(y + c * kWidth, chain[c], n - c * kWidth);
}

Status multiply_add(Context& ctx, Out y, In x, f32 factor, f32 summand, i32 steps) {
  constexpr int64_t kBlock = kChains * kWidth;
  const int64_t blocks = divide_up(y.cols, kBlock);
  return run_tiles(ctx, y.rows * blocks, y.rows * y.cols * steps, [&](int64_t tile) {
    const int64_t r = tile / blocks, begin = tile % blocks * kBlock;
    multiply_add_block(y.row<float>(r) + begin, x.row<const float>(r) + begin, y.cols - begin, factor, summand, steps);
  });
}

Status accumulate(Context& ctx, InOut y, In x) { return map(ctx, y, y, x, Sum{}); }
Status relu_forward(Context& ctx, Out y, In x) { return map(ctx, y, x, Relu{}); }
Status relu_backward(Context& ctx, Out dx, In dy, In x) { return map(ctx, dx, dy, x, ReluBackward{}); }

// --- fill and cast ---

void fill_span(float* y, float value, int64_t n) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(y + i, broadcast(value));
  if (i < n) store_first(y + i, broadcast(value), n - i);
}

Status fill(Context& ctx, Out y, f32 value) {
  const View whole = flat(y);
  return for_each_span(ctx, whole.rows, whole.cols,
                       [&](int64_t r, int64_t begin, int64_t end) { fill_span(whole.row<float>(r) + begin, value, end - begin); });
}

template <class To, class From>
void cast_span(To* y, const From* x, int64_t n) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(y + i, load(x + i));
  if (i < n) store_first(y + i, load_first(x + i, n - i), n - i);
}

// Labels and pixels: never the larger part of anything.
template <class To, class Integer>
void cast_integers(To* y, const Integer* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) store_first(y + i, broadcast(static_cast<float>(x[i])), 1);
}

template <class To>
void cast_span(To* y, const int32_t* x, int64_t n) {
  cast_integers(y, x, n);
}
template <class To>
void cast_span(To* y, const uint8_t* x, int64_t n) {
  cast_integers(y, x, n);
}

template <class To, class From>
Status cast_as(Context& ctx, View y, View x) {
  if (y.contiguous() && x.contiguous()) y = flat(y), x = flat(x);
  return for_each_span(ctx, y.rows, y.cols, [&](int64_t r, int64_t begin, int64_t end) {
    cast_span(y.row<To>(r) + begin, x.row<const From>(r) + begin, end - begin);
  });
}

template <class From>
Status cast_from(Context& ctx, const View& y, const View& x) {
  if (y.dtype == DType::bf16) return cast_as<bf16, From>(ctx, y, x);
  if (y.dtype == DType::f16) return cast_as<f16, From>(ctx, y, x);
  return cast_as<float, From>(ctx, y, x);
}

template <class Source>
void dequantize_span(float* y, const Source& x, int64_t r, int64_t begin, int64_t end) {
  const auto row = x.row(r);
  for (int64_t i = begin; i < end; i += kWidth) {
    const int64_t n = end - i;
    store_lanes(y + i, n >= kWidth ? load_at(row, i) : load_first_at(row, i, n), n);
  }
}

template <class Source>
Status dequantize(Context& ctx, const View& y, const Source& x) {
  return for_each_span(ctx, y.rows, y.cols,
                       [&](int64_t r, int64_t begin, int64_t end) { dequantize_span(y.row<float>(r), x, r, begin, end); });
}

Status cast(Context& ctx, Out y, In x) {
  switch (x.dtype) {
    case DType::f32:
      return cast_from<float>(ctx, y, x);
    case DType::bf16:
      return cast_from<bf16>(ctx, y, x);
    case DType::f16:
      return cast_from<f16>(ctx, y, x);
    case DType::i32:
      return cast_from<int32_t>(ctx, y, x);
    case DType::u8:
      return cast_from<uint8_t>(ctx, y, x);
    case DType::int8:
      return dequantize(ctx, y, Int8Rows{int8_weight(x), x.cols, 0, 0});
    case DType::nf4:
      return dequantize(ctx, y, Nf4Rows{nf4_weight(x), x.cols, 0, 0});
  }
  return {};
}
