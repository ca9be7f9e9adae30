// Softmax and cross entropy, forward and backward.
#include <algorithm>
#include <limits>

#include "oracle.h"

using namespace test;

namespace {

constexpr int32_t kIgnore = -100;

/// log(sum(exp(x))) of row r.
double log_sum_exp(const Mat& x, int64_t r) {
  double max = -INFINITY, sum = 0;
  for (int64_t c = 0; c < x.cols; ++c) max = std::max(max, x(r, c));
  for (int64_t c = 0; c < x.cols; ++c) sum += std::exp(x(r, c) - max);
  return max + std::log(sum);
}

Mat softmax(const Mat& x) {
  Mat y(x.rows, x.cols);
  for (int64_t r = 0; r < x.rows; ++r)
    for (int64_t c = 0; c < x.cols; ++c) y(r, c) = std::exp(x(r, c) - log_sum_exp(x, r));
  return y;
}

/// dx = y (dy - sum(dy y)), with the bound of an f32 computation.
Mat softmax_gradient(const Mat& dy, const Mat& y) {
  Mat dx(y.rows, y.cols);
  for (int64_t r = 0; r < y.rows; ++r) {
    double dot = 0, magnitude = 0;
    for (int64_t c = 0; c < y.cols; ++c) dot += dy(r, c) * y(r, c), magnitude += std::abs(dy(r, c) * y(r, c));
    for (int64_t c = 0; c < y.cols; ++c) {
      dx(r, c) = y(r, c) * (dy(r, c) - dot);
      dx.bound(r, c) = std::abs(y(r, c)) * (sum_bound(y.cols, magnitude, dot) + 3 * kUnit * (std::abs(dy(r, c)) + std::abs(dot))) + kTiny;
    }
  }
  return dx;
}

/// The bound of FlashAttention's tests: twice the largest error of a plain f32 softmax, and two roundings of the largest value.
void bound_by_plain_softmax(const Matrix<float>& x, Mat& expected) {
  double worst = 0, largest = 0;
  std::vector<float> plain(static_cast<size_t>(x.cols()));
  for (int64_t r = 0; r < x.rows(); ++r) {
    float max = -INFINITY, sum = 0;
    for (int64_t c = 0; c < x.cols(); ++c) max = std::max(max, x.at(r, c));
    for (int64_t c = 0; c < x.cols(); ++c) sum += plain[static_cast<size_t>(c)] = std::exp(x.at(r, c) - max);
    for (int64_t c = 0; c < x.cols(); ++c) {
      worst = std::max(worst, std::abs(static_cast<double>(plain[static_cast<size_t>(c)] / sum) - expected(r, c)));
      largest = std::max(largest, std::abs(expected(r, c)));
    }
  }
  for (double& bound : expected.error) bound = 2 * worst + 2 * kUnit * largest;
}

struct Loss {
  Mat loss{1, 1}, lse, count{1, 1};
};

/// The loss in float64, with bounds: two units of every number that is added, the error of a sum over the columns, and of one over the
/// rows.
Loss cross_entropy(const Mat& x, const std::vector<int32_t>& labels, bool mean) {
  Loss result;
  result.lse = Mat(x.rows, 1);
  double magnitude = 0, carried = 0, sum = 0, counted = 0;
  for (int64_t r = 0; r < x.rows; ++r) {
    double max = -INFINITY;
    for (int64_t c = 0; c < x.cols; ++c) max = std::max(max, x(r, c));
    const double lse = log_sum_exp(x, r), columns = 4 * std::sqrt(static_cast<double>(x.cols)) * kUnit;
    result.lse(r, 0) = lse;
    result.lse.bound(r, 0) = 2 * kUnit * (std::abs(max) + std::abs(lse - max) + std::abs(lse)) + columns + kTiny;
    const int32_t label = labels[static_cast<size_t>(r)];
    if (label == kIgnore) continue;
    sum += lse - x(r, label), counted += 1;
    magnitude += std::abs(lse - x(r, label));
    carried += result.lse.bound(r, 0) + 2 * kUnit * (std::abs(lse) + std::abs(x(r, label)));
  }
  const double divisor = mean && counted > 0 ? counted : 1;
  result.loss(0, 0) = sum / divisor;
  result.loss.bound(0, 0) = (sum_bound(x.rows, magnitude, sum) + carried + kUnit * std::abs(sum)) / divisor;
  result.count(0, 0) = counted;
  return result;
}

/// dlogits for the given log-sum-exp (which a kernel has as f32).
Mat cross_entropy_gradient(const Mat& x, const Mat& lse, const std::vector<int32_t>& labels, double dloss, double divisor) {
  Mat dx(x.rows, x.cols);
  for (int64_t r = 0; r < x.rows; ++r) {
    const int32_t label = labels[static_cast<size_t>(r)];
    if (label == kIgnore) continue;
    for (int64_t c = 0; c < x.cols; ++c) {
      const double p = std::exp(x(r, c) - lse(r, 0)), difference = p - (c == label ? 1 : 0);
      dx(r, c) = dloss / divisor * difference;
      dx.bound(r, c) = std::abs(dloss / divisor) * kUnit * (p * (std::abs(x(r, c) - lse(r, 0)) + 8) + 4 * std::abs(difference)) + kTiny;
    }
  }
  return dx;
}

std::vector<int32_t> random_labels(int64_t rows, int64_t cols, Random& random) {
  std::vector<int32_t> labels;
  for (int64_t r = 0; r < rows; ++r) labels.push_back(random.below(4) == 0 ? kIgnore : static_cast<int32_t>(random.below(cols)));
  return labels;
}

Matrix<int32_t> column_of(const Setup& setup, const std::vector<int32_t>& labels) {
  Matrix<int32_t> column(setup, static_cast<int64_t>(labels.size()), 1);
  for (size_t r = 0; r < labels.size(); ++r) column.at(static_cast<int64_t>(r), 0) = labels[r];
  return column;
}

void check_cross_entropy(const Setup& setup, int64_t rows, int64_t cols, float range, bool mean) {
  Random random(static_cast<uint64_t>(rows * 1000 + cols));
  const std::vector<int32_t> labels = random_labels(rows, cols, random);
  const Matrix<int32_t> column = column_of(setup, labels);
  Matrix<float> x(setup, rows, cols), loss(setup, 1, 1), lse(setup, rows, 1), count(setup, 1, 1), dloss(setup, 1, 1), dx(setup, rows, cols);
  x.randomize(3, -range, range);
  const std::string what = text("cross entropy of +-", range, mean ? " mean on " : " sum on ", setup.name());
  const Loss expected = cross_entropy(Mat::of(x), labels, mean);
  RUN_OK_K(setup, cross_entropy_forward, loss, lse, count, x, column, kIgnore, mean);
  EXPECT_MATRIX(what + ": loss", loss, expected.loss);
  EXPECT_MATRIX(what + ": lse", lse, expected.lse);
  EXPECT_MATRIX(what + ": count", count, expected.count);
  RUN_OK_K(setup, cross_entropy_forward, loss.fill(0), Out{}, Out{}, x, column, kIgnore, mean);
  EXPECT_MATRIX(what + ": loss alone", loss, expected.loss);
  dloss.fill(0.7f);
  const double divisor = mean ? expected.count(0, 0) : 1;
  RUN_OK_K(setup, cross_entropy_backward, dx, dloss, x, column, lse, count, kIgnore, mean);
  EXPECT_MATRIX(what + ": dlogits", dx, cross_entropy_gradient(Mat::of(x), Mat::of(lse), labels, static_cast<double>(0.7f), divisor));
}

}  // namespace

