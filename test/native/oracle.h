// Exact-enough answers: float64 matrices that carry, element by element, a bound for the error of an honest f32 computation.
// The bound of a product or sum over K terms is 4 sqrt(K) u |A||B| + u |C| (Higham and Mary 2019, with a fourfold margin), and the bounds
// of its factors are carried through.
#pragma once
#include "kernel_harness.h"

namespace test {

constexpr double kUnit = 0x1p-24;   // unit roundoff of f32
constexpr double kTiny = 0x1p-126;  // smallest normal f32: compute threads flush what is below

/// Distance of neighbouring f32 numbers around x.
double ulp(double x);

struct Mat {
  int64_t rows = 0, cols = 0;
  std::vector<double> value, error;

  Mat() = default;
  Mat(int64_t r, int64_t c, double v = 0) : rows(r), cols(c), value(static_cast<size_t>(r * c), v), error(static_cast<size_t>(r * c), 0) {}

  /// The numbers of a kernel's argument, taken as exact.
  template <class T>
  static Mat of(const Matrix<T>& m) {
    Mat result(m.rows(), m.cols());
    for (int64_t r = 0; r < m.rows(); ++r)
      for (int64_t c = 0; c < m.cols(); ++c) result(r, c) = static_cast<double>(widen(m.at(r, c)));
    return result;
  }

  double& operator()(int64_t r, int64_t c) { return value[static_cast<size_t>(r * cols + c)]; }
  double operator()(int64_t r, int64_t c) const { return value[static_cast<size_t>(r * cols + c)]; }
  double& bound(int64_t r, int64_t c) { return error[static_cast<size_t>(r * cols + c)]; }
  double bound(int64_t r, int64_t c) const { return error[static_cast<size_t>(r * cols + c)]; }
};

/// The bound for a sum of `terms` numbers whose absolute values add up to `magnitude`.
double sum_bound(int64_t terms, double magnitude, double value);

Mat transposed(const Mat& a);
Mat product(const Mat& a, const Mat& b);  // a[M, K] b[K, N]
Mat plus(const Mat& a, const Mat& b);     // b may be one row
Mat times(const Mat& a, const Mat& b);    // element by element; b may be one row
Mat scaled(const Mat& a, double factor);  // with two roundings: of the factor and of the product
Mat column_sums(const Mat& a);            // [1, cols]
Mat rows_of(const Mat& a, int64_t first, int64_t count);

/// value = f(x) with bound g(x)
template <class F, class G>
Mat mapped(const Mat& x, const F& f, const G& g) {
  Mat y(x.rows, x.cols);
  for (size_t i = 0; i < x.value.size(); ++i) y.value[i] = f(x.value[i]), y.error[i] = g(x.value[i]);
  return y;
}

/// Fails where `actual` is further from `expected` than its bound; what is not finite must be the same.
void expect(const char* file, int line, const std::string& what, const Matrix<float>& actual, const Mat& expected);

/// Fails when the analytic gradients (float64) of sum(dy * forward()) differ from central differences over the elements of `inputs`.
template <class Forward>
void check_gradients(const char* file, int line, const std::string& what, const std::vector<Mat*>& inputs, const Mat& dy,
                     const Forward& forward, const std::vector<Mat>& gradients) {
  constexpr double kStep = 1e-5, kTolerance = 1e-7;
  const auto loss = [&] {
    const Mat y = forward();
    double sum = 0;
    for (size_t i = 0; i < y.value.size(); ++i) sum += y.value[i] * dy.value[i];
    return sum;
  };
  for (size_t n = 0; n < inputs.size(); ++n) {
    for (size_t i = 0; i < inputs[n]->value.size(); ++i) {
      double& x = inputs[n]->value[i];
      const double kept = x;
      x = kept + kStep;
      const double above = loss();
      x = kept - kStep;
      const double below = loss();
      x = kept;
      const double difference = (above - below) / (2 * kStep), gradient = gradients[n].value[i];
      if (!(std::abs(difference - gradient) <= kTolerance * std::max(1.0, std::abs(difference))))
        fail(file, line, text(what, ": gradient of input ", n, " at ", i, " is ", gradient, ", differences give ", difference));
    }
  }
}

}  // namespace test

#define EXPECT_MATRIX(what, actual, expected) test::expect(__FILE__, __LINE__, what, actual, expected)
#define CHECK_GRADIENTS(what, ...) test::check_gradients(__FILE__, __LINE__, what, __VA_ARGS__)
