// Singular value decomposition in f64. With A = w or w^T, the one with fewer rows n (each of length L):
//   A^T P = Q R               Householder QR with column pivoting (R then has falling rows, and Jacobi needs few sweeps)
//   J R = diag(s) Z           one-sided Jacobi: rotations J make the rows of R orthogonal
//   A^T = (Q J^T) diag(s) (Z P^T)
// after Drmac and Veselic, "New fast and accurate Jacobi SVD algorithm I", SIAM J. Matrix Anal. Appl. 29 (2008).
#include <cmath>
#include <numeric>
#include <utility>

#include "kernels/scalar/kernels.h"
#include "kernels/scalar/tiles.h"

namespace lowrank::scalar {

namespace {

constexpr int kMaxSweeps = 60;
constexpr int64_t kBlock = 8;          // rows that meet another block's together
constexpr double kOrthogonal = 1e-12;  // rows whose cosine is below this count as orthogonal; results are rounded to f32
constexpr double kZero = 1e-20;        // singular values below this part of the largest have no direction of their own

/// Sum of x[i] y[i], in eight chains.
double dot(const double* x, const double* y, int64_t n) {
  double chain[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int64_t j = 0; j < 8; ++j) chain[j] += x[i + j] * y[i + j];
  for (int64_t j = 0; i < n; ++i, ++j) chain[j] += x[i] * y[i];
  return ((chain[0] + chain[4]) + (chain[2] + chain[6])) + ((chain[1] + chain[5]) + (chain[3] + chain[7]));
}

/// y += factor * x
void add_scaled(double* y, double factor, const double* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

/// x = x / length, element by element
void divide(double* x, double length, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] /= length;
}

/// (x, y) = (c x - s y, s x + c y)
void rotate(double* x, double* y, double c, double s, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const double p = x[i], q = y[i];
    x[i] = c * p - s * q;
    y[i] = s * p + c * q;
  }
}

double element(const View& w, int64_t r, int64_t c) {
  switch (w.dtype) {
    case DType::bf16:
      return static_cast<double>(widen(w.row<const bf16>(r)[c]));
    case DType::f16:
      return static_cast<double>(widen(w.row<const f16>(r)[c]));
    default:
      return static_cast<double>(w.row<const float>(r)[c]);
  }
}

class Decomposition {
 public:
  Decomposition(Context& ctx, const In& w)
      : ctx_(ctx), w_(w), transposed_(w.rows > w.cols), n_(std::min(w.rows, w.cols)), length_(std::max(w.rows, w.cols)) {
    auto* memory = reinterpret_cast<double*>(ctx.scratch);
    const auto take = [&](int64_t count) { return std::exchange(memory, memory + count); };
    columns_ = take(n_ * length_), basis_ = take(n_ * length_), rows_ = take(n_ * n_);
    beta_ = take(n_), diagonal_ = take(n_), squares_ = take(n_), free_ = take(n_);
    pivot_ = reinterpret_cast<int64_t*>(take(n_)), order_ = reinterpret_cast<int64_t*>(take(n_));
  }

  static int64_t scratch_bytes(const In& w) {
    const int64_t n = std::min(w.rows, w.cols), length = std::max(w.rows, w.cols);
    return static_cast<int64_t>(sizeof(double)) * (2 * n * length + n * n + 6 * n);
  }

  Status run(const Out& v, const Out& s, const Out& ut) {
    if (n_ == 0) return {};
    if (!load()) return {Code::not_converged};
    if (const Status status = factor(); !status.ok()) return status;
    prepare_rows();
    if (const Status status = orthogonalise(); !status.ok()) return status;
    sort_and_normalise();
    if (const Status status = complete(); !status.ok()) return status;
    if (const Status status = expand_basis(); !status.ok()) return status;
    return store(v, s, ut);
  }

 private:
  double* column(int64_t j) const { return columns_ + pivot_[j] * length_; }  // column j of A^T P; below row j its reflector
  double* row(int64_t i) const { return rows_ + i * n_; }                     // row i of R, later of J R, later of Z
  double* basis(int64_t i) const { return basis_ + i * length_; }             // row i of J, zeros behind; later column i of Q J^T

  bool cancelled() const { return ctx_.cancelled && ctx_.cancelled->load(std::memory_order_relaxed); }

