// Quantising weights. There is one version of it for all backends, so that a weight has the same bytes on all of them.
#include <cmath>

#include "kernels/scalar/kernels.h"
#include "kernels/scalar/rows.h"
#include "kernels/scalar/tiles.h"

namespace lowrank::scalar {

namespace {

constexpr float kSmallest = 0x1p-126f, kLargest = 0x1p126f;  // of a weight whose reciprocal is to be a normal number

/// The largest |x|; NaN when one of them is not a number up to kLargest.
float largest_of(const float* x, int64_t n) {
  int32_t most = 0;  // sizes of floats are ordered as their bits, NaN last
  for (int64_t i = 0; i < n; ++i) {
    const int32_t size = static_cast<int32_t>(bits_of(x[i]) & 0x7fffffffu);
    most = size > most ? size : most;
  }
  const float largest = float_of(static_cast<uint32_t>(most));
  return largest <= kLargest ? largest : NAN;
}

float reciprocal(float x) { return x < kSmallest ? 0.0f : 1.0f / x; }

/// The code of the number of a rising table that is next to x, the lower one of two as near: the count of midpoints below x.
int nearest(const float* table, int size, float x) {
  int low = 0;
  for (int count = size - 1; count > 0;) {
    const int half = count / 2, middle = low + half;
    const bool below = (table[middle] + table[middle + 1]) / 2 < x;
    low = below ? middle + 1 : low;
    count = below ? count - half - 1 : half;
  }
  return low;
}

void quantize_nf4_block(uint8_t* codes, float& absmax, const float* x) {
  absmax = largest_of(x, kNf4Block);
  const float factor = reciprocal(absmax);
  float scaled[kNf4Block];
  int32_t code[kNf4Block] = {};  // as `nearest`, all of them at once
  for (int64_t i = 0; i < kNf4Block; ++i) scaled[i] = x[i] * factor;
  for (int k = 0; k < 15; ++k) {
    const float midpoint = (kNf4Values[k] + kNf4Values[k + 1]) / 2;
    for (int64_t i = 0; i < kNf4Block; ++i) code[i] += midpoint < scaled[i] ? 1 : 0;
  }
  for (int64_t i = 0; i < kNf4Block; i += 2) codes[i / 2] = static_cast<uint8_t>(code[i] << 4 | code[i + 1]);
}

void quantize_nf4_row(const Nf4Weight& w, float* absmax, const In& x, int64_t r, int64_t row) {
  float buffer[kNf4Block];
  for (int64_t c = 0; c < x.cols; c += kNf4Block) {
    const int64_t element = row * x.cols + c;
    quantize_nf4_block(w.codes + element / 2, absmax[element / kNf4Block], floats_of(x, r, c, kNf4Block, buffer));
  }
}

/// Rounded to the next integer, ties to even; |x| < 2^22.
int8_t rounded(float x) {
  constexpr float kShift = 0x1.8p23f;
  return static_cast<int8_t>((x + kShift) - kShift);
}

void quantize_int8_row(const Int8Weight& w, const In& x, int64_t r, int64_t row) {
  constexpr int64_t kPiece = 256;
  float buffer[kPiece], most = 0;
  for (int64_t c = 0; c < x.cols && !std::isnan(most); c += kPiece) {
    const int64_t n = std::min(kPiece, x.cols - c);
    const float found = largest_of(floats_of(x, r, c, n, buffer), n);
    most = found <= most ? most : found;
  }
  const float scale = most < 128 * kSmallest ? 0.0f : most / 127;
  w.scales[row] = scale;
  for (int64_t c = 0; c < x.cols; c += kPiece) {
    const int64_t n = std::min(kPiece, x.cols - c);
    const float* in = floats_of(x, r, c, n, buffer);
    int8_t* codes = w.codes + row * x.cols + c;
    for (int64_t i = 0; i < n; ++i) codes[i] = scale > 0 ? rounded(in[i] / scale) : int8_t{0};
  }
}

/// Zeros from byte n to the next multiple of 4.
void fill_up(std::byte* bytes, int64_t n) {
  for (; n % 4 != 0; ++n) bytes[n] = std::byte{0};
}

Status first_not_finite(const float* values, int64_t rows, int64_t per_row, int64_t first) {
  for (int64_t i = 0; i < rows * per_row; ++i)
    if (std::isnan(values[i])) return Status::row(first + i / per_row);
  return {};
}

}  // namespace

Status quantize_rows(Context& ctx, Out w, Out absmax, In x, i32 first) {
  const bool nf4 = w.dtype == DType::nf4;
  const int64_t blocks = w.cols / kNf4Block;
  float* all = nf4 ? absmax.row<float>(0) : int8_weight(w).scales;
  const Status status = for_each_row(ctx, x.rows, x.cols, [&](int64_t r) {
    if (nf4) return quantize_nf4_row(nf4_weight(w), all, x, r, first + r);
    quantize_int8_row(int8_weight(w), x, r, first + r);
  });
  if (!status.ok()) return status;
  if (!nf4) fill_up(w.data, w.size());
  const int64_t per_row = nf4 ? blocks : 1;
  return first_not_finite(all + first * per_row, x.rows, per_row, first);
}

Status quantize_scales(Context& ctx, Out w, In absmax) {
  const int64_t blocks = absmax.cols;
  const float* all = absmax.row<const float>(0);
  const Nf4Weight quantized = nf4_weight(w);
  double sum = 0;
  for (int64_t i = 0; i < blocks; ++i) sum += static_cast<double>(all[i]);
  const float offset = blocks > 0 ? static_cast<float>(sum / static_cast<double>(blocks)) : 0.0f;
  *quantized.offset = offset;
  fill_up(reinterpret_cast<std::byte*>(quantized.scale_codes), blocks);
  return for_each_row(ctx, nf4_groups(w.rows, w.cols), kNf4Group, [&](int64_t group) {
    const int64_t begin = group * kNf4Group, end = std::min(blocks, begin + kNf4Group);
    float most = 0;
    for (int64_t i = begin; i < end; ++i) most = std::max(most, std::fabs(all[i] - offset));
    quantized.group_scales[group] = most;
    const float factor = reciprocal(most);
    for (int64_t i = begin; i < end; ++i)
      quantized.scale_codes[i] = static_cast<uint8_t>(nearest(kDynamicMap, 256, (all[i] - offset) * factor));
  });
}

}  // namespace lowrank::scalar
