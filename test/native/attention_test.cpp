// Attention, forward and backward, against float64. The generated suite of TypeScript has the tight bounds; here every byte is watched:
// gaps, scratch memory, any number of threads.
#include <algorithm>

#include "oracle.h"

using namespace test;

namespace {

struct Shape {
  int64_t batch, queries, keys, heads, kv_heads, width;
};

const Shape kShapes[] = {{1, 1, 1, 1, 1, 1},     {2, 5, 7, 4, 2, 3},     {1, 13, 70, 6, 2, 8},   {2, 49, 65, 3, 3, 17},
                         {1, 50, 130, 9, 3, 64}, {1, 2, 200, 64, 1, 16}, {1, 23, 300, 3, 3, 80}, {1, 9, 270, 2, 1, 121},
                         {0, 5, 7, 4, 2, 3},     {1, 0, 7, 2, 2, 4},     {1, 3, 0, 2, 1, 4},     {1, 3, 4, 2, 1, 0}};

/// Spans of every kind: causal, a window, nothing, and reaching out on both sides.
Matrix<int32_t> spans_of(const Setup& setup, const Shape& s) {
  Matrix<int32_t> spans(setup, s.batch * s.queries, 2);
  for (int64_t t = 0; t < s.batch * s.queries; ++t) {
    const auto position = static_cast<int32_t>(t % std::max<int64_t>(1, s.queries) + s.keys - s.queries);
    spans.at(t, 0) = t % 5 == 1 ? position - 3 : t % 5 == 3 ? -2 : 0;
    spans.at(t, 1) = t % 5 == 2 ? 0 : t % 5 == 3 ? static_cast<int32_t>(s.keys) + 3 : position + 1;
  }
  return spans;
}

struct Answer {
  Mat y, lse, dq, dk, dv;
};

Answer attend(const Shape& s, const Mat& q, const Mat& k, const Mat& v, const Mat& dy, const Matrix<int32_t>& spans, double scale) {
  Answer a{Mat(q.rows, s.width), Mat(q.rows, 1), Mat(q.rows, s.width), Mat(k.rows, s.width), Mat(k.rows, s.width)};
  for (int64_t r = 0; r < q.rows; ++r) {
    const int64_t token = r / s.heads, kv = r % s.heads / (s.heads / s.kv_heads);
    const int64_t first = std::max<int64_t>(0, spans.at(token, 0)), end = std::min<int64_t>(s.keys, spans.at(token, 1));
    const auto key = [&](int64_t n) { return (token / s.queries * s.keys + n) * s.kv_heads + kv; };
    const auto dot = [&](const Mat& a_, int64_t i, const Mat& b_, int64_t j) {
      double sum = 0;
      for (int64_t c = 0; c < s.width; ++c) sum += a_(i, c) * b_(j, c);
      return sum;
    };
    std::vector<double> weight;
    double total = 0;
    for (int64_t n = first; n < end; ++n) weight.push_back(std::exp(scale * dot(q, r, k, key(n)))), total += weight.back();
    if (weight.empty()) continue;
    a.lse(r, 0) = std::log(total);
    for (double& w : weight) w /= total;
    for (int64_t n = first; n < end; ++n)
      for (int64_t c = 0; c < s.width; ++c) a.y(r, c) += weight[static_cast<size_t>(n - first)] * v(key(n), c);
    const double delta = dot(dy, r, a.y, r);
    for (int64_t n = first; n < end; ++n) {
      const double w = weight[static_cast<size_t>(n - first)], slope = scale * w * (dot(dy, r, v, key(n)) - delta);
      for (int64_t c = 0; c < s.width; ++c) {
        a.dv(key(n), c) += w * dy(r, c);
        a.dq(r, c) += slope * k(key(n), c);
        a.dk(key(n), c) += slope * q(r, c);
      }
    }
  }
  return a;
}

/// Sums of some hundred terms below 1, of weights that carry the error of a score: 512 roundings.
Mat bounded(Mat m) {
  for (double& bound : m.error) bound = 512 * kUnit;
  return m;
}

}  // namespace

TEST(attention_forward_and_backward) {
  for (const Setup& setup : setups()) {
    for (const Shape& s : kShapes) {
      const int64_t rows = s.batch * s.queries * s.heads, keys = s.batch * s.keys * s.kv_heads;
      // The op hands packed rows over; gaps between rows are allowed all the same.
      Matrix<float> q(setup, rows, s.width), k(setup, keys, s.width), v(setup, keys, s.width), dy(setup, rows, s.width);
      q.randomize(1), k.randomize(2), v.randomize(3), dy.randomize(4);
      const Matrix<int32_t> spans = spans_of(setup, s);
      Matrix<float> y(setup, rows, s.width), lse(setup, rows, 1), dq(setup, rows, s.width), dk(setup, keys, s.width),
          dv(setup, keys, s.width);
      const auto batch = static_cast<i32>(s.batch), heads = static_cast<i32>(s.heads), kv_heads = static_cast<i32>(s.kv_heads);
      const float scale = 0.75f;
      RUN_OK_S(setup, attention_forward, y, lse, q, k, v, spans, batch, heads, kv_heads, scale);
      RUN_OK_S(setup, attention_backward, dq, dk, dv, dy, q, k, v, y, lse, spans, batch, heads, kv_heads, scale);
      const Answer a = attend(s, Mat::of(q), Mat::of(k), Mat::of(v), Mat::of(dy), spans, static_cast<double>(scale));
      const std::string what =
          text(setup.name(), " ", s.batch, "x", s.queries, "x", s.keys, " heads ", s.heads, "/", s.kv_heads, " x ", s.width);
      EXPECT_MATRIX(what + " y", y, bounded(a.y));
      EXPECT_MATRIX(what + " lse", lse, bounded(a.lse));
      EXPECT_MATRIX(what + " dq", dq, bounded(a.dq));
      EXPECT_MATRIX(what + " dk", dk, bounded(a.dk));
      EXPECT_MATRIX(what + " dv", dv, bounded(a.dv));
      RUN_OK_S(setup, attention_backward, Out{}, dk, Out{}, dy, q, k, v, y, lse, spans, batch, heads, kv_heads, scale);
      EXPECT_MATRIX(what + " dk alone", dk, bounded(a.dk));
    }
  }
}