TEST(softmax_forward_and_backward) {
  for (const Setup& setup : setups()) {
    for (int64_t rows : {1, 3, 40}) {
      for (int64_t cols : {1, 3, 7, 8, 9, 17, 33, 64, 1000}) {
        for (float range : {1.0f, 10.0f, 100.0f, 1e4f}) {
          Matrix<float> x(setup, rows, cols), y(setup, rows, cols), dy(setup, rows, cols), dx(setup, rows, cols);
          x.randomize(1, -range, range), dy.randomize(2);
          RUN_OK_K(setup, softmax_forward, y, x);
          Mat expected = softmax(Mat::of(x));
          bound_by_plain_softmax(x, expected);
          EXPECT_MATRIX(text("softmax of +-", range, " on ", setup.name()), y, expected);
          for (int64_t r = 0; r < rows; ++r) {
            double sum = 0;
            for (int64_t c = 0; c < cols; ++c) sum += static_cast<double>(y.at(r, c));
            CHECK(std::abs(sum - 1) <= 4 * kUnit * std::sqrt(static_cast<double>(cols)), setup.name(), ": row sums to ", sum);
          }
          RUN_OK_K(setup, softmax_backward, dx, dy, y);
          EXPECT_MATRIX("softmax backward on " + setup.name(), dx, softmax_gradient(Mat::of(dy), Mat::of(y)));
        }
      }
    }
  }
  Mat x(2, 5), dy(2, 5);
  for (size_t i = 0; i < 10; ++i) x.value[i] = 0.37 * static_cast<double>(i) - 1, dy.value[i] = std::cos(static_cast<double>(3 * i));
  CHECK_GRADIENTS("softmax", {&x}, dy, [&] { return softmax(x); }, {softmax_gradient(dy, softmax(x))});
}

