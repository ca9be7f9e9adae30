// exp in f32, for every float. Its polynomial is a minimax fit (Remez); docs/kernels.md states the worst error. NaN gives NaN. Results
// below the smallest normal are rounded to subnormals, or to 0 where the thread flushes them.

/// exp(x) = (1 + fraction) * 2^exponent, fraction in [-0.3, 0.42], exponent a whole number.
struct Exp {
  Vec fraction, exponent;
};

/// x * (1 + fraction), rounded once.
LOWRANK_INLINE Vec times_significand(Vec x, const Exp& e) { return fma(x, e.fraction, x); }

/// exp(r) - 1 = r + r^2 q(r) for |r| <= ln(2) / 2.
LOWRANK_INLINE Vec expm1_reduced(Vec r) {
  Vec q = broadcast(0.000199621954065f);
  q = fma(q, r, broadcast(0.00139432523837f));
  q = fma(q, r, broadcast(0.00833321993106f));
  q = fma(q, r, broadcast(0.0416663264462f));
  q = fma(q, r, broadcast(0.166666669027f));
  q = fma(q, r, broadcast(0.500000005318f));
  return fma(mul(r, r), q, r);
}

/// r = x - n ln(2), with n = x / ln(2) rounded.
LOWRANK_INLINE Vec reduce_by_ln2(Vec x, Vec& n) {
  n = round_even(mul(x, broadcast(1.44269504f)));
  return fnma(n, broadcast(-2.12194440e-4f), fnma(n, broadcast(0.693359375f), x));
}

/// exp(x + low), where low is small against x; x is cut to [-125, 90].
LOWRANK_INLINE Exp exp_parts(Vec x, Vec low) {
  x = max(broadcast(-125.0f), min(broadcast(90.0f), x));
  Vec n;
  const Vec r = add(reduce_by_ln2(x, n), low);
  return {expm1_reduced(r), n};
}

LOWRANK_INLINE Vec exp(Vec x) {
  const Exp e = exp_parts(x, zero());
  return scale_by_power(add(broadcast(1.0f), e.fraction), e.exponent);
}
