// Long sums as a tree of fixed chunks: kChunk terms in a plain chain, the chunks in a binary tree. The order depends on the number of
// terms alone.
#pragma once
#include <utility>

#include "kernels/scalar/tiles.h"

namespace lowrank::scalar {

constexpr int64_t kChunk = 256;

/// Adds values pairwise in the order in which they come, like a binary counter. T has + and T{} is zero.
template <class T>
class TreeSum {
 public:
  void add(T value) {
    int level = 0;
    for (uint64_t n = count_++; n & 1; n >>= 1) value = levels_[level++] + value;
    levels_[level] = value;
  }

  T total() const {
    T sum{};
    for (int level = 0; count_ >> level; ++level)
      if (count_ >> level & 1) sum = levels_[level] + sum;
    return sum;
  }

 private:
  T levels_[40];
  uint64_t count_ = 0;
};

/// Sum of term(i) for i in [0, n).
template <class T, class Term>
T tree_sum(int64_t n, const Term& term) {
  TreeSum<T> tree;
  for (int64_t begin = 0; begin < n; begin += kChunk) {
    T chain{};
    for (int64_t i = begin; i < std::min(n, begin + kChunk); ++i) chain = chain + term(i);
    tree.add(chain);
  }
  return tree.total();
}

/// Sum of term(r, c) over a matrix, row-major, in at most kSegments segments that threads share.
template <class T, class Term>
Status matrix_sum(Context& ctx, T& sum, int64_t rows, int64_t cols, const Term& term) {
  constexpr int64_t kSegments = 256;
  const int64_t size = rows * cols, length = ceil_div(std::max(kTileElements, ceil_div(size, kSegments)), kChunk) * kChunk;
  const int64_t segments = ceil_div(size, length);
  T partial[kSegments] = {};
  const Status status = ctx.parallel_for(segments, [&](int64_t s) {
    int64_t r = s * length / cols, c = s * length % cols;
    partial[s] = tree_sum<T>(std::min(length, size - s * length), [&](int64_t) {
      const T value = term(r, c);
      if (++c == cols) c = 0, ++r;
      return value;
    });
  });
  TreeSum<T> tree;
  for (int64_t s = 0; s < segments; ++s) tree.add(partial[s]);
  sum = tree.total();
  return status;
}

/// Neighbouring columns, summed side by side.
struct Strip {
  static constexpr int64_t kWidth = 16;
  float lane[kWidth] = {};

  friend Strip operator+(const Strip& a, const Strip& b) {
    Strip sum;
    for (int64_t i = 0; i < kWidth; ++i) sum.lane[i] = a.lane[i] + b.lane[i];
    return sum;
  }
};

/// y[g, c] = factor * sum of term(r, c) over the n rows r of group g.
template <class Term>
Status column_sums(Context& ctx, const View& y, int64_t n, float factor, const Term& term) {
  const int64_t strips = ceil_div(y.cols, Strip::kWidth);
  return for_each_row(ctx, y.rows * strips, n * Strip::kWidth, [&](int64_t i) {
    const int64_t group = i / strips, begin = i % strips * Strip::kWidth, width = std::min(Strip::kWidth, y.cols - begin);
    const Strip sum = tree_sum<Strip>(n, [&](int64_t r) {
      Strip values;
      for (int64_t c = 0; c < width; ++c) values.lane[c] = term(group * n + r, begin + c);
      return values;
    });
    for (int64_t c = 0; c < width; ++c) y.row<float>(group)[begin + c] = factor * sum.lane[c];
  });
}

}  // namespace lowrank::scalar