  /// Reads the columns of A^T; false when one is not finite.
  bool load() {
    bool finite = true;
    for (int64_t i = 0; i < n_; ++i) {
      for (int64_t k = 0; k < length_; ++k) {
        const double value = transposed_ ? element(w_, k, i) : element(w_, i, k);
        columns_[i * length_ + k] = value;
        finite = finite && std::isfinite(value);
      }
    }
    std::iota(pivot_, pivot_ + n_, int64_t{0});
    return finite;
  }

  /// A^T P = Q R with reflectors H = I - beta u u^T.
  Status factor() {
    for (int64_t j = 0; j < n_; ++j) squares_[j] = dot(column(j), column(j), length_);
    for (int64_t k = 0; k < n_; ++k) {
      const int64_t largest = std::max_element(squares_ + k, squares_ + n_) - squares_;
      std::swap(pivot_[k], pivot_[largest]);
      std::swap(squares_[k], squares_[largest]);
      double* u = column(k) + k;
      const int64_t tail = length_ - k;
      const double norm = std::sqrt(squares_[k]), head = u[0];
      diagonal_[k] = head > 0 ? -norm : norm;
      beta_[k] = norm > 0 ? 1 / (norm * (norm + std::abs(head))) : 0;
      u[0] -= diagonal_[k];
      const Status status = for_each_row(ctx_, n_ - k - 1, 3 * tail, [&](int64_t i) {
        double* y = column(k + 1 + i) + k;
        add_scaled(y, -beta_[k] * dot(u, y, tail), u, tail);
        squares_[k + 1 + i] = dot(y + 1, y + 1, tail - 1);
      });
      if (!status.ok()) return status;
    }
    return {};
  }

  /// rows = R, J = I
  void prepare_rows() {
    std::fill(basis_, basis_ + n_ * length_, 0.0);
    for (int64_t i = 0; i < n_; ++i) {
      basis(i)[i] = 1;
      for (int64_t j = 0; j < n_; ++j) row(i)[j] = j < i ? 0 : j == i ? diagonal_[i] : column(j)[i];
    }
  }

  /// Makes rows p and q orthogonal; true when they were not.
  bool orthogonalise_pair(int64_t p, int64_t q) {
    const double a = squares_[p], b = squares_[q], d = dot(row(p), row(q), n_);
    if (!(std::abs(d) > kOrthogonal * std::sqrt(a) * std::sqrt(b))) return false;
    const double slope = (b - a) / (2 * d), t = (slope < 0 ? -1 : 1) / (std::abs(slope) + std::sqrt(1 + slope * slope));
    const double c = 1 / std::sqrt(1 + t * t), s = t * c;
    rotate(row(p), row(q), c, s, n_);
    rotate(basis(p), basis(q), c, s, n_);
    squares_[p] = a - t * d;
    squares_[q] = b + t * d;
    return true;
  }

  /// Makes the rows of block p orthogonal to those of block q, or to each other when p is q; true when some were not. The rows of two
  /// blocks stay in the cache.
  bool orthogonalise_blocks(int64_t p, int64_t q) {
    bool rotated = false;
    for (int64_t i = p * kBlock; i < std::min(n_, (p + 1) * kBlock); ++i)
      for (int64_t j = p == q ? i + 1 : q * kBlock; j < std::min(n_, (q + 1) * kBlock); ++j) rotated = orthogonalise_pair(i, j) || rotated;
    return rotated;
  }

  /// Sweeps: every block with itself, then a round-robin tournament of blocks, whose rounds are disjoint pairs that threads share.
  Status orthogonalise() {
    const int64_t blocks = ceil_div(n_, kBlock), players = blocks + blocks % 2, rounds = players - 1;
    for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
      for (int64_t i = 0; i < n_; ++i) squares_[i] = dot(row(i), row(i), n_);
      std::atomic<bool> rotated{false};
      const auto meet = [&](int64_t p, int64_t q) {
        if (orthogonalise_blocks(std::min(p, q), std::max(p, q))) rotated.store(true, std::memory_order_relaxed);
      };
      Status status = ctx_.parallel_for(blocks, [&](int64_t i) { meet(i, i); });
      for (int64_t round = 0; round < rounds && status.ok(); ++round) {
        status = ctx_.parallel_for(players / 2, [&](int64_t i) {
          const int64_t p = i == 0 ? rounds : (round + i) % rounds, q = (round + rounds - i) % rounds;
          if (p < blocks && q < blocks) meet(p, q);  // with an odd number of blocks, one rests
        });
      }
      if (!status.ok() || !rotated.load(std::memory_order_relaxed)) return status;
    }
    return {Code::not_converged, kMaxSweeps};
  }

