// exp in f32. Its polynomial is a minimax fit (Remez); docs/kernels.md states the worst error. NaN gives NaN. Results
// below the smallest normal are rounded to subnormals, or to 0 where the thread flushes them.

/// exp(r) - 1 = r + r^2 q(r) for |r| <= ln(2) / 2.
LOWRANK_INLINE Vec expm1_reduced(Vec r) {
  Vec q = broadcast(0.00138145359233f);
  q = fma(q, r, broadcast(0.00836874544621f));
  q = fma(q, r, broadcast(0.0416683927178f));
  q = fma(q, r, broadcast(0.16666521132f));
  q = fma(q, r, broadcast(0.499999940395f));
  return fma(mul(r, r), q, r);
}

/// r = x - n ln(2), with n = x / ln(2) rounded, and the power 2^(n + 64), for x in [-125, 44.4]. The last place of what
/// is added to round is worth 1, so the lowest bits of the sum are n + 64 + 127, the power's exponent.
LOWRANK_INLINE Vec reduce_by_ln2(Vec x, Vec& power) {
  const Vec rounder = broadcast(0x1.8p23f + 64 + 127), sum = fma(x, broadcast(1.44269504f), rounder), n = sub(sum, rounder);
  power = as_float(shift_left<23>(as_int(sum)));
  return fnma(n, broadcast(-2.12194440e-4f), fnma(n, broadcast(0.693359375f), x));
}

constexpr float kUnscaled = 0x1p-64f;

/// exp(x) for x <= 44; infinity from 44.015 on, where the exponent of the power is 255.
LOWRANK_INLINE Vec exp(Vec x) {
  Vec power;
  const Vec fraction = expm1_reduced(reduce_by_ln2(max(broadcast(-125.0f), min(broadcast(44.4f), x)), power));
  return mul(fma(fraction, broadcast(kUnscaled), broadcast(kUnscaled)), power);
}

/// exp(x) / kUnscaled, for x in [-125, 0]: a normal float.
LOWRANK_INLINE Vec scaled_exp(Vec x) {
  Vec power;
  const Vec fraction = expm1_reduced(reduce_by_ln2(x, power));
  return fma(power, fraction, power);
}

/// exp(x + low) / kUnscaled, where low is small against x.
LOWRANK_INLINE Vec scaled_exp(Vec x, Vec low) {
  Vec power;
  const Vec fraction = expm1_reduced(add(reduce_by_ln2(x, power), low));
  return fma(power, fraction, power);
}
