// RMS norm and rotary positions.

// --- RMS norm ---

struct ScaledBy {
  float scale;
  LOWRANK_INLINE_MEMBER Vec operator()(Vec x, Vec w) const { return mul(mul(x, broadcast(scale)), w); }
};

Status rms_norm_forward(Context& ctx, Out y, Out rstd, In x, In w, f32 eps) {
  const bool past = goes_past_caches(y, x);
  return for_each_row(ctx, x.rows, x.cols, [&](int64_t r) {
    const float* in = x.row<const float>(r);
    const float inverse = 1.0f / sqrtf(tree_sum(Terms{in, in}, x.cols) / static_cast<float>(x.cols) + eps);
    if (rstd) *rstd.row<float>(r) = inverse;
    map_span(y.row<float>(r), in, w.row<const float>(0), 1, x.cols, ScaledBy{inverse}, past);
  });
}

/// The terms dy * w * x of a row's sum.
struct TripleTerms {
  const float *a, *b, *c;
  LOWRANK_INLINE_MEMBER Vec all(int64_t i) const { return mul(mul(load(a + i), load(b + i)), load(c + i)); }
  LOWRANK_INLINE_MEMBER Vec first(int64_t i, int64_t n) const {
    return mul(mul(load_first(a + i, n), load_first(b + i, n)), load_first(c + i, n));
  }
};

/// dx = inverse * (dy * w - x * shift)
void rms_norm_backward_row(float* dx, const float* dy, const float* x, const float* w, int64_t n, float inverse, bool past) {
  const float shift = tree_sum(TripleTerms{dy, w, x}, n) * inverse * inverse / static_cast<float>(n);
  for (int64_t i = 0; i < n; i += kWidth) {
    const int64_t lanes = n - i;
    const Vec g = mul(load_lanes(dy + i, lanes), load_lanes(w + i, lanes));
    store_lanes(dx + i, mul(broadcast(inverse), fnma(load_lanes(x + i, lanes), broadcast(shift), g)), lanes, past);
  }
  if (past) settle();
}

/// dw[column .. column + columns) = sum over all rows of dy * x * rstd.
void rms_norm_weight_strip(float* dw, const View& dy, const View& x, const View& rstd, int64_t column, int64_t columns) {
  VecTree<kStripVecs> tree;
  for (int64_t begin = 0; begin < x.rows; begin += kChain) {
    Vec chain[kStripVecs];
    for (int v = 0; v < kStripVecs; ++v) chain[v] = zero();
    for (int64_t r = begin; r < lesser(x.rows, begin + kChain); ++r) {
      const Vec inverse = broadcast(*rstd.row<const float>(r));
      LOWRANK_UNROLL(4) for (int v = 0; v < kStripVecs; ++v) {
        const int64_t c = v * kWidth, lanes = columns - c;
        if (lanes <= 0) continue;
        const Vec normal = mul(load_lanes(x.row<const float>(r) + column + c, lanes), inverse);
        chain[v] = fma(load_lanes(dy.row<const float>(r) + column + c, lanes), normal, chain[v]);
      }
    }
    tree.push(chain);
  }
  Vec sum[kStripVecs];
  tree.total(sum);
  for (int v = 0; v < kStripVecs; ++v) store_lanes(dw + v * kWidth, sum[v], columns - v * kWidth);
}

Status rms_norm_backward(Context& ctx, Out dx, Out dw, In dy, In x, In w, In rstd) {
  Status status;
  const bool past = goes_past_caches(dx, dy, x);
  if (dx)
    status = for_each_row(ctx, x.rows, x.cols, [&](int64_t r) {
      rms_norm_backward_row(dx.row<float>(r), dy.row<const float>(r), x.row<const float>(r), w.row<const float>(0), x.cols,
                            *rstd.row<const float>(r), past);
    });
  if (dw && status.ok())
    status = for_each_row(ctx, divide_up(x.cols, kStrip), greater(1, x.rows) * kStrip, [&](int64_t strip) {
      const int64_t column = strip * kStrip;
      rms_norm_weight_strip(dw.row<float>(0) + column, dy, x, rstd, column, lesser(kStrip, x.cols - column));
    });
  return status;
}

// --- rotary positions ---

void rope_row(float* y, const float* x, const float* cosines, int64_t half, bool inverse) {
  for (int64_t i = 0; i < half; i += kWidth) {
    const int64_t lanes = half - i;
    const Vec a = load_lanes(x + i, lanes), b = load_lanes(x + half + i, lanes);
    const Vec cosine = load_lanes(cosines + i, lanes), plain = load_lanes(cosines + half + i, lanes);
    const Vec sine = inverse ? sub(zero(), plain) : plain;
    store_lanes(y + i, fnma(b, sine, mul(a, cosine)), lanes);
    store_lanes(y + half + i, fma(a, sine, mul(b, cosine)), lanes);
  }
}

Status rope(Context& ctx, Out y, In x, In table, In positions, i32 heads, bool inverse) {
  const Status bad = check_indexes(positions, table.rows);
  if (!bad.ok()) return bad;
  return for_each_row(ctx, x.rows, x.cols, [&](int64_t r) {
    const int32_t position = *positions.row<const int32_t>(r / heads);
    rope_row(y.row<float>(r), x.row<const float>(r), table.row<const float>(position), x.cols / 2, inverse);
  });
}
