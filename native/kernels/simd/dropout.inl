// Dropout by vectorised Philox4x32-10: kWidth counters at a time, four elements each. The rule and its scalar form: core/rng.h.

struct Dropout {
  uint64_t seed = 0;
  uint32_t micro = 0, step = 0;
  uint64_t site = 0;
  float p = 0, factor = 1;  // factor of a kept element: 1 / (1 - p)
};

constexpr int64_t kPhiloxBlock = 4 * kWidth;

Dropout make_dropout(const View& record, float p, uint64_t site) {
  Dropout d;
  StepRecord r;
  memcpy(&r, record.data, sizeof r);
  d.seed = r.seed, d.micro = r.micro, d.step = r.step, d.site = site, d.p = p, d.factor = 1.0f / (1.0f - p);
  return d;
}

/// factors[j] = what element 4 * counter + j is multiplied by, for j in [0, kPhiloxBlock).
LOWRANK_INLINE void dropout_factors(const Dropout& d, uint64_t counter, float* factors) {
  IVec c[4] = {add(broadcast_int(static_cast<uint32_t>(counter)), iota()), broadcast_int(d.micro), broadcast_int(d.step),
               broadcast_int(static_cast<uint32_t>(d.site))};
  uint32_t k0 = static_cast<uint32_t>(d.seed), k1 = static_cast<uint32_t>(d.seed >> 32);
  const IVec m0 = broadcast_int(0xD2511F53u), m1 = broadcast_int(0xCD9E8D57u);
  for (int round = 0; round < 10; ++round) {
    IVec high0, low0, high1, low1;
    mul_wide(m0, c[0], high0, low0);
    mul_wide(m1, c[2], high1, low1);
    c[0] = bit_xor(bit_xor(high1, c[1]), broadcast_int(k0));
    c[2] = bit_xor(bit_xor(high0, c[3]), broadcast_int(k1));
    c[1] = low1;
    c[3] = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  interleave4(c);
  for (int i = 0; i < 4; ++i) {
    const Vec unit = mul(to_float(shift_right<8>(c[i])), broadcast(0x1p-24f));
    store(factors + i * kWidth, select(at_least(unit, broadcast(d.p)), broadcast(d.factor), zero()));
  }
}

/// y[j] = x[j] * factor of element `first` + j; y may be x
void drop_span(const Dropout& d, float* y, const float* x, int64_t first, int64_t n) {
  float factors[kPhiloxBlock];
  for (int64_t j = 0; j < n;) {
    const int64_t skip = j == 0 ? first % 4 : 0, m = lesser(kPhiloxBlock - skip, n - j);
    dropout_factors(d, static_cast<uint64_t>((first + j) / 4), factors);
    for (int64_t i = 0; i < m; i += kWidth) {
      const int64_t lanes = m - i;
      store_lanes(y + j + i, mul(load_lanes(x + j + i, lanes), load_lanes(factors + skip + i, lanes)), lanes);
    }
    j += m;
  }
}

/// y = dropout of x; y may be x. Elements are counted over the unpadded matrix.
Status drop_matrix(Context& ctx, const View& y, const View& x, const Dropout& d) {
  return for_each_span(ctx, y.rows, y.cols, [&](int64_t r, int64_t begin, int64_t end) {
    drop_span(d, y.row<float>(r) + begin, x.row<const float>(r) + begin, r * x.cols + begin, end - begin);
  });
}

Status dropout(Context& ctx, Out y, In x, In record, f32 p, u64 site) { return drop_matrix(ctx, y, x, make_dropout(record, p, site)); }
