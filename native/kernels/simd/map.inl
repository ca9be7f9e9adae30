// Vectors of a span, whole or in part, and loops over them: one for functions of one argument, one for functions of two. Included for
// vectors and for those of activations (kernels.inl).

/// `n` elements are left at p: a whole vector, or the first n lanes. Masked memory operations are slow on some processors (a masked store
/// is microcode on Zen), so the whole vectors of a span do without.
LOWRANK_INLINE Vec load_lanes(const float* p, int64_t n) { return n >= kWidth ? load(p) : load_first(p, n); }
LOWRANK_INLINE void store_lanes(float* p, Vec x, int64_t n, bool past = false) {
  if (n < kWidth) return store_first(p, x, n);
  past ? store_past(p, x) : store(p, x);
}

template <class F>
void map_span(float* y, const float* x, int64_t n, const F& f, bool past = false) {
  for (int64_t i = 0; i < n; i += kWidth) store_lanes(y + i, f(load_lanes(x + i, n - i)), n - i, past);
  if (past) settle();
}

/// y = f(a, b); b moves by one vector at a time, or is one element repeated (step 0).
template <class F>
void map_span(float* y, const float* a, const float* b, int64_t b_step, int64_t n, const F& f, bool past = false) {
  if (b_step == 0) {
    const Vec same = broadcast(*b);
    for (int64_t i = 0; i < n; i += kWidth) store_lanes(y + i, f(load_lanes(a + i, n - i), same), n - i, past);
  } else {
    for (int64_t i = 0; i < n; i += kWidth) store_lanes(y + i, f(load_lanes(a + i, n - i), load_lanes(b + i, n - i)), n - i, past);
  }
  if (past) settle();
}

/// Functions that write large outputs past the caches. What computes more gains nothing there, or loses (docs/log.md).
template <class F>
constexpr bool kPastCaches = false;

template <class F>
Status map(Context& ctx, View y, View x, const F& f) {
  if (y.contiguous() && x.contiguous()) y = flat(y), x = flat(x);
  const bool past = kPastCaches<F> && goes_past_caches(y, x);
  return for_each_span(ctx, y.rows, y.cols, [&](int64_t r, int64_t begin, int64_t end) {
    map_span(y.row<float>(r) + begin, x.row<const float>(r) + begin, end - begin, f, past);
  });
}

/// y = f(a, b), where b has a's shape, or is one row, or one element.
template <class F>
Status map(Context& ctx, View y, View a, View b, const F& f) {
  const bool same = b.rows == a.rows && b.cols == a.cols, element = !same && b.cols != a.cols;
  if (y.contiguous() && a.contiguous() && (element || (same && b.contiguous()))) {
    y = flat(y), a = flat(a);
    if (same) b = flat(b);
  }
  const bool past = kPastCaches<F> && goes_past_caches(y, a, b);
  const int64_t row_step = same ? b.ld : 0, column_step = element ? 0 : 1;
  return for_each_span(ctx, y.rows, y.cols, [&](int64_t r, int64_t begin, int64_t end) {
    const float* rhs = b.row<const float>(0) + r * row_step + begin * column_step;
    map_span(y.row<float>(r) + begin, a.row<const float>(r) + begin, rhs, column_step, end - begin, f, past);
  });
}
