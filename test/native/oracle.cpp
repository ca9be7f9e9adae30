#include "oracle.h"

#include <algorithm>

namespace test {

double ulp(double x) { return std::ldexp(1.0, std::max(std::ilogb(std::max(std::abs(x), kTiny)), -126) - 23); }

double sum_bound(int64_t terms, double magnitude, double value) {
  return 4 * std::sqrt(static_cast<double>(std::max<int64_t>(terms, 1))) * kUnit * magnitude + kUnit * std::abs(value) + kTiny;
}

Mat transposed(const Mat& a) {
  Mat y(a.cols, a.rows);
  for (int64_t r = 0; r < a.rows; ++r)
    for (int64_t c = 0; c < a.cols; ++c) y(c, r) = a(r, c), y.bound(c, r) = a.bound(r, c);
  return y;
}

Mat product(const Mat& a, const Mat& b) {
  Mat y(a.rows, b.cols);
  const Mat columns = transposed(b);
  for (int64_t r = 0; r < y.rows; ++r) {
    for (int64_t c = 0; c < y.cols; ++c) {
      const double *x = a.value.data() + r * a.cols, *x_bound = a.error.data() + r * a.cols;
      const double *z = columns.value.data() + c * a.cols, *z_bound = columns.error.data() + c * a.cols;
      double sum = 0, magnitude = 0, carried = 0;
      for (int64_t k = 0; k < a.cols; ++k) {
        sum += x[k] * z[k];
        magnitude += std::abs(x[k] * z[k]);
        carried += x_bound[k] * std::abs(z[k]) + std::abs(x[k]) * z_bound[k] + x_bound[k] * z_bound[k];
      }
      y(r, c) = sum;
      y.bound(r, c) = sum_bound(a.cols, magnitude, sum) + carried;
    }
  }
  return y;
}

Mat plus(const Mat& a, const Mat& b) {
  Mat y(a.rows, a.cols);
  for (int64_t r = 0; r < a.rows; ++r) {
    const int64_t row = b.rows == 1 ? 0 : r;
    for (int64_t c = 0; c < a.cols; ++c) {
      y(r, c) = a(r, c) + b(row, c);
      y.bound(r, c) = a.bound(r, c) + b.bound(row, c) + kUnit * (std::abs(a(r, c)) + std::abs(b(row, c)));
    }
  }
  return y;
}

Mat times(const Mat& a, const Mat& b) {
  Mat y(a.rows, a.cols);
  for (int64_t r = 0; r < a.rows; ++r) {
    const int64_t row = b.rows == 1 ? 0 : r;
    for (int64_t c = 0; c < a.cols; ++c) {
      y(r, c) = a(r, c) * b(row, c);
      const double ea = a.bound(r, c), eb = b.bound(row, c);
      y.bound(r, c) = ea * std::abs(b(row, c)) + std::abs(a(r, c)) * eb + ea * eb + kUnit * std::abs(y(r, c)) + kTiny;
    }
  }
  return y;
}

Mat scaled(const Mat& a, double factor) {
  Mat y = a;
  for (size_t i = 0; i < y.value.size(); ++i) {
    y.value[i] *= factor;
    y.error[i] = std::abs(factor) * a.error[i] + 2 * kUnit * std::abs(y.value[i]) + kTiny;
  }
  return y;
}

Mat column_sums(const Mat& a) { return product(Mat(1, a.rows, 1), a); }

Mat rows_of(const Mat& a, int64_t first, int64_t count) {
  Mat y(count, a.cols);
  for (int64_t r = 0; r < count; ++r)
    for (int64_t c = 0; c < a.cols; ++c) y(r, c) = a(first + r, c), y.bound(r, c) = a.bound(first + r, c);
  return y;
}

namespace {

bool agrees(double actual, double expected, double bound) {
  if (std::isnan(expected)) return std::isnan(actual);
  if (std::isinf(expected)) return actual == expected;
  return std::abs(actual - expected) <= bound;
}

}  // namespace

void expect(const char* file, int line, const std::string& what, const Matrix<float>& actual, const Mat& expected) {
  if (actual.rows() != expected.rows || actual.cols() != expected.cols) {
    fail(file, line, text(what, ": the oracle is [", expected.rows, ", ", expected.cols, "]"));
    return;
  }
  for (int64_t r = 0; r < expected.rows; ++r) {
    for (int64_t c = 0; c < expected.cols; ++c) {
      const double value = static_cast<double>(actual.at(r, c));
      if (!agrees(value, expected(r, c), expected.bound(r, c)))
        fail(file, line,
             text(what, " [", actual.rows(), ", ", actual.cols(), "] at (", r, ", ", c, "): ", value, ", expected ", expected(r, c),
                  " within ", expected.bound(r, c)));
    }
  }
}

}  // namespace test
