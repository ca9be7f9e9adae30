// The singular value decomposition: known spectra, degenerate matrices, and the properties that define it.
#include <algorithm>

#include "oracle.h"

using namespace test;

namespace {

/// Largest deviation of rows (of m, or of its transpose) from orthonormality.
double orthonormality(const Mat& m) {
  double worst = 0;
  for (int64_t i = 0; i < m.rows; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      double dot = i == j ? -1 : 0;
      for (int64_t k = 0; k < m.cols; ++k) dot += m(i, k) * m(j, k);
      worst = std::max(worst, std::abs(dot));
    }
  }
  return worst;
}

double norm(const Mat& m) {
  double squares = 0;
  for (double x : m.value) squares += x * x;
  return std::sqrt(squares);
}

/// Runs the kernel and checks everything that does not need to know the spectrum. Vectors are f32: their dot products carry at most
/// 2 u sum|x||y| <= 2 u; w - v s u^T carries 3 u per singular triple, in the norm.
template <class W>
std::vector<double> check_svd(const Setup& setup, const Matrix<W>& w, const std::string& what) {
  const int64_t o = w.rows(), i = w.cols(), n = std::min(o, i);
  Matrix<float> v(setup, o, n), s(setup, 1, n), ut(setup, n, i);
  RUN_OK_S(setup, svd, v, s, ut, w);
  const Mat left = Mat::of(v), right = Mat::of(ut), exact = Mat::of(w);
  CHECK(orthonormality(transposed(left)) <= 4 * kUnit, what, " v: ", orthonormality(transposed(left)));
  CHECK(orthonormality(right) <= 4 * kUnit, what, " ut: ", orthonormality(right));
  std::vector<double> spectrum;
  Mat difference = exact;
  for (int64_t k = 0; k < n; ++k) {
    spectrum.push_back(static_cast<double>(s.at(0, k)));
    for (int64_t r = 0; r < o; ++r)
      for (int64_t c = 0; c < i; ++c) difference(r, c) -= left(r, k) * spectrum.back() * right(k, c);
    double largest = 0;
    for (int64_t c = 0; c < i; ++c)
      if (std::abs(right(k, c)) > std::abs(largest)) largest = right(k, c);
    CHECK(largest > 0, what, ": the largest element of row ", k, " of ut is ", largest);
    CHECK(spectrum.back() >= 0 && (k == 0 || spectrum.back() <= spectrum[static_cast<size_t>(k) - 1]), what, ": singular value ", k);
  }
  CHECK(norm(difference) <= 4 * kUnit * norm(exact), what, ": residual ", norm(difference), " of ", norm(exact));
  return spectrum;
}

/// An orthogonal matrix of float64: a product of Householder reflections.
Mat orthogonal(int64_t n, uint64_t seed) {
  Mat q(n, n);
  Random random(seed);
  for (int64_t i = 0; i < n; ++i) q(i, i) = 1;
  for (int reflection = 0; reflection < 3; ++reflection) {
    std::vector<double> u;
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) u.push_back(static_cast<double>(random.between(-1, 1))), squares += u.back() * u.back();
    for (int64_t r = 0; r < n; ++r) {
      double dot = 0;
      for (int64_t c = 0; c < n; ++c) dot += q(r, c) * u[static_cast<size_t>(c)];
      for (int64_t c = 0; c < n; ++c) q(r, c) -= 2 * dot / squares * u[static_cast<size_t>(c)];
    }
  }
  return q;
}

/// A matrix with the given singular values, rounded to f32.
Matrix<float> with_spectrum(const Setup& setup, int64_t o, int64_t i, const std::vector<double>& spectrum) {
  const Mat left = orthogonal(o, 1), right = orthogonal(i, 2);
  Matrix<float> w(setup, o, i);
  for (int64_t r = 0; r < o; ++r) {
    for (int64_t c = 0; c < i; ++c) {
      double sum = 0;
      for (size_t k = 0; k < spectrum.size(); ++k)
        sum += left(r, static_cast<int64_t>(k)) * spectrum[k] * right(c, static_cast<int64_t>(k));
      w.at(r, c) = static_cast<float>(sum);
    }
  }
  return w;
}

struct Shape {
  int64_t o, i;
};

}  // namespace

