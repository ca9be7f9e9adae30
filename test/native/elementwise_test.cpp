// Elementwise kernels, forward and backward, with every kind of broadcasting.
#include "core/rng.h"
#include "core/step_record.h"
#include "oracle.h"

using namespace test;

namespace {

struct Shape {
  int64_t rows, cols;
};

const std::vector<Shape> kShapes = {{0, 5}, {5, 0},  {1, 1},  {3, 1},  {3, 7},    {2, 8},
                                    {7, 9}, {5, 17}, {3, 33}, {4, 64}, {300, 70}, {1, 40001}};

/// The shapes that b may have beside a: the same, a trailing vector, one element.
std::vector<Shape> partners(const Shape& a) { return {a, {1, a.cols}, {1, 1}}; }

/// b repeated to a's shape.
Mat repeated(const Mat& b, int64_t rows, int64_t cols) {
  Mat y(rows, cols);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) y(r, c) = b(b.rows == rows ? r : 0, b.cols == cols ? c : 0);
  return y;
}

/// term summed over what was repeated, with the bound of the sum.
Mat summed_like(const Mat& term, int64_t rows, int64_t cols) {
  if (rows == term.rows && cols == term.cols) return term;
  const Mat sums = column_sums(term);
  if (cols == term.cols) return sums;
  Mat y(1, 1);
  double magnitude = 0;
  for (double x : term.value) y(0, 0) += x, magnitude += std::abs(x);
  y.bound(0, 0) = sum_bound(term.rows * term.cols, magnitude, y(0, 0)) + kUnit * magnitude;
  return y;
}

double gelu(double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }
double gelu_tanh(double x) {
  const double u = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
  return x / (1 + std::exp(-2 * u));
}
double silu(double x) { return x / (1 + std::exp(-x)); }
double relu(double x) { return std::isnan(x) ? x : std::max(x, 0.0); }

// Derivatives, with the sum of the absolute values of their terms.
struct Slope {
  double value, magnitude;
};

Slope gelu_slope(double x) {
  const double cdf = 0.5 * std::erfc(-x / std::sqrt(2.0)), pdf = std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
  return {cdf + x * pdf, cdf + std::abs(x) * pdf};
}
Slope gelu_tanh_slope(double x) {
  const double k = std::sqrt(2 / M_PI), u = k * (x + 0.044715 * x * x * x), du = k * (1 + 3 * 0.044715 * x * x);
  const double s = 1 / (1 + std::exp(-2 * u)), rest = 1 / (1 + std::exp(2 * u));
  const double second = 2 * x * s * rest * du;
  return {s + second, s + std::abs(second)};
}
Slope silu_slope(double x) {
  const double s = 1 / (1 + std::exp(-x)), rest = 1 / (1 + std::exp(x));
  return {s + x * s * rest, s + std::abs(x) * s * rest};
}
Slope relu_slope(double x) { return {x > 0 ? 1.0 : 0.0, 0}; }

/// Inputs that matter: dense around zero, tails, halves, signed zeros, values that overflow an exponential.
std::vector<float> activation_inputs() {
  std::vector<float> xs = {0.0f,  -0.0f,  1e-38f, -1e-38f, 1e-20f, -1e-20f, 87.0f, -87.0f,
                           89.0f, -89.0f, 104.0f, -104.0f, 1e4f,   -1e4f,   3e38f, -3e38f};
  for (int i = -4000; i <= 4000; ++i) xs.push_back(static_cast<float>(i) * 0.00271828f);
  Random random(11);
  for (int i = 0; i < 4000; ++i) xs.push_back(random.between(-20, 20));
  return xs;
}

using Forward = void (*)(const Setup&, Matrix<float>& y, const Matrix<float>& x);
using Backward = void (*)(const Setup&, Matrix<float>& dx, const Matrix<float>& dy, const Matrix<float>& x);

double four_ulps(double) { return 4; }
double exact(double) { return 0; }

