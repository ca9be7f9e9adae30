// Sums, their transposes and argmax.
#include <limits>

#include "oracle.h"

using namespace test;

namespace {

struct Shape {
  int64_t rows, cols;
};

const std::vector<Shape> kShapes = {{1, 1},  {3, 1},  {1, 3},    {3, 7},    {2, 8},     {7, 9},    {5, 17},
                                    {3, 33}, {4, 64}, {9, 2000}, {1500, 5}, {1, 70001}, {600, 600}};

Mat of_ones(int64_t rows, int64_t cols) { return Mat(rows, cols, 1); }

Mat total(const Mat& x) {
  Mat y(1, 1);
  double magnitude = 0;
  for (double v : x.value) y(0, 0) += v, magnitude += std::abs(v);
  y.bound(0, 0) = sum_bound(x.rows * x.cols, magnitude, y(0, 0));
  return y;
}

}  // namespace

TEST(reduce_sums) {
  for (const Setup& setup : setups()) {
    for (const Shape& shape : kShapes) {
      for (float low : {-1.0f, 0.0f}) {
        Matrix<float> x(setup, shape.rows, shape.cols), all(setup, 1, 1), by_row(setup, shape.rows, 1);
        x.randomize(1, low, 1);
        RUN_OK_K(setup, sum_all, all, x, 0.3f);
        EXPECT_MATRIX("sum_all on " + setup.name(), all, scaled(total(Mat::of(x)), static_cast<double>(0.3f)));
        RUN_OK_K(setup, sum_cols, by_row, x, -2.5f);
        EXPECT_MATRIX("sum_cols on " + setup.name(), by_row, scaled(product(Mat::of(x), of_ones(shape.cols, 1)), -2.5));
        for (int64_t groups : {int64_t{1}, int64_t{3}, shape.rows}) {
          if (shape.rows % groups != 0) continue;
          const int64_t n = shape.rows / groups;
          Matrix<float> y(setup, groups, shape.cols);
          RUN_OK_K(setup, sum_rows, y, x, static_cast<int32_t>(n), 1.5f);
          Mat expected(groups, shape.cols);
          for (int64_t g = 0; g < groups; ++g) {
            const Mat sums = scaled(column_sums(rows_of(Mat::of(x), g * n, n)), 1.5);
            for (int64_t c = 0; c < shape.cols; ++c) expected(g, c) = sums(0, c), expected.bound(g, c) = sums.bound(0, c);
          }
          EXPECT_MATRIX("sum_rows on " + setup.name(), y, expected);
        }
      }
    }
  }
}

TEST(reduce_sums_of_nothing_are_zero) {
  for (const Setup& setup : setups()) {
    Matrix<float> no_rows(setup, 0, 3), no_cols(setup, 3, 0), one(setup, 1, 1), column(setup, 3, 1), row(setup, 1, 3), none(setup, 0, 3);
    RUN_OK_K(setup, sum_all, one, no_rows, 2.0f);
    EXPECT_MATRIX("sum_all of no rows", one, Mat(1, 1));
    RUN_OK_K(setup, sum_all, one, no_cols, 2.0f);
    EXPECT_MATRIX("sum_all of no columns", one, Mat(1, 1));
    RUN_OK_K(setup, sum_cols, column, no_cols, 2.0f);
    EXPECT_MATRIX("sum_cols of no columns", column, Mat(3, 1));
    RUN_OK_K(setup, sum_rows, row, no_rows, 0, 2.0f);
    EXPECT_MATRIX("sum_rows of no rows", row, Mat(1, 3));
    RUN_OK_K(setup, sum_rows, none, no_rows, 2, 2.0f);
    RUN_OK_K(setup, broadcast, none, none, 1, 2.0f);
  }
}

TEST(reduce_broadcast) {
  for (const Setup& setup : setups()) {
    for (int64_t groups : {1, 2, 5}) {
      for (int n : {1, 3, 40}) {
        for (int64_t cols : {1, 7, 8, 33, 500}) {
          for (const Shape& from : {Shape{groups, cols}, Shape{groups, 1}, Shape{1, 1}}) {
            Matrix<float> x(setup, from.rows, from.cols), y(setup, groups * n, cols);
            x.randomize(2);
            RUN_OK_K(setup, broadcast, y, x, n, -0.75f);
            for (int64_t r = 0; r < groups * n; ++r)
              for (int64_t c = 0; c < cols; ++c)
                CHECK(y.at(r, c) == -0.75f * x.at(from.rows == 1 ? 0 : r / n, from.cols == 1 ? 0 : c), setup.name(), " from ", from.rows,
                      " x ", from.cols);
          }
        }
      }
    }
  }
}