TEST(svd_random_matrices) {
  for (const Setup& setup : setups()) {
    for (const Shape& n :
         {Shape{1, 1}, {1, 7}, {7, 1}, {2, 2}, {3, 3}, {8, 5}, {5, 8}, {17, 33}, {64, 64}, {33, 9}, {90, 130}, {131, 70}}) {
      const std::string what = text("svd ", n.o, " x ", n.i, " on ", setup.name());
      check_svd(setup, Matrix<float>(setup, n.o, n.i).randomize(1), what + " f32");
      check_svd(setup, Matrix<bf16>(setup, n.o, n.i).randomize(2), what + " bf16");
      check_svd(setup, Matrix<f16>(setup, n.o, n.i).randomize(3), what + " f16");
      check_svd(setup, Matrix<float>(setup, n.o, n.i).randomize(4, -1e-30f, 1e-30f), what + " tiny");
      check_svd(setup, Matrix<float>(setup, n.o, n.i).randomize(5, -1e30f, 1e30f), what + " huge");
    }
  }
}

// Rounding w to f32 moves no singular value by more than the norm of the change, u |w|.
TEST(svd_known_spectra) {
  for (const Setup& setup : setups()) {
    for (const Shape& n : {Shape{12, 20}, {20, 12}, {16, 16}}) {
      for (const std::vector<double>& spectrum :
           {std::vector<double>{9, 5, 5, 5, 2, 1, 1, 0.5, 0.1, 1e-2, 1e-3, 1e-4}, std::vector<double>{3, 2, 1},
            std::vector<double>(12, 1.0), std::vector<double>{1e4, 1e-4}}) {
        const Matrix<float> w = with_spectrum(setup, n.o, n.i, spectrum);
        const std::vector<double> found =
            check_svd(setup, w, text("spectrum of ", spectrum.size(), " in ", n.o, " x ", n.i, " on ", setup.name()));
        for (size_t k = 0; k < found.size(); ++k) {
          const double expected = k < spectrum.size() ? spectrum[k] : 0;
          CHECK(std::abs(found[k] - expected) <= 2 * kUnit * norm(Mat::of(w)), setup.name(), ": ", found[k], " for ", expected);
        }
      }
    }
  }
}

TEST(svd_degenerate_matrices) {
  for (const Setup& setup : setups()) {
    for (const Shape& n : {Shape{1, 1}, {5, 9}, {9, 5}, {8, 8}}) {
      const std::string what = text(n.o, " x ", n.i, " on ", setup.name());
      check_svd(setup, Matrix<float>(setup, n.o, n.i).fill(0), "zero " + what);
      check_svd(setup, Matrix<float>(setup, n.o, n.i).fill(-2), "constant " + what);
      Matrix<float> sparse(setup, n.o, n.i);
      sparse.fill(0).at(n.o - 1, n.i / 2) = -3;
      const std::vector<double> found = check_svd(setup, sparse, "one element " + what);
      CHECK(found[0] == 3, what);
      Matrix<float> repeated(setup, n.o, n.i);
      repeated.randomize(1);
      for (int64_t r = 0; r < n.o; ++r)
        for (int64_t c = 0; c < n.i; ++c) repeated.at(r, c) = repeated.at(r % 2, c);
      check_svd(setup, repeated, "repeated rows " + what);
      Matrix<float> identity(setup, n.o, n.i);
      identity.fill(0);
      for (int64_t k = 0; k < std::min(n.o, n.i); ++k) identity.at(k, k) = 1;
      for (double s : check_svd(setup, identity, "identity " + what)) CHECK(s == 1, what);
    }
  }
}

TEST(svd_empty_and_unwanted) {
  for (const Setup& setup : setups()) {
    Matrix<float> no_rows(setup, 0, 4), no_cols(setup, 4, 0), nothing(setup, 1, 0), v(setup, 0, 0), left(setup, 4, 0);
    RUN_OK_S(setup, svd, v, nothing, no_rows, no_rows);
    RUN_OK_S(setup, svd, left, nothing, v, no_cols);
    Matrix<float> w(setup, 6, 4), s(setup, 1, 4), alone(setup, 1, 4), wide(setup, 6, 4), ut(setup, 4, 4);
    w.randomize(1);
    RUN_OK_S(setup, svd, wide, s, ut, w);
    RUN_OK_S(setup, svd, Out{}, alone, Out{}, w);
    for (int64_t c = 0; c < 4; ++c) CHECK(s.at(0, c) == alone.at(0, c), setup.name());
  }
}

TEST(svd_reports_what_it_cannot_do) {
  for (const Setup& setup : setups()) {
    for (float bad : {NAN, INFINITY}) {
      Matrix<float> w(setup, 6, 4), v(setup, 6, 4), s(setup, 1, 4), ut(setup, 4, 4);
      w.randomize(1).at(3, 2) = bad;
      CHECK(RUN_S(setup, svd, v, s, ut, w).code == Code::not_converged, setup.name());
    }
    Matrix<float> w(setup, 60, 60), v(setup, 60, 60), s(setup, 1, 60), ut(setup, 60, 60);
    w.randomize(1);
    CHECK(CANCELLED_S(setup, svd, v, s, ut, w).code == Code::cancelled, setup.name());
  }
}
