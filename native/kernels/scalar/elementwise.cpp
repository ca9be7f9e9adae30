// Element by element; each backward stands below its forward. Activations are computed in f64 and rounded once.
#include <cmath>

#include "kernels/scalar/kernels.h"
#include "kernels/scalar/sums.h"

namespace lowrank::scalar {

namespace {

enum class Broadcast { none, row, scalar };

Broadcast broadcast_of(const View& b, const View& whole) {
  if (b.rows == whole.rows && b.cols == whole.cols) return Broadcast::none;
  return b.cols == whole.cols ? Broadcast::row : Broadcast::scalar;
}

/// b as a matrix of a's shape: element (r, c) is data[r * row_step + c * column_step].
struct Repeated {
  const float* data;
  int64_t row_step, column_step;

  Repeated(const View& b, const View& whole) : data(b.row<const float>(0)) {
    const Broadcast kind = broadcast_of(b, whole);
    row_step = kind == Broadcast::none ? b.ld : 0;
    column_step = kind == Broadcast::scalar ? 0 : 1;
  }

  float at(int64_t r, int64_t c) const { return data[r * row_step + c * column_step]; }
};

template <class F>
Status map_repeated(Context& ctx, const View& y, const View& a, const View& b, const F& f) {
  const Repeated rhs(b, a);
  return for_each_span(ctx, y.rows, y.cols, [&](int64_t r, int64_t begin, int64_t end) {
    float* out = y.row<float>(r);
    const float* lhs = a.row<const float>(r);
    for (int64_t c = begin; c < end; ++c) out[c] = f(lhs[c], rhs.at(r, c));
  });
}

/// db = term(r, c), summed over what was broadcast.
template <class Term>
Status reduce_to(Context& ctx, const View& db, const View& whole, const Term& term) {
  switch (broadcast_of(db, whole)) {
    case Broadcast::row:
      return column_sums(ctx, db, whole.rows, 1.0f, term);
    case Broadcast::scalar: {
      float sum = 0;
      const Status status = matrix_sum(ctx, sum, whole.rows, whole.cols, term);
      *db.row<float>(0) = sum;
      return status;
    }
    case Broadcast::none:
      break;
  }
  return for_each_span(ctx, db.rows, db.cols, [&](int64_t r, int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) db.row<float>(r)[c] = term(r, c);
  });
}

}  // namespace

// y = a + b
Status add_forward(Context& ctx, Out y, In a, In b) {
  return map_repeated(ctx, y, a, b, [](float p, float q) { return p + q; });
}

// da = dy; db = dy, summed over what was broadcast
Status add_backward(Context& ctx, Out da, Out db, In dy) {
  if (da) {
    const Status status = map(ctx, da, dy, [](float g) { return g; });
    if (!status.ok()) return status;
  }
  if (!db) return {};
  return reduce_to(ctx, db, dy, [&](int64_t r, int64_t c) { return dy.row<const float>(r)[c]; });
}

// y = a * b
Status mul_forward(Context& ctx, Out y, In a, In b) {
  return map_repeated(ctx, y, a, b, [](float p, float q) { return p * q; });
}

// da = dy * b; db = dy * a, summed over what was broadcast
Status mul_backward(Context& ctx, Out da, Out db, In dy, In a, In b) {
  if (da) {
    const Status status = map_repeated(ctx, da, dy, b, [](float g, float q) { return g * q; });
    if (!status.ok()) return status;
  }
  if (!db) return {};
  return reduce_to(ctx, db, dy, [&](int64_t r, int64_t c) { return dy.row<const float>(r)[c] * a.row<const float>(r)[c]; });
}

// y = factor * x
Status scale(Context& ctx, Out y, In x, f32 factor) {
  return map(ctx, y, x, [=](float v) { return factor * v; });
}

// y = x after `steps` times y <- factor * y + summand; the elements of a block are chains that do not wait for each other
Status multiply_add(Context& ctx, Out y, In x, f32 factor, f32 summand, i32 steps) {
  constexpr int64_t kBlock = 48;
  const int64_t blocks = ceil_div(y.cols, kBlock);
  return ctx.parallel_for(y.rows * blocks, [&](int64_t tile) {
    const int64_t r = tile / blocks, begin = tile % blocks * kBlock, n = std::min(kBlock, y.cols - begin);
    float chains[kBlock] = {};
    std::copy_n(x.row<const float>(r) + begin, n, chains);
    for (i32 step = 0; step < steps; ++step)
      for (float& v : chains) v = factor * v + summand;
    std::copy_n(chains, n, y.row<float>(r) + begin);
  });
}

// y = max(x, 0); NaN stays NaN
Status relu_forward(Context& ctx, Out y, In x) {
  return map(ctx, y, x, [](float v) { return v <= 0 ? 0.0f : v; });
}

// dx = 0 where x <= 0, else dy
Status relu_backward(Context& ctx, Out dx, In dy, In x) {
  return map(ctx, dx, dy, x, [](float g, float v) { return v <= 0 ? 0.0f : g; });
}

namespace {

constexpr double kSqrtHalf = 0.70710678118654752440, kInvSqrt2Pi = 0.39894228040143267794;
constexpr double kSqrt2OverPi = 0.79788456080286535588, kCubic = 0.044715;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// The normal distribution's cumulative function, without cancellation on the left.
double normal_cdf(double x) { return 0.5 * std::erfc(-x * kSqrtHalf); }

/// 0.5 (1 + tanh(u)) = sigmoid(2u), with u of the tanh approximation.
double tanh_gate(double x) { return sigmoid(2 * kSqrt2OverPi * (x + kCubic * x * x * x)); }

/// x * gate without the 0 * inf of an infinite x.
double gated(double x, double gate) { return gate == 0 ? 0 : x * gate; }

}  // namespace

// exact: y = x cdf(x); tanh: y = 0.5x(1 + tanh(sqrt(2/pi)(x + 0.044715x^3)))
Status gelu_forward(Context& ctx, Out y, In x, bool tanh) {
  if (tanh) return map(ctx, y, x, [](float v) { return static_cast<float>(gated(v, tanh_gate(v))); });
  return map(ctx, y, x, [](float v) { return static_cast<float>(gated(v, normal_cdf(v))); });
}

// exact: dx = dy (cdf(x) + x pdf(x)); tanh: with s = sigmoid(2u), dx = dy (s + x s (1 - s) 2u')
Status gelu_backward(Context& ctx, Out dx, In dy, In x, bool tanh) {
  if (tanh) {
    return map(ctx, dx, dy, x, [](float g, float v) {
      const double slope = kSqrt2OverPi * (1 + 3 * kCubic * static_cast<double>(v) * v), s = tanh_gate(v);
      return static_cast<float>(g * (s + gated(2 * slope * v, s * (1 - s))));
    });
  }
  return map(ctx, dx, dy, x, [](float g, float v) {
    const double pdf = kInvSqrt2Pi * std::exp(-0.5 * static_cast<double>(v) * v);
    return static_cast<float>(g * (normal_cdf(v) + gated(v, pdf)));
  });
}

// y = x sigmoid(x)
Status silu_forward(Context& ctx, Out y, In x) {
  return map(ctx, y, x, [](float v) { return static_cast<float>(gated(v, sigmoid(v))); });
}

// dx = dy s (1 + x (1 - s)), s = sigmoid(x)
Status silu_backward(Context& ctx, Out dx, In dy, In x) {
  return map(ctx, dx, dy, x, [](float g, float v) {
    const double s = sigmoid(v);
    return static_cast<float>(g * (s + gated(v, s * (1 - s))));
  });
}

}  // namespace lowrank::scalar
