// Quantised weights: where the parts of one lie in its buffer, and what its codes mean. Such a weight is always whole: rows lie side by
// side from the start of the buffer on, and where the parts behind the codes begin follows from rows and cols.
//
// nf4 (Dettmers et al., arXiv:2305.14314; the numbers are those of bitsandbytes): the row-major elements in blocks of 64, so that cols is a
// multiple of 64. An element is kNf4Values[code] * scale of its block; scales are quantised again, in groups of 256 blocks:
//   codes        two to a byte, the first in the upper half
//   scale codes  one byte for each block, filled up to a multiple of 4 bytes: scale = kDynamicMap[code] * scale of its group + offset
//   f32          the scale of each group, then the offset
//
// int8: an element is code * scale of its row.
//   codes        one byte for each element, filled up to a multiple of 4 bytes
//   f32          the scale of each row
#pragma once
#include "core/dtype.h"

namespace lowrank {

constexpr int64_t kNf4Block = 64;   // elements with one scale
constexpr int64_t kNf4Group = 256;  // scales with one scale of their own

inline constexpr float kNf4Values[16] = {-1.0f,         -0.6961928f, -0.52507305f, -0.3949175f, -0.28444138f, -0.18477343f,
                                         -0.091050036f, 0.0f,        0.0795803f,   0.1609302f,  0.2461123f,   0.33791524f,
                                         0.44070983f,   0.562617f,   0.72295684f,  1.0f};

/// of[i]: byte i, the lowest first, of each of the sixteen numbers.
struct Nf4Bytes {
  alignas(16) uint8_t of[4][16];
};

constexpr Nf4Bytes nf4_bytes() {
  Nf4Bytes bytes{};
  for (int code = 0; code < 16; ++code) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, kNf4Values[code]);
    for (int i = 0; i < 4; ++i) bytes.of[i][code] = static_cast<uint8_t>(bits >> (8 * i));
  }
  return bytes;
}
inline constexpr Nf4Bytes kNf4Bytes = nf4_bytes();

