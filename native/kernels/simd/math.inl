// The activations, in f32, for every float. What exp.inl says of its polynomial, of NaN and of small results holds here too.

/// sigmoid(x + low) is tail / denominator on the left and 1 / denominator on the right, with tail = exp(-|x + low|), denominator = 1 +
/// tail.
struct Sigmoid {
  Exp tail;
  Vec denominator;
  Mask negative;
};

LOWRANK_INLINE Sigmoid sigmoid_parts(Vec x, Vec low) {
  const Mask negative = less(x, zero());
  const Vec size = select(negative, x, sub(zero(), x)), rest = select(negative, low, sub(zero(), low));
  const Exp e = exp_parts(size, rest);
  return {e, add(broadcast(1.0f), scale_by_power(add(broadcast(1.0f), e.fraction), e.exponent)), negative};
}

/// x * sigmoid; the power of two comes last, so a result is right as long as it is a float itself.
LOWRANK_INLINE Vec gate(Vec x, const Sigmoid& s) {
  const Vec cut = max(broadcast(-125.0f), x), above = select(s.negative, times_significand(cut, s.tail), x);
  return scale_by_power(div(above, s.denominator), select(s.negative, s.tail.exponent, zero()));
}

LOWRANK_INLINE Vec silu(Vec x) { return gate(x, sigmoid_parts(x, zero())); }

/// The slope of x * sigmoid(u(x)) for odd u, where `climb` = |x| u'(x) >= 0: on the left s (1 - climb (1 - s)), with the power of two last;
/// slope(x) + slope(-x) = 1.
LOWRANK_INLINE Vec gate_slope(Vec climb, const Sigmoid& s) {
  const Vec left = div(times_significand(sub(broadcast(1.0f), div(climb, s.denominator)), s.tail), s.denominator);
  const Vec small = scale_by_power(left, s.tail.exponent);
  return select(s.negative, small, sub(broadcast(1.0f), small));
}

LOWRANK_INLINE Vec silu_slope(Vec x, const Sigmoid& s) { return gate_slope(min(broadcast(125.0f), absolute(x)), s); }
LOWRANK_INLINE Vec silu_slope(Vec x) { return silu_slope(x, sigmoid_parts(x, zero())); }

/// The tail of the normal distribution: cdf(-|x|) = exp(-x^2 / 2) * mills. With q = 6 / (|x| + 3), mills / q is a polynomial in 1 - q.
struct NormalTail {
  Exp e;
  Vec size, mills;
};

LOWRANK_INLINE NormalTail normal_tail(Vec x) {
  const Vec size = min(broadcast(14.5f), absolute(x));
  const Vec square = mul(size, size), rest = fms(size, size, square);
  const Exp e = exp_parts(mul(broadcast(-0.5f), square), mul(broadcast(-0.5f), rest));
  const Vec sum = add(size, broadcast(3.0f)), q = div(broadcast(6.0f), sum), t = sub(broadcast(1.0f), q);
  Vec h = broadcast(9.07583876529e-06f);
  h = fma(h, t, broadcast(2.18756347727e-05f));
  h = fma(h, t, broadcast(-4.07924442806e-05f));
  h = fma(h, t, broadcast(-0.000172087344713f));
  h = fma(h, t, broadcast(0.00017079734662f));
  h = fma(h, t, broadcast(0.00116155037856f));
  h = fma(h, t, broadcast(-0.00174375339533f));
  h = fma(h, t, broadcast(-0.0078771146005f));
  h = fma(h, t, broadcast(0.0383362833263f));
  h = fma(h, t, broadcast(-0.0848886652345f));
  h = fma(h, t, broadcast(0.121513948395f));
  const Vec mills = mul(h, q);
  // The rounding errors of sum and q, and what they cost: d mills / d log q = (|x| + 3) (1 / sqrt(2 pi) - |x| mills).
  const Vec part = sub(sum, size), sum_low = add(sub(size, sub(sum, part)), sub(broadcast(3.0f), part));
  const Vec error = mul(broadcast(1.0f / 6.0f), fnma(q, sum_low, fnma(q, sum, broadcast(6.0f))));
  return {e, size, fma(mul(sum, fnma(size, mills, broadcast(0.398942280401f))), error, mills)};
}

/// x cdf(x)
LOWRANK_INLINE Vec gelu(Vec x) {
  const NormalTail tail = normal_tail(x);
  const Vec cut = max(broadcast(-14.5f), x);
  const Vec small = scale_by_power(times_significand(mul(cut, tail.mills), tail.e), tail.e.exponent);
  return select(less(x, zero()), small, select(less(broadcast(14.0f), x), x, sub(x, small)));
}

/// cdf(x) + x pdf(x): on the left exp(-x^2 / 2) (mills - |x| / sqrt(2 pi)); slope(x) + slope(-x) = 1.
LOWRANK_INLINE Vec gelu_slope(Vec x) {
  const NormalTail tail = normal_tail(x);
  const Vec left = times_significand(fnma(broadcast(0.398942280401f), tail.size, tail.mills), tail.e);
  const Vec small = scale_by_power(left, tail.e.exponent);
  return select(less(x, zero()), small, sub(broadcast(1.0f), small));
}

/// 2 sqrt(2/pi) (x + 0.044715 x^3) as high + low: exp would multiply a rounding error of the argument.
LOWRANK_INLINE Vec gelu_tanh_argument(Vec x, Vec& low) {
  const Vec c1 = broadcast(1.59576917f), c1_low = broadcast(-4.53406804e-08f);
  const Vec c3 = broadcast(0.0713548139f), c3_low = broadcast(2.39883240e-09f);
  const Vec square = mul(x, x), square_low = fms(x, x, square);
  const Vec cubic = mul(c3, square), cubic_low = fma(c3, square_low, fma(c3_low, square, fms(c3, square, cubic)));
  const Vec sum = add(c1, cubic), part = sub(sum, c1);
  const Vec sum_low = add(add(sub(c1, sub(sum, part)), sub(cubic, part)), add(cubic_low, c1_low));
  const Vec high = mul(x, sum);
  low = fma(x, sum_low, fms(x, sum, high));
  return high;
}

/// 0.5 x (1 + tanh(u)) = x sigmoid(2u)
LOWRANK_INLINE Vec gelu_tanh(Vec x) {
  const Vec cut = max(broadcast(-20.0f), min(broadcast(20.0f), x));
  Vec low;
  const Vec high = gelu_tanh_argument(cut, low);
  return gate(x, sigmoid_parts(high, low));
}

LOWRANK_INLINE Vec gelu_tanh_slope(Vec x) {
  const Vec cut = max(broadcast(-20.0f), min(broadcast(20.0f), x));
  Vec low;
  const Vec high = gelu_tanh_argument(cut, low);
  const Vec size = absolute(cut);
  const Vec climb = mul(size, fma(mul(broadcast(0.214064449f), size), size, broadcast(1.59576917f)));
  return gate_slope(climb, sigmoid_parts(high, low));
}
