// The activations, in f32, for every float. What exp.inl says of its polynomial and of NaN holds here too; small results are off by at most
// the smallest normal float. Each of them is x f(x) with f(x) + f(-x) = 1, so f is computed on the left only, at size = -|x|.

/// The slope of x f(x), from part = the one at size / kUnscaled: slope(x) + slope(-x) = 1.
LOWRANK_INLINE Vec slope_on_both_sides(Vec x, Vec part) {
  const Vec left = mul(part, broadcast(kUnscaled));
  return select(less(x, zero()), left, sub(broadcast(1.0f), left));
}

/// x sigmoid(u(x)) for odd u, where tail = exp(u(size)) / kUnscaled: on the left sigmoid is exp(u) / (1 + exp(u)).
LOWRANK_INLINE Vec gate(Vec x, Vec size, Vec tail) {
  return add(max(zero(), x), div(mul(size, tail), add(broadcast(1 / kUnscaled), tail)));
}

/// Its slope, where climb = size u'(size): on the left sigmoid (1 + climb (1 - sigmoid)).
LOWRANK_INLINE Vec gate_slope(Vec x, Vec climb, Vec tail) {
  const Vec one = broadcast(1.0f), unscaled = broadcast(kUnscaled), sigmoid = div(tail, fma(tail, unscaled, one));
  return slope_on_both_sides(x, mul(sigmoid, fma(climb, fnma(sigmoid, unscaled, one), one)));
}

/// silu(x) = x sigmoid(x)
struct Silu {
  Vec x, size, tail;

  LOWRANK_INLINE_MEMBER Vec value() const { return gate(x, size, tail); }
  LOWRANK_INLINE_MEMBER Vec slope() const { return gate_slope(x, size, tail); }
};

LOWRANK_INLINE Silu silu(Vec x) {
  const Vec size = max(broadcast(-125.0f), minus_absolute(x));
  return {x, size, scaled_exp(size)};
}

/// mills = cdf(size) / exp(-size^2 / 2) of the normal distribution: minimax fits (Remez), polynomials in middle + size. The middles, and
/// the coefficients of degree 7 to 0. The exponent and the first bit of 1 - size choose a column: from 2, 3, 4, 6, 8, 12, 1 and 1.5 on.
constexpr float kMills[9][8] = {
    {1.52416992f, 2.48364258f, 4.00073242f, 5.9798584f, 9.01208496f, 12.7156982f, 0.237182617f, 0.764892578f},
    {0.000104770392f, 1.48253721e-05f, 1.38505209e-06f, 1.09159366e-07f, 6.72539002e-09f, 4.79052353e-10f, 0.00195998512f, 0.000557845808f},
    {0.000364495441f, 6.56903503e-05f, 7.57983435e-06f, 7.93391962e-07f, 6.56139179e-08f, 6.51338894e-09f, 0.00583987264f, 0.00170822942f},
    {0.00121188676f, 0.000263752474f, 3.74640767e-05f, 5.3183303e-06f, 5.85356418e-07f, 8.3361229e-08f, 0.0154404659f, 0.00502756145f},
    {0.00395849068f, 0.00103865156f, 0.000192309002f, 3.63546133e-05f, 5.63888898e-06f, 1.09715393e-06f, 0.0382248349f, 0.0139790708f},
    {0.012107092f, 0.00389838824f, 0.000958159624f, 0.00024409176f, 5.38753011e-05f, 1.43730904e-05f, 0.0862388164f, 0.0358403251f},
    {0.0342950523f, 0.0138378851f, 0.004603846f, 0.00160513865f, 0.000508134544f, 0.000187154932f, 0.173365518f, 0.0833332315f},
    {0.0885920227f, 0.0460635461f, 0.0212929696f, 0.010330759f, 0.00474087521f, 0.00242292183f, 0.299836248f, 0.171261802f},
    {0.203619197f, 0.142081127f, 0.0943950415f, 0.064986743f, 0.0437414199f, 0.0311834514f, 0.417846918f, 0.297663331f},
};

/// gelu(x) = x cdf(x), with tail = exp(-size^2 / 2) / kUnscaled.
struct Gelu {
  Vec x, size, mills, tail;

  LOWRANK_INLINE_MEMBER Vec value() const { return fma(mul(mul(size, tail), mills), broadcast(kUnscaled), max(zero(), x)); }

  /// cdf(x) + x pdf(x): on the left exp(-size^2 / 2) (mills + size / sqrt(2 pi)).
  LOWRANK_INLINE_MEMBER Vec slope() const { return slope_on_both_sides(x, mul(tail, fma(size, broadcast(0.398942280401f), mills))); }
};

LOWRANK_INLINE Gelu gelu(Vec x) {
  const Vec size = max(broadcast(-14.5f), minus_absolute(x));
  const Vec half = mul(broadcast(-0.5f), size), square = mul(half, size), rest = fms(half, size, square);
  const IVec column = shift_right<22>(as_int(sub(broadcast(1.0f), size)));
  const Vec d = add(size, lookup(kMills[0], column));
  Vec mills = lookup(kMills[1], column);
  LOWRANK_UNROLL(8) for (int i = 2; i < 9; ++i) mills = fma(mills, d, lookup(kMills[i], column));
  return {x, size, mills, scaled_exp(square, rest)};
}

/// 2 sqrt(2/pi) (x + 0.044715 x^3) as high + low, for x in [-11.4, 0]: exp would multiply a rounding error of the argument. c1 has no bits
/// below the last place of the largest sum, so that c1 - sum is exact.
LOWRANK_INLINE Vec gelu_tanh_argument(Vec x, Vec& low) {
  const Vec c1 = broadcast(1.59576893f), c1_low = broadcast(1.93077899e-07f);
  const Vec c3 = broadcast(0.0713548139f), c3_low = broadcast(2.39883240e-09f);
  const Vec square = mul(x, x), square_low = fms(x, x, square);
  const Vec sum = fma(c3, square, c1), sum_low = fma(c3, square, sub(c1, sum));
  const Vec rest = add(sum_low, fma(c3, square_low, fma(c3_low, square, c1_low)));
  const Vec high = mul(x, sum);
  low = fma(x, rest, fms(x, sum, high));
  return high;
}

/// gelu_tanh(x) = 0.5 x (1 + tanh(u)) = x sigmoid(2u)
struct GeluTanh {
  Vec x, size, tail;

  LOWRANK_INLINE_MEMBER Vec value() const { return gate(x, size, tail); }
  LOWRANK_INLINE_MEMBER Vec slope() const {
    return gate_slope(x, mul(size, fma(mul(broadcast(0.214064449f), size), size, broadcast(1.59576917f))), tail);
  }
};

LOWRANK_INLINE GeluTanh gelu_tanh(Vec x) {
  const Vec size = max(broadcast(-11.4f), minus_absolute(x));
  Vec low;
  const Vec high = gelu_tanh_argument(size, low);
  return {x, size, scaled_exp(high, low)};
}
