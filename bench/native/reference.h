// The float64 reference of the benchmarks, on sampled rows, and the bound that every answer must meet:
// |c - c64| <= 4 sqrt(K) 2^-24 (|A| |B|) + 2^-24 |c64|.
#pragma once
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "harness.h"

namespace bench {

/// A matrix of one storage type, with its own memory, filled with normal numbers.
struct Matrix {
  lowrank::DType dtype;
  int64_t rows, cols;
  AlignedVector<float> f32;
  AlignedVector<uint16_t> half;

  Matrix(int64_t r, int64_t c, uint32_t seed, lowrank::DType type = lowrank::DType::f32) : dtype(type), rows(r), cols(c) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    f32.resize(static_cast<size_t>(r * c));
    for (float& x : f32) x = normal(random);
    if (type == lowrank::DType::f32) return;
    half.resize(f32.size());
    for (size_t i = 0; i < f32.size(); ++i) {
      half[i] = type == lowrank::DType::bf16 ? lowrank::narrow_bf16(f32[i]).bits : lowrank::narrow_f16(f32[i]).bits;
      f32[i] = type == lowrank::DType::bf16 ? lowrank::widen(lowrank::bf16{half[i]}) : lowrank::widen(lowrank::f16{half[i]});
    }
  }

  /// The element that it was filled with, also of a bf16 or f16 matrix.
  double at(int64_t r, int64_t c) const { return f32[static_cast<size_t>(r * cols + c)]; }

  /// The element that stands in its memory.
  double read(int64_t r, int64_t c) const {
    const auto i = static_cast<size_t>(r * cols + c);
    return half.empty()                    ? f32[i]
           : dtype == lowrank::DType::bf16 ? lowrank::widen(lowrank::bf16{half[i]})
                                           : lowrank::widen(lowrank::f16{half[i]});
  }

  template <class Kind>
  Kind view() {
    Kind v;
    v.data = half.empty() ? reinterpret_cast<std::byte*>(f32.data()) : reinterpret_cast<std::byte*>(half.data());
    v.dtype = dtype, v.rows = rows, v.cols = cols, v.ld = cols;
    return v;
  }
};

/// A sum of products in float64, and the same with absolute values.
struct Dot {
  double value = 0, size = 0;

  void add(double a, double b) { value += a * b, size += std::fabs(a * b); }
  void add(const Dot& a, double b) { value += a.value * b, size += a.size * std::fabs(b); }
};

inline std::string compare(double found, const Dot& expected, double k, const char* what, int64_t r, int64_t c) {
  const double unit = std::ldexp(1.0, -24), bound = 4 * std::sqrt(k) * unit * expected.size + unit * std::fabs(expected.value) + 1e-37;
  if (std::fabs(found - expected.value) <= bound) return "";
  return std::string(what) + "[" + std::to_string(r) + ", " + std::to_string(c) + "] is " + std::to_string(found) + ", expected " +
         std::to_string(expected.value) + " within " + std::to_string(bound);
}

/// Rows that stand for all: the first, the last, and some between.
inline std::vector<int64_t> sampled(int64_t rows) {
  std::vector<int64_t> list;
  for (int64_t i = 0; i < 7 && i < rows; ++i) list.push_back(rows <= 7 ? i : i * (rows - 1) / 6);
  return list;
}

}  // namespace bench
