// Filling, copying, converting and rearranging.
#include <cstring>

#include "kernels/scalar/kernels.h"
#include "kernels/scalar/rows.h"
#include "kernels/scalar/tiles.h"

namespace lowrank::scalar {

Status fill(Context& ctx, Out y, f32 value) {
  return for_each_span(ctx, y.rows, y.cols,
                       [&](int64_t r, int64_t begin, int64_t end) { std::fill(y.row<float>(r) + begin, y.row<float>(r) + end, value); });
}

Status copy(Context& ctx, Out y, In x) {
  const int64_t size = bytes_of(y.dtype);
  return for_each_span(ctx, y.rows, y.cols, [&](int64_t r, int64_t begin, int64_t end) {
    std::memcpy(y.data + (r * y.ld + begin) * size, x.data + (r * x.ld + begin) * size, static_cast<size_t>((end - begin) * size));
  });
}

namespace {

float to_float(float x) { return x; }
float to_float(bf16 x) { return widen(x); }
float to_float(f16 x) { return widen(x); }
float to_float(int32_t x) { return static_cast<float>(x); }
float to_float(uint8_t x) { return static_cast<float>(x); }

void from_float(float& y, float x) { y = x; }
void from_float(bf16& y, float x) { y = narrow_bf16(x); }
void from_float(f16& y, float x) { y = narrow_f16(x); }

template <class To, class From>
Status convert(Context& ctx, const View& y, const View& x) {
  return for_each_span(ctx, y.rows, y.cols, [&](int64_t r, int64_t begin, int64_t end) {
    To* out = y.row<To>(r);
    const From* in = x.row<const From>(r);
    for (int64_t c = begin; c < end; ++c) from_float(out[c], to_float(in[c]));
  });
}

template <class From>
Status convert_from(Context& ctx, const View& y, const View& x) {
  if (y.dtype == DType::bf16) return convert<bf16, From>(ctx, y, x);
  if (y.dtype == DType::f16) return convert<f16, From>(ctx, y, x);
  return convert<float, From>(ctx, y, x);
}

}  // namespace

Status cast(Context& ctx, Out y, In x) {
  switch (x.dtype) {
    case DType::f32:
      return convert_from<float>(ctx, y, x);
    case DType::bf16:
      return convert_from<bf16>(ctx, y, x);
    case DType::f16:
      return convert_from<f16>(ctx, y, x);
    case DType::i32:
      return convert_from<int32_t>(ctx, y, x);
    case DType::u8:
      return convert_from<uint8_t>(ctx, y, x);
    case DType::int8:
    case DType::nf4:
      return for_each_span(ctx, y.rows, y.cols,
                           [&](int64_t r, int64_t begin, int64_t end) { floats_of(x, r, begin, end - begin, y.row<float>(r) + begin); });
  }
  return {};
}

// y[n, m] = x[m, n], matrix by matrix
Status transpose(Context& ctx, Out y, In x, i32 batch) {
  if (batch <= 0) return {};
  const int64_t m = x.rows / batch, n = x.cols;
  return for_each_row(ctx, y.rows, m, [&](int64_t r) {
    const int64_t matrix = r / n, column = r % n;
    float* out = y.row<float>(r);
    for (int64_t c = 0; c < m; ++c) out[c] = x.row<const float>(matrix * m + c)[column];
  });
}

Status accumulate(Context& ctx, InOut y, In x) {
  return map(ctx, y, y, x, [](float a, float b) { return a + b; });
}

}  // namespace lowrank::scalar