/// A function within `ulps` of the last place, and its backward within 8 u |dy| of the magnitude of its terms.
void check_activation(const char* name, double (*f)(double), Slope (*slope)(double), double (*ulps)(double), Forward forward,
                      Backward backward) {
  const std::vector<float> xs = activation_inputs();
  const int64_t cols = 1001, rows = static_cast<int64_t>(xs.size()) / cols;
  for (const Setup& setup : setups()) {
    const std::string what = text(name, " on ", setup.name());
    for (const Shape& shape : kShapes) {
      Matrix<float> x(setup, shape.rows, shape.cols), y(setup, shape.rows, shape.cols), dy(setup, shape.rows, shape.cols);
      x.randomize(5, -4, 4), dy.randomize(6);
      forward(setup, y, x);
      EXPECT_MATRIX(what, y, mapped(Mat::of(x), f, [&](double v) { return ulps(v) * ulp(f(v)) + kTiny; }));
    }
    Matrix<float> x(setup, rows, cols), y(setup, rows, cols), dx(setup, rows, cols), dy(setup, rows, cols);
    for (int64_t i = 0; i < rows * cols; ++i) x.at(i / cols, i % cols) = xs[static_cast<size_t>(i)];
    dy.randomize(7);
    forward(setup, y, x);
    EXPECT_MATRIX(what, y, mapped(Mat::of(x), f, [&](double v) { return ulps(v) * ulp(f(v)) + kTiny; }));
    backward(setup, dx, dy, x);
    Mat expected(rows, cols);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        const Slope s = slope(static_cast<double>(x.at(r, c)));
        const double g = static_cast<double>(dy.at(r, c));
        expected(r, c) = g * s.value;
        expected.bound(r, c) = 8 * kUnit * std::abs(g) * s.magnitude + kTiny;
        if (!std::isfinite(expected.bound(r, c))) expected.bound(r, c) = 8 * kUnit * std::abs(expected(r, c));
      }
    }
    EXPECT_MATRIX(what + " backward", dx, expected);
  }
  Mat x(1, 9);
  for (int64_t i = 0; i < 9; ++i) x(0, i) = static_cast<double>(i) - 4.3;
  const Mat dy(1, 9, 1.5);
  const auto none = [](double) { return 0.0; };
  CHECK_GRADIENTS(name, {&x}, dy, [&] { return mapped(x, f, none); },
                  {mapped(
                      x, [&](double v) { return 1.5 * slope(v).value; }, none)});
}

/// A backward pass, for a dy of ones, as a function of x.
template <Backward backward>
void slope_of(const Setup& setup, Matrix<float>& dx, const Matrix<float>& x) {
  Matrix<float> dy(setup, x.rows(), x.cols());
  for (int64_t r = 0; r < x.rows(); ++r) {
    for (int64_t c = 0; c < x.cols(); ++c) dy.at(r, c) = 1;
  }
  backward(setup, dx, dy, x);
}

/// NaNs of either sign come through, beside neighbours that do not change.
void check_nan(const char* name, Forward run) {
  for (const Setup& setup : setups()) {
    for (int64_t at = 0; at < 19; ++at) {
      for (const float nan : {NAN, -NAN}) {
        Matrix<float> x(setup, 1, 19), y(setup, 1, 19);
        x.randomize(8);
        x.at(0, at) = nan;
        run(setup, y, x);
        for (int64_t c = 0; c < 19; ++c) CHECK(std::isnan(y.at(0, c)) == (c == at), name, " on ", setup.name(), " at ", at);
      }
    }
  }
}

/// What -infinity and infinity give, a slope within a subnormal.
void check_limits(const char* name, Forward run, float low, float high) {
  for (const Setup& setup : setups()) {
    Matrix<float> x(setup, 1, 2), y(setup, 1, 2);
    x.at(0, 0) = -INFINITY, x.at(0, 1) = INFINITY;
    run(setup, y, x);
    CHECK(std::abs(y.at(0, 0) - low) <= kTiny, name, " on ", setup.name(), ": ", y.at(0, 0));
    CHECK(y.at(0, 1) == high, name, " on ", setup.name(), ": ", y.at(0, 1));
  }
}

void check_not_finite(const char* name, Forward forward, Forward slope) {
  check_nan(name, forward);
  check_nan(name, slope);
  check_limits(name, forward, 0, INFINITY);
  check_limits(name, slope, 0, 1);
}

template <bool tanh>
void run_gelu(const Setup& setup, Matrix<float>& y, const Matrix<float>& x) {
  RUN_OK_K(setup, gelu_forward, y, x, tanh);
}
template <bool tanh>
void run_gelu_backward(const Setup& setup, Matrix<float>& dx, const Matrix<float>& dy, const Matrix<float>& x) {
  RUN_OK_K(setup, gelu_backward, dx, dy, x, tanh);
}
void run_silu(const Setup& setup, Matrix<float>& y, const Matrix<float>& x) { RUN_OK_K(setup, silu_forward, y, x); }
void run_silu_backward(const Setup& setup, Matrix<float>& dx, const Matrix<float>& dy, const Matrix<float>& x) {
  RUN_OK_K(setup, silu_backward, dx, dy, x);
}
void run_relu(const Setup& setup, Matrix<float>& y, const Matrix<float>& x) { RUN_OK_K(setup, relu_forward, y, x); }
void run_relu_backward(const Setup& setup, Matrix<float>& dx, const Matrix<float>& dy, const Matrix<float>& x) {
  RUN_OK_K(setup, relu_backward, dx, dy, x);
}

}  // namespace

