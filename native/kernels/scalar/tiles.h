// How the reference splits work: tiles small enough that an abort is seen at once, the same tiles for any number of threads.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/context.h"
#include "core/step_record.h"

namespace lowrank::scalar {

constexpr int64_t kTileElements = 16384;

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// body(row, begin, end) for pieces of rows that cover rows x cols once.
template <class Body>
Status for_each_span(Context& ctx, int64_t rows, int64_t cols, const Body& body) {
  if (rows <= 0 || cols <= 0) return {};
  const int64_t width = std::min(cols, kTileElements), height = kTileElements / width;
  const int64_t across = ceil_div(cols, width), down = ceil_div(rows, height);
  return ctx.parallel_for(across * down, [&](int64_t tile) {
    const int64_t begin = tile % across * width, end = std::min(cols, begin + width);
    const int64_t first = tile / across * height, last = std::min(rows, first + height);
    for (int64_t r = first; r < last; ++r) body(r, begin, end);
  });
}

/// body(row) for every row; `work` is the number of elements that one row touches.
template <class Body>
Status for_each_row(Context& ctx, int64_t rows, int64_t work, const Body& body) {
  if (rows <= 0) return {};
  const int64_t height = std::max<int64_t>(1, kTileElements / std::max<int64_t>(1, work));
  return ctx.parallel_for(ceil_div(rows, height), [&](int64_t tile) {
    for (int64_t r = tile * height; r < std::min(rows, (tile + 1) * height); ++r) body(r);
  });
}

/// y = f(x), element by element.
template <class F>
Status map(Context& ctx, const View& y, const View& x, const F& f) {
  return for_each_span(ctx, y.rows, y.cols, [&](int64_t r, int64_t begin, int64_t end) {
    float* out = y.row<float>(r);
    const float* in = x.row<const float>(r);
    for (int64_t c = begin; c < end; ++c) out[c] = f(in[c]);
  });
}

/// y = f(a, b), element by element.
template <class F>
Status map(Context& ctx, const View& y, const View& a, const View& b, const F& f) {
  return for_each_span(ctx, y.rows, y.cols, [&](int64_t r, int64_t begin, int64_t end) {
    float* out = y.row<float>(r);
    const float *in_a = a.row<const float>(r), *in_b = b.row<const float>(r);
    for (int64_t c = begin; c < end; ++c) out[c] = f(in_a[c], in_b[c]);
  });
}

inline const StepRecord& record_of(const In& record) { return *reinterpret_cast<const StepRecord*>(record.data); }
inline StepRecord& record_of(const InOut& record) { return *reinterpret_cast<StepRecord*>(record.data); }

}  // namespace lowrank::scalar
