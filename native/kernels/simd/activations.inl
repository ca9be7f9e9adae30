// SiLU, GELU and SwiGLU. Their arithmetic is one long chain for each vector, so they have vectors of their own: `wides` (avx512/vec.h,
// avx2/pairs.h).

/// `activation`(x) computes what its value and its slope need; what is not used costs nothing.
#define LOWRANK_ACTIVATION(Name, activation)                                                             \
  struct Name##Value {                                                                                   \
    LOWRANK_INLINE_MEMBER Vec operator()(Vec x) const { return activation(x).value(); }                  \
  };                                                                                                     \
  struct Name##Backward {                                                                                \
    LOWRANK_INLINE_MEMBER Vec operator()(Vec dy, Vec x) const { return mul(dy, activation(x).slope()); } \
  };
LOWRANK_ACTIVATION(Silu, silu)
LOWRANK_ACTIVATION(Gelu, gelu)
LOWRANK_ACTIVATION(GeluTanh, gelu_tanh)
#undef LOWRANK_ACTIVATION

Status silu_forward(Context& ctx, Out y, In x) { return map(ctx, y, x, SiluValue{}); }
Status silu_backward(Context& ctx, Out dx, In dy, In x) { return map(ctx, dx, dy, x, SiluBackward{}); }
Status gelu_forward(Context& ctx, Out y, In x, bool tanh) { return tanh ? map(ctx, y, x, GeluTanhValue{}) : map(ctx, y, x, GeluValue{}); }

Status gelu_backward(Context& ctx, Out dx, In dy, In x, bool tanh) {
  return tanh ? map(ctx, dx, dy, x, GeluTanhBackward{}) : map(ctx, dx, dy, x, GeluBackward{});
}

struct SiluTimes {
  LOWRANK_INLINE_MEMBER Vec operator()(Vec gate, Vec up) const { return mul(silu(gate).value(), up); }
};

template <>
constexpr bool kPastCaches<SiluTimes> = true;

Status swiglu_forward(Context& ctx, Out y, In gate, In up) { return map(ctx, y, gate, up, SiluTimes{}); }

void swiglu_backward_span(float* dgate, float* dup, const float* dy, const float* gates, const float* up, int64_t n) {
  for (int64_t i = 0; i < n; i += kWidth) {
    const int64_t lanes = n - i;
    const Vec d = load_lanes(dy + i, lanes);
    const Silu gate = silu(load_lanes(gates + i, lanes));
    if (dup) store_lanes(dup + i, mul(d, gate.value()), lanes);
    if (dgate) store_lanes(dgate + i, mul(mul(d, load_lanes(up + i, lanes)), gate.slope()), lanes);
  }
}

Status swiglu_backward(Context& ctx, Out dgate, Out dup, In dy, In gate, In up) {
  return for_each_span(ctx, dy.rows, dy.cols, [&](int64_t r, int64_t begin, int64_t end) {
    swiglu_backward_span(dgate ? dgate.row<float>(r) + begin : nullptr, dup ? dup.row<float>(r) + begin : nullptr,
                         dy.row<const float>(r) + begin, gate.row<const float>(r) + begin, up.row<const float>(r) + begin, end - begin);
  });
}