TEST(elementwise_add) {
  for (const Setup& setup : setups()) {
    for (const Shape& shape : kShapes) {
      for (const Shape& other : partners(shape)) {
        Matrix<float> a(setup, shape.rows, shape.cols), b(setup, other.rows, other.cols), y(setup, shape.rows, shape.cols);
        Matrix<float> dy(setup, shape.rows, shape.cols), da(setup, shape.rows, shape.cols), db(setup, other.rows, other.cols);
        a.randomize(1), b.randomize(2), dy.randomize(3, -0.5f, 1);
        RUN_OK_K(setup, add_forward, y, a, b);
        for (int64_t r = 0; r < shape.rows; ++r)
          for (int64_t c = 0; c < shape.cols; ++c)
            CHECK(y.at(r, c) == a.at(r, c) + b.at(other.rows == shape.rows ? r : 0, other.cols == shape.cols ? c : 0), setup.name());
        const Mat expected = summed_like(Mat::of(dy), other.rows, other.cols);
        RUN_OK_K(setup, add_backward, da, db, dy);
        EXPECT_MATRIX("add da on " + setup.name(), da, Mat::of(dy));
        EXPECT_MATRIX("add db on " + setup.name(), db, expected);
        RUN_OK_K(setup, add_backward, da.fill(0), Out{}, dy);
        EXPECT_MATRIX("add da alone on " + setup.name(), da, Mat::of(dy));
        RUN_OK_K(setup, add_backward, Out{}, db.fill(0), dy);
        EXPECT_MATRIX("add db alone on " + setup.name(), db, expected);
      }
    }
  }
}

TEST(elementwise_mul) {
  for (const Setup& setup : setups()) {
    for (const Shape& shape : kShapes) {
      for (const Shape& other : partners(shape)) {
        Matrix<float> a(setup, shape.rows, shape.cols), b(setup, other.rows, other.cols), y(setup, shape.rows, shape.cols);
        Matrix<float> dy(setup, shape.rows, shape.cols), da(setup, shape.rows, shape.cols), db(setup, other.rows, other.cols);
        a.randomize(1), b.randomize(2), dy.randomize(3);
        const Mat whole = repeated(Mat::of(b), shape.rows, shape.cols);
        RUN_OK_K(setup, mul_forward, y, a, b);
        EXPECT_MATRIX("mul on " + setup.name(), y, times(Mat::of(a), whole));
        const Mat expected_a = times(Mat::of(dy), whole), expected_b = summed_like(times(Mat::of(dy), Mat::of(a)), other.rows, other.cols);
        RUN_OK_K(setup, mul_backward, da, db, dy, a, b);
        EXPECT_MATRIX("mul da on " + setup.name(), da, expected_a);
        EXPECT_MATRIX("mul db on " + setup.name(), db, expected_b);
        RUN_OK_K(setup, mul_backward, da.fill(0), Out{}, dy, a, b);
        EXPECT_MATRIX("mul da alone on " + setup.name(), da, expected_a);
        RUN_OK_K(setup, mul_backward, Out{}, db.fill(0), dy, a, b);
        EXPECT_MATRIX("mul db alone on " + setup.name(), db, expected_b);
      }
    }
  }
  Mat a(2, 3, 0.7), b(1, 3, -1.3), dy(2, 3, 0.9);
  a(1, 2) = 2, b(0, 1) = 0.4, dy(0, 1) = -2;
  CHECK_GRADIENTS("mul", {&a, &b}, dy, [&] { return times(a, b); }, {times(dy, b), column_sums(times(dy, a))});
}

TEST(elementwise_scale) {
  for (const Setup& setup : setups()) {
    for (const Shape& shape : kShapes) {
      Matrix<float> x(setup, shape.rows, shape.cols), y(setup, shape.rows, shape.cols);
      x.randomize(1);
      RUN_OK_K(setup, scale, y, x, -1.7f);
      for (int64_t r = 0; r < shape.rows; ++r)
        for (int64_t c = 0; c < shape.cols; ++c) CHECK(y.at(r, c) == -1.7f * x.at(r, c), setup.name());
    }
  }
}