TEST(softmax_shift_and_masks) {
  for (const Setup& setup : setups()) {
    Matrix<float> x(setup, 1, 37), shifted(setup, 1, 37), y(setup, 1, 37), y_shifted(setup, 1, 37);
    for (int64_t c = 0; c < 37; ++c) x.at(0, c) = static_cast<float>((c * 7) % 11) - 5, shifted.at(0, c) = x.at(0, c) + 4096;
    RUN_OK_K(setup, softmax_forward, y, x);
    RUN_OK_K(setup, softmax_forward, y_shifted, shifted);
    for (int64_t c = 0; c < 37; ++c) CHECK(y.at(0, c) == y_shifted.at(0, c), setup.name(), ": an exact shift changes column ", c);
    for (int64_t c = 0; c < 37; ++c) x.at(0, c) = c == 20 ? 3.0f : -INFINITY;
    RUN_OK_K(setup, softmax_forward, y, x);
    for (int64_t c = 0; c < 37; ++c) CHECK(y.at(0, c) == (c == 20 ? 1.0f : 0.0f), setup.name(), ": all but one masked, column ", c);
  }
}

TEST(softmax_nan_fills_its_row_only) {
  for (const Setup& setup : setups()) {
    for (int64_t at = 0; at < 19; ++at) {
      Matrix<float> x(setup, 3, 19), y(setup, 3, 19), dx(setup, 3, 19), dy(setup, 3, 19);
      x.randomize(4), dy.randomize(5);
      RUN_OK_K(setup, softmax_forward, y, x);
      dy.at(1, at) = NAN;
      RUN_OK_K(setup, softmax_backward, dx, dy, y);
      x.at(1, at) = NAN;
      RUN_OK_K(setup, softmax_forward, y, x);
      for (int64_t r = 0; r < 3; ++r)
        for (int64_t c = 0; c < 19; ++c)
          CHECK(std::isnan(y.at(r, c)) == (r == 1) && std::isnan(dx.at(r, c)) == (r == 1), setup.name(), " at ", at);
    }
  }
}

TEST(cross_entropy_forward_and_backward) {
  for (const Setup& setup : setups())
    for (bool mean : {false, true})
      for (int64_t rows : {1, 2, 9, 300, 700})
        for (int64_t cols : {1, 3, 8, 17, 33, 500})
          for (float range : {3.0f, 1e4f}) check_cross_entropy(setup, rows, cols, range, mean);
}

