// Attention: two passes over the visible keys of each query; nothing is kept but the log-sum-exp.
#include <cmath>
#include <limits>

#include "kernels/scalar/kernels.h"
#include "kernels/scalar/sums.h"

namespace lowrank::scalar {

namespace {

float dot(const float* a, const float* b, int64_t n) {
  return tree_sum<float>(n, [&](int64_t c) { return a[c] * b[c]; });
}

/// Where queries and keys of one call lie, and what each query sees.
struct Geometry {
  int64_t heads, kv_heads, group, queries, keys;  // queries, keys: per row of the batch
  const In& spans;

  Geometry(const In& q, const In& k, const In& visible, i32 batch, i32 h, i32 g)
      : heads(h), kv_heads(g), group(g > 0 ? h / g : 0), queries(0), keys(0), spans(visible) {
    if (batch > 0 && h > 0) queries = q.rows / batch / h;
    if (batch > 0 && g > 0) keys = k.rows / batch / g;
  }

  int64_t first(int64_t token) const { return std::max<int64_t>(0, spans.row<const int32_t>(token)[0]); }
  int64_t end(int64_t token) const { return std::min<int64_t>(keys, spans.row<const int32_t>(token)[1]); }
};

}  // namespace

Status attention_forward(Context& ctx, Out y, Out lse, In q, In k, In v, In spans, i32 batch, i32 heads, i32 kv_heads, f32 scale) {
  const Geometry at(q, k, spans, batch, heads, kv_heads);
  return for_each_row(ctx, q.rows, q.cols * at.keys, [&](int64_t r) {
    const int64_t token = r / at.heads, kv = r % at.heads / at.group, keys = token / at.queries * at.keys;
    const auto key = [&](int64_t s) { return (keys + s) * at.kv_heads + kv; };
    const int64_t first = at.first(token), end = at.end(token);
    const auto score = [&](int64_t s) { return scale * dot(q.row<const float>(r), k.row<const float>(key(s)), q.cols); };
    float* out = y.row<float>(r);
    std::fill(out, out + y.cols, 0.0f);
    if (lse) *lse.row<float>(r) = 0.0f;
    if (first >= end) return;
    float max = -std::numeric_limits<float>::infinity(), sum = 0.0f;
    for (int64_t s = first; s < end; ++s) max = std::max(max, score(s));
    for (int64_t s = first; s < end; ++s) {
      const float weight = std::exp(score(s) - max);
      sum += weight;
      for (int64_t c = 0; c < y.cols; ++c) out[c] += weight * v.row<const float>(key(s))[c];
    }
    for (int64_t c = 0; c < y.cols; ++c) out[c] /= sum;
    if (lse) *lse.row<float>(r) = max + std::log(sum);
  });
}

int64_t attention_forward_scratch(int, Out, Out, In, In, In, In, i32, i32, i32, f32) { return 0; }

Status attention_backward(Context& ctx, Out dq, Out dk, Out dv, In dy, In q, In k, In v, In y, In lse, In spans, i32 batch, i32 heads,
                          i32 kv_heads, f32 scale) {
  const Geometry at(q, k, spans, batch, heads, kv_heads);
  const int64_t width = q.cols;
  // The weight of one key for one query, and the gradient of their score.
  const auto weight_of = [&](int64_t query, int64_t key) {
    return std::exp(scale * dot(q.row<const float>(query), k.row<const float>(key), width) - *lse.row<const float>(query));
  };
  const auto score_gradient = [&](int64_t query, int64_t key, float weight) {
    const float* g = dy.row<const float>(query);
    return scale * weight * (dot(g, v.row<const float>(key), width) - dot(g, y.row<const float>(query), width));
  };
  Status status;
  if (dq)
    status = for_each_row(ctx, q.rows, width * at.keys, [&](int64_t r) {
      const int64_t token = r / at.heads, kv = r % at.heads / at.group, keys = token / at.queries * at.keys;
      float* out = dq.row<float>(r);
      std::fill(out, out + width, 0.0f);
      for (int64_t s = at.first(token); s < at.end(token); ++s) {
        const int64_t key = (keys + s) * at.kv_heads + kv;
        const float ds = score_gradient(r, key, weight_of(r, key));
        for (int64_t c = 0; c < width; ++c) out[c] += ds * k.row<const float>(key)[c];
      }
    });
  if ((dk || dv) && status.ok())
    status = for_each_row(ctx, k.rows, width * at.queries * at.group, [&](int64_t key) {
      const int64_t row = key / at.kv_heads / std::max<int64_t>(1, at.keys), s = key / at.kv_heads % std::max<int64_t>(1, at.keys);
      float *to_k = dk ? dk.row<float>(key) : nullptr, *to_v = dv ? dv.row<float>(key) : nullptr;
      if (to_k) std::fill(to_k, to_k + width, 0.0f);
      if (to_v) std::fill(to_v, to_v + width, 0.0f);
      for (int64_t token = row * at.queries; token < (row + 1) * at.queries; ++token) {
        if (s < at.first(token) || s >= at.end(token)) continue;
        for (int64_t h = 0; h < at.group; ++h) {
          const int64_t query = token * at.heads + key % at.kv_heads * at.group + h;
          const float weight = weight_of(query, key), ds = to_k ? score_gradient(query, key, weight) : 0.0f;
          for (int64_t c = 0; c < width; ++c) {
            if (to_v) to_v[c] += weight * dy.row<const float>(query)[c];
            if (to_k) to_k[c] += ds * q.row<const float>(query)[c];
          }
        }
      }
    });
  return status;
}

int64_t attention_backward_scratch(int, Out, Out, Out, In, In, In, In, In, In, In, i32, i32, i32, f32) { return 0; }

}  // namespace lowrank::scalar