  /// Orders the rows by falling norm (`order_`, `diagonal_` = singular values) and makes them unit vectors.
  void sort_and_normalise() {
    for (int64_t i = 0; i < n_; ++i) squares_[i] = std::sqrt(dot(row(i), row(i), n_));
    std::iota(order_, order_ + n_, int64_t{0});
    std::stable_sort(order_, order_ + n_, [&](int64_t a, int64_t b) { return squares_[a] > squares_[b]; });
    for (int64_t k = 0; k < n_; ++k) {
      diagonal_[k] = squares_[order_[k]];
      if (has_direction(k)) divide(row(order_[k]), diagonal_[k], n_);
    }
  }

  bool has_direction(int64_t k) const { return diagonal_[k] > kZero * diagonal_[0]; }

  /// Replaces rows without a direction by unit vectors orthogonal to all before them, so that Z is orthogonal.
  Status complete() {
    std::fill(free_, free_ + n_, 1.0);  // squared length of each unit vector outside the rows so far
    for (int64_t k = 0; k < n_; ++k) {
      if (cancelled()) return {Code::cancelled};
      double* z = row(order_[k]);
      if (!has_direction(k)) {
        diagonal_[k] = 0;
        std::fill(z, z + n_, 0.0);
        z[std::max_element(free_, free_ + n_) - free_] = 1;
        for (int pass = 0; pass < 2; ++pass) {
          for (int64_t j = 0; j < k; ++j) add_scaled(z, -dot(z, row(order_[j]), n_), row(order_[j]), n_);
          divide(z, std::sqrt(dot(z, z, n_)), n_);
        }
      }
      for (int64_t i = 0; i < n_; ++i) free_[i] -= z[i] * z[i];
    }
    return {};
  }

  /// basis(i) = Q J^T, column i: the reflectors from the last to the first, on a few vectors at a time.
  Status expand_basis() {
    const int64_t together = std::clamp<int64_t>((int64_t{4} << 20) / (n_ * length_), 1, 8);
    return ctx_.parallel_for(ceil_div(n_, together), [&](int64_t tile) {
      for (int64_t k = n_ - 1; k >= 0; --k) {
        const double* u = column(k) + k;
        for (int64_t i = tile * together; i < std::min(n_, (tile + 1) * together); ++i)
          add_scaled(basis(i) + k, -beta_[k] * dot(u, basis(i) + k, length_ - k), u, length_ - k);
      }
    });
  }

  /// Rounds to f32, with the sign that makes the largest element of each row of ut positive.
  Status store(const Out& v, const Out& s, const Out& ut) {
    return ctx_.parallel_for(n_, [&](int64_t k) {
      const double *z = row(order_[k]), *q = basis(order_[k]);
      const double* right = transposed_ ? z : q;
      const int64_t right_length = transposed_ ? n_ : length_;
      const double sign = *largest(right, right_length) < 0 ? -1 : 1;
      if (s) s.row<float>(0)[k] = static_cast<float>(diagonal_[k]);
      for (int64_t i = 0; i < n_; ++i) put(transposed_, v, ut, k, pivot_[i], sign * z[i]);
      for (int64_t i = 0; i < length_; ++i) put(!transposed_, v, ut, k, i, sign * q[i]);
    });
  }

  /// The element that is largest by size once rounded; the first among equals.
  static const double* largest(const double* x, int64_t n) {
    return std::max_element(x, x + n, [](double a, double b) { return std::abs(static_cast<float>(a)) < std::abs(static_cast<float>(b)); });
  }

  /// Element i of right vector k (a row of ut) or of left vector k (a column of v).
  static void put(bool right, const Out& v, const Out& ut, int64_t k, int64_t i, double value) {
    if (right && ut) ut.row<float>(k)[i] = static_cast<float>(value);
    if (!right && v) v.row<float>(i)[k] = static_cast<float>(value);
  }

  Context& ctx_;
  const In& w_;
  bool transposed_;
  int64_t n_, length_;
  double *columns_, *basis_, *rows_;
  double *beta_, *diagonal_, *squares_, *free_;
  int64_t *pivot_, *order_;
};

}  // namespace

// w = v diag(s) u^T
Status svd(Context& ctx, Out v, Out s, Out ut, In w) { return Decomposition(ctx, w).run(v, s, ut); }

int64_t svd_scratch(int, Out, Out, Out, In w) { return Decomposition::scratch_bytes(w); }

}  // namespace lowrank::scalar