TEST(elementwise_multiply_add) {
  constexpr float kFactor = -0.9f, kSummand = 0.3f;
  for (const Setup& setup : setups()) {
    for (const Shape& shape : kShapes) {
      for (const int32_t steps : {0, 1, 70}) {
        Matrix<float> x(setup, shape.rows, shape.cols), y(setup, shape.rows, shape.cols);
        x.randomize(9);
        RUN_OK_K(setup, multiply_add, y, x, kFactor, kSummand, steps);
        const auto after = [&](double v) {
          for (int32_t step = 0; step < steps; ++step) v = static_cast<double>(kFactor) * v + static_cast<double>(kSummand);
          return v;
        };
        // Every step rounds at most twice, and shrinks what the earlier ones were off by.
        EXPECT_MATRIX("multiply_add on " + setup.name(), y,
                      mapped(Mat::of(x), after, [&](double v) { return steps == 0 ? 0 : 2 * kUnit * (std::abs(v) + 0.3) / (1 - 0.9); }));
      }
    }
  }
}

TEST(elementwise_relu) {
  check_activation("relu", relu, relu_slope, exact, run_relu, run_relu_backward);
  check_nan("relu", run_relu);
  check_limits("relu", run_relu, 0, INFINITY);
  check_limits("relu backward", slope_of<run_relu_backward>, 0, 1);
}

TEST(elementwise_gelu) {
  check_activation("gelu", gelu, gelu_slope, four_ulps, run_gelu<false>, run_gelu_backward<false>);
  check_not_finite("gelu", run_gelu<false>, slope_of<run_gelu_backward<false>>);
}

TEST(elementwise_gelu_tanh) {
  check_activation("gelu tanh", gelu_tanh, gelu_tanh_slope, four_ulps, run_gelu<true>, run_gelu_backward<true>);
  check_not_finite("gelu tanh", run_gelu<true>, slope_of<run_gelu_backward<true>>);
}

TEST(elementwise_silu) {
  check_activation("silu", silu, silu_slope, four_ulps, run_silu, run_silu_backward);
  check_not_finite("silu", run_silu, slope_of<run_silu_backward>);
}

TEST(elementwise_dropout) {
  constexpr uint64_t kSite = 0x1234567890abcdefu;
  StepRecord record{};
  record.seed = 0xdeadbeefcafef00du, record.step = 17, record.micro = 3;
  const In record_view = view_of<In>(reinterpret_cast<const uint8_t*>(&record), 1, sizeof record);
  for (const Setup& setup : setups()) {
    for (float p : {0.0f, 0.1f, 0.5f, 1.0f}) {
      for (const Shape& shape : kShapes) {
        Matrix<float> x(setup, shape.rows, shape.cols), y(setup, shape.rows, shape.cols);
        x.randomize(9);
        RUN_OK_K(setup, dropout, y, x, record_view, p, kSite);
        Mat expected = scaled(Mat::of(x), 1 / (1 - static_cast<double>(p)));
        for (int64_t r = 0; r < shape.rows; ++r) {
          for (int64_t c = 0; c < shape.cols; ++c) {
            const auto e = static_cast<uint64_t>(r * shape.cols + c);
            const Philox4 words = philox({static_cast<uint32_t>(e / 4), 3, 17, static_cast<uint32_t>(kSite)}, record.seed);
            if (static_cast<float>(words[e % 4] >> 8) * 0x1p-24f < p) expected(r, c) = expected.bound(r, c) = 0;
          }
        }
        EXPECT_MATRIX(text("dropout ", p, " on ", setup.name()), y, expected);
      }
    }
  }
}

TEST(elementwise_cancels) {
  for (const Setup& setup : setups()) {
    Matrix<float> x(setup, 40, 5000), y(setup, 40, 5000), row(setup, 1, 5000);
    x.randomize(1), row.randomize(2);
    const Code codes[] = {
        CANCELLED_K(setup, add_forward, y, x, row).code,
        CANCELLED_K(setup, mul_backward, Out{}, row, x, x, row).code,
        CANCELLED_K(setup, silu_forward, y, x).code,
        CANCELLED_K(setup, gelu_backward, y, x, x, true).code,
        CANCELLED_K(setup, relu_forward, y, x).code,
        CANCELLED_K(setup, sum_all, row, x, 1.0f).code,
        CANCELLED_K(setup, multiply_add, y, x, 0.5f, 1.0f, 2).code,
        CANCELLED_K(setup, softmax_forward, y, x).code,
        CANCELLED_K(setup, fill, y, 1.0f).code,
        CANCELLED_K(setup, copy, y, x).code,
    };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; ++i) CHECK(codes[i] == Code::cancelled, setup.name(), " kernel ", i);
  }
}