// <v, sum(x)> = <broadcast(v), x>: each backward is the transpose of its forward.
TEST(reduce_broadcast_is_the_transpose_of_the_sums) {
  for (const Setup& setup : setups()) {
    const int64_t groups = 3, n = 5, cols = 19;
    Matrix<float> x(setup, groups * n, cols), sums(setup, groups, cols), v(setup, groups, cols), back(setup, groups * n, cols);
    x.randomize(3), v.randomize(4);
    RUN_OK_K(setup, sum_rows, sums, x, 5, 0.5f);
    RUN_OK_K(setup, broadcast, back, v, 5, 0.5f);
    double left = 0, right = 0;
    for (int64_t r = 0; r < groups * n; ++r)
      for (int64_t c = 0; c < cols; ++c) right += static_cast<double>(back.at(r, c)) * static_cast<double>(x.at(r, c));
    for (int64_t r = 0; r < groups; ++r)
      for (int64_t c = 0; c < cols; ++c) left += static_cast<double>(v.at(r, c)) * static_cast<double>(sums.at(r, c));
    CHECK(std::abs(left - right) <= 8 * kUnit * static_cast<double>(groups * n * cols), setup.name(), " ", left, " ", right);
  }
}

TEST(reduce_nan_reaches_what_depends_on_it) {
  for (const Setup& setup : setups()) {
    Random random(5);
    for (int trial = 0; trial < 40; ++trial) {
      const int64_t row = random.below(12), column = random.below(21);
      Matrix<float> x(setup, 12, 21), all(setup, 1, 1), by_row(setup, 12, 1), by_group(setup, 3, 21);
      x.randomize(6);
      x.at(row, column) = NAN;
      RUN_OK_K(setup, sum_all, all, x, 1.0f);
      RUN_OK_K(setup, sum_cols, by_row, x, 1.0f);
      RUN_OK_K(setup, sum_rows, by_group, x, 4, 1.0f);
      CHECK(std::isnan(all.at(0, 0)), setup.name());
      for (int64_t r = 0; r < 12; ++r) CHECK(std::isnan(by_row.at(r, 0)) == (r == row), setup.name());
      for (int64_t g = 0; g < 3; ++g)
        for (int64_t c = 0; c < 21; ++c) CHECK(std::isnan(by_group.at(g, c)) == (g == row / 4 && c == column), setup.name());
    }
  }
}

TEST(reduce_argmax) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const Setup& setup : setups()) {
    for (int64_t cols : {1, 3, 7, 8, 9, 17, 33, 64, 1000}) {
      for (int64_t first = 0; first < cols; first += 1 + cols / 9) {
        Matrix<float> x(setup, 6, cols);
        Matrix<int32_t> y(setup, 6, 1);
        x.randomize(7);
        const int64_t second = first + (cols - first) / 2;
        x.at(0, first) = 2;                           // the largest
        x.at(1, second) = 2, x.at(1, first) = 2;      // twice: the first
        x.at(2, first) = NAN;                         // NaN beats everything
        x.at(3, second) = NAN, x.at(3, first) = NAN;  // the first NaN
        x.at(3, 0) = first == 0 ? NAN : kInfinity;    // also against infinity
        for (int64_t c = 0; c < cols; ++c) x.at(4, c) = -kInfinity;
        for (int64_t c = 0; c < cols; ++c) x.at(5, c) = c == first ? -3.0f : -4.0f;
        RUN_OK_K(setup, argmax, y, x);
        for (int64_t r : {0, 1, 2, 3, 5})
          CHECK(y.at(r, 0) == first, setup.name(), " row ", r, " of ", cols, ": ", y.at(r, 0), " for ", first);
        CHECK(y.at(4, 0) == 0, setup.name(), " all minus infinity: ", y.at(4, 0));
      }
    }
  }
}
