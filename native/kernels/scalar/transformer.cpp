// Embedding, RMS norm, SwiGLU and rotary positions.
#include <cmath>

#include "kernels/checks.h"
#include "kernels/scalar/kernels.h"
#include "kernels/scalar/rows.h"
#include "kernels/scalar/sums.h"

namespace lowrank::scalar {

namespace {

int32_t index_at(const In& indexes, int64_t r) { return *indexes.row<const int32_t>(r); }

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

}  // namespace

Status embedding_forward(Context& ctx, Out y, In tokens, In table) {
  if (const Status bad = check_indexes(tokens, table.rows); !bad.ok()) return bad;
  return for_each_row(ctx, y.rows, y.cols, [&](int64_t r) {
    const int32_t token = index_at(tokens, r);
    const float* row = floats_of(table, token, 0, y.cols, y.row<float>(r));
    if (row != y.row<float>(r)) std::copy(row, row + y.cols, y.row<float>(r));
  });
}

// Threads split the columns: every sum runs over the tokens in their order.
Status embedding_backward(Context& ctx, Out dtable, In dy, In tokens) {
  if (const Status bad = check_indexes(tokens, dtable.rows); !bad.ok()) return bad;
  constexpr int64_t kColumns = 64;
  return ctx.parallel_for(ceil_div(dtable.cols, kColumns), [&](int64_t strip) {
    const int64_t begin = strip * kColumns, end = std::min(dtable.cols, begin + kColumns);
    for (int64_t r = 0; r < dtable.rows; ++r) std::fill(dtable.row<float>(r) + begin, dtable.row<float>(r) + end, 0.0f);
    for (int64_t r = 0; r < dy.rows; ++r) {
      float* out = dtable.row<float>(index_at(tokens, r));
      const float* in = dy.row<const float>(r);
      for (int64_t c = begin; c < end; ++c) out[c] += in[c];
    }
  });
}

Status rms_norm_forward(Context& ctx, Out y, Out rstd, In x, In w, f32 eps) {
  return for_each_row(ctx, x.rows, x.cols, [&](int64_t r) {
    const float *in = x.row<const float>(r), *weight = w.row<const float>(0);
    const float squares = tree_sum<float>(x.cols, [&](int64_t c) { return in[c] * in[c]; });
    const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(x.cols) + eps);
    if (rstd) *rstd.row<float>(r) = inverse;
    float* out = y.row<float>(r);
    for (int64_t c = 0; c < x.cols; ++c) out[c] = in[c] * inverse * weight[c];
  });
}

Status rms_norm_backward(Context& ctx, Out dx, Out dw, In dy, In x, In w, In rstd) {
  Status status;
  if (dx)
    status = for_each_row(ctx, x.rows, x.cols, [&](int64_t r) {
      const float *in = x.row<const float>(r), *g = dy.row<const float>(r), *weight = w.row<const float>(0);
      const float inverse = *rstd.row<const float>(r);
      const float dot = tree_sum<float>(x.cols, [&](int64_t c) { return g[c] * weight[c] * (in[c] * inverse); });
      const float mean = dot / static_cast<float>(x.cols);
      float* out = dx.row<float>(r);
      for (int64_t c = 0; c < x.cols; ++c) out[c] = inverse * (g[c] * weight[c] - in[c] * inverse * mean);
    });
  if (dw && status.ok())
    status = column_sums(ctx, dw, x.rows, 1.0f, [&](int64_t r, int64_t c) {
      return dy.row<const float>(r)[c] * (x.row<const float>(r)[c] * *rstd.row<const float>(r));
    });
  return status;
}

Status swiglu_forward(Context& ctx, Out y, In gate, In up) {
  return map(ctx, y, gate, up, [](float g, float u) { return g * sigmoid(g) * u; });
}

Status swiglu_backward(Context& ctx, Out dgate, Out dup, In dy, In gate, In up) {
  return for_each_span(ctx, dy.rows, dy.cols, [&](int64_t r, int64_t begin, int64_t end) {
    const float *d = dy.row<const float>(r), *g = gate.row<const float>(r), *u = up.row<const float>(r);
    for (int64_t c = begin; c < end; ++c) {
      const float s = sigmoid(g[c]);
      if (dup) dup.row<float>(r)[c] = d[c] * (g[c] * s);
      if (dgate) dgate.row<float>(r)[c] = d[c] * u[c] * (s * (1.0f + g[c] * (1.0f - s)));
    }
  });
}

Status rope_table(Context& ctx, Out table, In frequencies, f32 factor) {
  const int64_t half = frequencies.cols;
  return for_each_row(ctx, table.rows, 64 * table.cols, [&](int64_t p) {
    const float *high = frequencies.row<const float>(0), *low = frequencies.row<const float>(1);
    float* out = table.row<float>(p);
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(p) * (static_cast<double>(high[i]) + static_cast<double>(low[i]));
      out[i] = static_cast<float>(static_cast<double>(factor) * std::cos(angle));
      out[i + half] = static_cast<float>(static_cast<double>(factor) * std::sin(angle));
    }
  });
}

Status rope(Context& ctx, Out y, In x, In table, In positions, i32 heads, bool inverse) {
  if (const Status bad = check_indexes(positions, table.rows); !bad.ok()) return bad;
  const int64_t half = x.cols / 2;
  return for_each_row(ctx, x.rows, x.cols, [&](int64_t r) {
    const float* cosines = table.row<const float>(index_at(positions, r / heads));
    const float *sines = cosines + half, *in = x.row<const float>(r);
    float* out = y.row<float>(r);
    for (int64_t i = 0; i < half; ++i) {
      const float sine = inverse ? -sines[i] : sines[i], a = in[i], b = in[i + half];
      out[i] = a * cosines[i] - b * sine;
      out[i + half] = b * cosines[i] + a * sine;
    }
  });
}

}  // namespace lowrank::scalar
