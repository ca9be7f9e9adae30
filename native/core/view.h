// How kernels see memory: a matrix with one row stride. Leading axes are folded into `rows`, the last axis is contiguous.
#pragma once
#include <cstdint>
#include <type_traits>

#include "core/quantized.h"

namespace lowrank {

struct Block;

struct View {
  std::byte* data = nullptr;  // first element; null: the argument is absent
  Block* block = nullptr;     // owner of the bytes; null in native tests, which bring their own memory
  uint32_t incarnation = 0;   // which use of the block this view belongs to (failure marks carry it)
  DType dtype = DType::f32;
  int64_t rows = 0, cols = 0;
  int64_t ld = 0;  // elements from one row to the next, at least cols

  explicit operator bool() const { return data != nullptr; }
  int64_t size() const { return rows * cols; }
  bool contiguous() const { return ld == cols || rows <= 1; }

  template <class T>
  T* row(int64_t r) const {
    return reinterpret_cast<T*>(data) + r * ld;
  }
};

/// Bytes of the elements of a view.
inline int64_t bytes_of(const View& v) {
  return is_quantized(v.dtype) ? quantized_bytes(v.dtype, v.rows, v.cols) : v.size() * bytes_of(v.dtype);
}

inline Nf4Weight nf4_weight(const View& v) { return nf4_weight(v.data, v.rows, v.cols); }
inline Int8Weight int8_weight(const View& v) { return int8_weight(v.data, v.rows, v.cols); }

/// Rows [first, first + count) of a view; never of a quantised one.
inline View rows_of(View v, int64_t first, int64_t count) {
  v.data += first * v.ld * bytes_of(v.dtype);
  v.rows = count;
  return v;
}

/// A packed f32 matrix in memory that a kernel holds.
inline View matrix_of(float* data, int64_t rows, int64_t cols) {
  View v;
  v.data = reinterpret_cast<std::byte*>(data);
  v.rows = rows, v.cols = cols, v.ld = cols;
  return v;
}

/// The three ways a kernel may hold a view. `Out` is written whole and never read; `InOut` is updated in place.
struct In : View {};
struct Out : View {};
struct InOut : View {};

template <class T>
struct ViewOf {
  static View make(T* data, int64_t rows, int64_t cols, int64_t ld) {
    View v;
    v.data = reinterpret_cast<std::byte*>(const_cast<std::remove_const_t<T>*>(data));
    v.dtype = DTypeOf<std::remove_const_t<T>>::value;
    v.rows = rows, v.cols = cols, v.ld = ld;
    return v;
  }
};

/// A view of plain memory, as native tests and benchmarks use it.
template <class Kind, class T>
Kind view_of(T* data, int64_t rows, int64_t cols, int64_t ld = -1) {
  Kind k;
  static_cast<View&>(k) = ViewOf<T>::make(data, rows, cols, ld < 0 ? cols : ld);
  return k;
}

}  // namespace lowrank