TEST(cross_entropy_gradient_of_the_oracle) {
  Mat x(3, 4);
  for (size_t i = 0; i < 12; ++i) x.value[i] = std::sin(static_cast<double>(2 * i));
  const std::vector<int32_t> labels = {2, kIgnore, 0};
  for (bool mean : {false, true}) {
    Mat lse(3, 1);
    for (int64_t r = 0; r < 3; ++r) lse(r, 0) = log_sum_exp(x, r);
    const Mat gradient = cross_entropy_gradient(x, lse, labels, 1.3, mean ? 2 : 1);
    CHECK_GRADIENTS("cross entropy", {&x}, Mat(1, 1, 1.3), [&] { return cross_entropy(x, labels, mean).loss; }, {gradient});
  }
}

TEST(cross_entropy_of_nothing_is_zero) {
  for (const Setup& setup : setups()) {
    for (bool mean : {false, true}) {
      for (int64_t rows : {0, 3}) {
        const Matrix<int32_t> labels = column_of(setup, std::vector<int32_t>(static_cast<size_t>(rows), kIgnore));
        Matrix<float> x(setup, rows, 9), loss(setup, 1, 1), lse(setup, rows, 1), count(setup, 1, 1), dloss(setup, 1, 1), dx(setup, rows, 9);
        x.randomize(1), dloss.fill(1);
        if (rows > 0) x.at(1, 4) = NAN;
        RUN_OK_K(setup, cross_entropy_forward, loss, lse, count, x, labels, kIgnore, mean);
        EXPECT_MATRIX("loss", loss, Mat(1, 1));
        EXPECT_MATRIX("count", count, Mat(1, 1));
        RUN_OK_K(setup, cross_entropy_backward, dx, dloss, x, labels, lse, count, kIgnore, mean);
        EXPECT_MATRIX("dlogits of ignored rows", dx, Mat(rows, 9));
      }
    }
  }
}

TEST(cross_entropy_refuses_labels_outside) {
  for (const Setup& setup : setups()) {
    for (int32_t bad : {-1, 9, -99, 10, std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()}) {
      const Matrix<int32_t> labels = column_of(setup, {3, kIgnore, bad, 0, bad});
      Matrix<float> x(setup, 5, 9), loss(setup, 1, 1), lse(setup, 5, 1), count(setup, 1, 1), dloss(setup, 1, 1), dx(setup, 5, 9);
      x.randomize(1), dloss.fill(1), lse.fill(1), count.fill(4);
      const Status forward = RUN_K(setup, cross_entropy_forward, loss, lse, count, x, labels, kIgnore, true);
      lse.fill(1), count.fill(4);
      const Status backward = RUN_K(setup, cross_entropy_backward, dx, dloss, x, labels, lse, count, kIgnore, true);
      for (const Status& status : {forward, backward})
        CHECK(status.code == Code::index_out_of_range && status.found == bad && status.at == 2 && status.limit == 9, setup.name(),
              " label ", bad);
    }
  }
}

TEST(cross_entropy_nan_reaches_what_depends_on_it) {
  for (const Setup& setup : setups()) {
    const Matrix<int32_t> labels = column_of(setup, {3, kIgnore, 8});
    for (int64_t row = 0; row < 3; ++row) {
      Matrix<float> x(setup, 3, 9), loss(setup, 1, 1), lse(setup, 3, 1), count(setup, 1, 1), dloss(setup, 1, 1), dx(setup, 3, 9);
      x.randomize(1), dloss.fill(1);
      x.at(row, 5) = NAN;
      RUN_OK_K(setup, cross_entropy_forward, loss, lse, count, x, labels, kIgnore, false);
      CHECK(std::isnan(loss.at(0, 0)) == (row != 1), setup.name(), " row ", row, ": loss ", loss.at(0, 0));
      RUN_OK_K(setup, cross_entropy_backward, dx, dloss, x, labels, lse, count, kIgnore, false);
      for (int64_t r = 0; r < 3; ++r)
        for (int64_t c = 0; c < 9; ++c) CHECK(std::isnan(dx.at(r, c)) == (r == row && row != 1), setup.name(), " at ", r, ", ", c);
    }
  }
}