/// The signed dynamic map of eight bits (Dettmers, arXiv:1511.04561): seven decades, each with twice as many numbers as the one below.
inline constexpr float kDynamicMap[256] = {
    -0.99296874f,   -0.9789063f,    -0.96484375f,    -0.9507812f,     -0.93671876f,    -0.92265624f,    -0.9085938f,     -0.89453125f,
    -0.8804687f,    -0.86640626f,   -0.85234374f,    -0.8382813f,     -0.82421875f,    -0.8101562f,     -0.79609376f,    -0.78203124f,
    -0.7679688f,    -0.75390625f,   -0.7398437f,     -0.72578126f,    -0.7117188f,     -0.6976563f,     -0.68359375f,    -0.6695312f,
    -0.65546876f,   -0.6414063f,    -0.6273438f,     -0.61328125f,    -0.5992187f,     -0.58515626f,    -0.5710938f,     -0.5570313f,
    -0.54296875f,   -0.5289062f,    -0.5148437f,     -0.50078124f,    -0.4867187f,     -0.47265625f,    -0.45859373f,    -0.44453126f,
    -0.43046874f,   -0.41640624f,   -0.40234375f,    -0.38828123f,    -0.37421876f,    -0.36015624f,    -0.34609374f,    -0.33203125f,
    -0.31796873f,   -0.30390626f,   -0.28984374f,    -0.27578127f,    -0.26171875f,    -0.24765624f,    -0.23359375f,    -0.21953125f,
    -0.20546874f,   -0.19140625f,   -0.17734376f,    -0.16328125f,    -0.14921875f,    -0.13515624f,    -0.12109375f,    -0.107031256f,
    -0.09859375f,   -0.09578126f,   -0.092968754f,   -0.09015625f,    -0.08734375f,    -0.08453125f,    -0.08171876f,    -0.07890625f,
    -0.07609375f,   -0.07328125f,   -0.070468746f,   -0.067656256f,   -0.06484375f,    -0.06203125f,    -0.059218753f,   -0.05640625f,
    -0.05359375f,   -0.05078125f,   -0.04796875f,    -0.04515625f,    -0.042343747f,   -0.03953125f,    -0.036718752f,   -0.03390625f,
    -0.03109375f,   -0.028281251f,  -0.02546875f,    -0.02265625f,    -0.019843752f,   -0.01703125f,    -0.01421875f,    -0.01140625f,
    -0.00971875f,   -0.009156249f,  -0.00859375f,    -0.00803125f,    -0.00746875f,    -0.00690625f,    -0.00634375f,    -0.00578125f,
    -0.0052187503f, -0.0046562497f, -0.00409375f,    -0.0035312497f,  -0.00296875f,    -0.00240625f,    -0.00184375f,    -0.0012812499f,
    -0.0009437501f, -0.00083125f,   -0.00071875006f, -0.0006062501f,  -0.00049375003f, -0.00038125002f, -0.00026875004f, -0.00015625001f,
    -8.875e-05f,    -6.625e-05f,    -4.375e-05f,     -2.1249998e-05f, -7.75e-06f,      -3.2500002e-06f, -5.5000004e-07f, 0.0f,
    5.5000004e-07f, 3.2500002e-06f, 7.75e-06f,       2.1249998e-05f,  4.375e-05f,      6.625e-05f,      8.875e-05f,      0.00015625001f,
    0.00026875004f, 0.00038125002f, 0.00049375003f,  0.0006062501f,   0.00071875006f,  0.00083125f,     0.0009437501f,   0.0012812499f,
    0.00184375f,    0.00240625f,    0.00296875f,     0.0035312497f,   0.00409375f,     0.0046562497f,   0.0052187503f,   0.00578125f,
    0.00634375f,    0.00690625f,    0.00746875f,     0.00803125f,     0.00859375f,     0.009156249f,    0.00971875f,     0.01140625f,
    0.01421875f,    0.01703125f,    0.019843752f,    0.02265625f,     0.02546875f,     0.028281251f,    0.03109375f,     0.03390625f,
    0.036718752f,   0.03953125f,    0.042343747f,    0.04515625f,     0.04796875f,     0.05078125f,     0.05359375f,     0.05640625f,
    0.059218753f,   0.06203125f,    0.06484375f,     0.067656256f,    0.070468746f,    0.07328125f,     0.07609375f,     0.07890625f,
    0.08171876f,    0.08453125f,    0.08734375f,     0.09015625f,     0.092968754f,    0.09578126f,     0.09859375f,     0.107031256f,
    0.12109375f,    0.13515624f,    0.14921875f,     0.16328125f,     0.17734376f,     0.19140625f,     0.20546874f,     0.21953125f,
    0.23359375f,    0.24765624f,    0.26171875f,     0.27578127f,     0.28984374f,     0.30390626f,     0.31796873f,     0.33203125f,
    0.34609374f,    0.36015624f,    0.37421876f,     0.38828123f,     0.40234375f,     0.41640624f,     0.43046874f,     0.44453126f,
    0.45859373f,    0.47265625f,    0.4867187f,      0.50078124f,     0.5148437f,      0.5289062f,      0.54296875f,     0.5570313f,
    0.5710938f,     0.58515626f,    0.5992187f,      0.61328125f,     0.6273438f,      0.6414063f,      0.65546876f,     0.6695312f,
    0.68359375f,    0.6976563f,     0.7117188f,      0.72578126f,     0.7398437f,      0.75390625f,     0.7679688f,      0.78203124f,
    0.79609376f,    0.8101562f,     0.82421875f,     0.8382813f,      0.85234374f,     0.86640626f,     0.8804687f,      0.89453125f,
    0.9085938f,     0.92265624f,    0.93671876f,     0.9507812f,      0.96484375f,     0.9789063f,      0.99296874f,     1.0f,
};

struct Nf4Weight {
  uint8_t *codes, *scale_codes;
  float *group_scales, *offset;

  float scale(uint64_t block) const { return kDynamicMap[scale_codes[block]] * group_scales[block / kNf4Group] + *offset; }
};

struct Int8Weight {
  int8_t* codes;
  float* scales;
};

constexpr int64_t nf4_blocks(int64_t rows, int64_t cols) { return rows * cols / kNf4Block; }
constexpr int64_t nf4_groups(int64_t rows, int64_t cols) { return (nf4_blocks(rows, cols) + kNf4Group - 1) / kNf4Group; }

/// Bytes of a quantised weight.
constexpr int64_t quantized_bytes(DType t, int64_t rows, int64_t cols) {
  if (t == DType::int8) return (rows * cols + 3) / 4 * 4 + 4 * rows;
  return rows * cols / 2 + (nf4_blocks(rows, cols) + 3) / 4 * 4 + 4 * nf4_groups(rows, cols) + 4;
}

inline Nf4Weight nf4_weight(std::byte* data, int64_t rows, int64_t cols) {
  const int64_t blocks = nf4_blocks(rows, cols);
  std::byte *scale_codes = data + rows * cols / 2, *scales = scale_codes + (blocks + 3) / 4 * 4;
  float* group_scales = reinterpret_cast<float*>(scales);
  return {reinterpret_cast<uint8_t*>(data), reinterpret_cast<uint8_t*>(scale_codes), group_scales, group_scales + nf4_groups(rows, cols)};
}

inline Int8Weight int8_weight(std::byte* data, int64_t rows, int64_t cols) {
  return {reinterpret_cast<int8_t*>(data), reinterpret_cast<float*>(data + (rows * cols + 3) / 4 * 4)};
}

}  // namespace lowrank
