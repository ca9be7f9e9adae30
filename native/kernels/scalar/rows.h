// Rows of matrices of any type as floats.
#pragma once
#include "core/view.h"

namespace lowrank::scalar {

template <class T>
const float* widen_into(float* buffer, const T* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) buffer[i] = widen(x[i]);
  return buffer;
}

inline const float* decode_nf4(float* buffer, const Nf4Weight& w, int64_t element, int64_t n) {
  for (int64_t i = element; i < element + n; ++i) {
    const int pair = w.codes[i / 2];
    buffer[i - element] = kNf4Values[i % 2 == 0 ? pair >> 4 : pair & 15] * w.scale(i / kNf4Block);
  }
  return buffer;
}

/// Elements [begin, begin + n) of row r as floats: in place when they are, else converted into `buffer`.
inline const float* floats_of(const View& v, int64_t r, int64_t begin, int64_t n, float* buffer) {
  switch (v.dtype) {
    case DType::bf16:
      return widen_into(buffer, v.row<const bf16>(r) + begin, n);
    case DType::f16:
      return widen_into(buffer, v.row<const f16>(r) + begin, n);
    case DType::int8: {
      const Int8Weight w = int8_weight(v);
      for (int64_t i = 0; i < n; ++i) buffer[i] = static_cast<float>(w.codes[r * v.cols + begin + i]) * w.scales[r];
      return buffer;
    }
    case DType::nf4:
      return decode_nf4(buffer, nf4_weight(v), r * v.cols + begin, n);
    default:
      return v.row<const float>(r) + begin;
  }
}

}  // namespace lowrank::scalar
