// The float64 reference of the benchmarks, on sampled rows, and the bound that every answer must meet:
// |c - c64| <= 4 sqrt(K) 2^-24 (|A| |B|) + 2^-24 |c64|.
#pragma once
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/quantized.h"
#include "harness.h"

namespace bench {

/// A matrix of one storage type, with its own memory, filled with normal numbers; a quantised one with arbitrary codes and scales.
struct Matrix {
  lowrank::DType dtype;
  int64_t rows, cols;
  AlignedVector<float> f32;  // its elements, whatever its type
  AlignedVector<uint16_t> half;
  AlignedVector<std::byte> quantized;

  Matrix(int64_t r, int64_t c, uint32_t seed, lowrank::DType type = lowrank::DType::f32) : dtype(type), rows(r), cols(c) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    f32.resize(static_cast<size_t>(r * c));
    if (type == lowrank::DType::int8) fill_int8(random);
    if (type == lowrank::DType::nf4) fill_nf4(random);
    if (!quantized.empty()) return;
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

  /// Bytes of its memory.
  int64_t bytes() const { return quantized.empty() ? rows * cols * lowrank::bytes_of(dtype) : lowrank::quantized_bytes(dtype, rows, cols); }

  template <class Kind>
  Kind view() {
    Kind v;
    v.data = !quantized.empty() ? quantized.data()
             : half.empty()     ? reinterpret_cast<std::byte*>(f32.data())
                                : reinterpret_cast<std::byte*>(half.data());
    v.dtype = dtype, v.rows = rows, v.cols = cols, v.ld = cols;
    return v;
  }

 private:
  void fill_int8(std::mt19937& random) {
    quantized.resize(static_cast<size_t>(lowrank::quantized_bytes(dtype, rows, cols)));
    const lowrank::Int8Weight w = lowrank::int8_weight(quantized.data(), rows, cols);
    for (int64_t r = 0; r < rows; ++r) {
      w.scales[r] = static_cast<float>(1 + random() % 8) / 256;
      for (int64_t i = r * cols; i < (r + 1) * cols; ++i) {
        w.codes[i] = static_cast<int8_t>(static_cast<int>(random() % 255) - 127);
        f32[static_cast<size_t>(i)] = static_cast<float>(w.codes[i]) * w.scales[r];
      }
    }
  }

  void fill_nf4(std::mt19937& random) {
    quantized.resize(static_cast<size_t>(lowrank::quantized_bytes(dtype, rows, cols)));
    const lowrank::Nf4Weight w = lowrank::nf4_weight(quantized.data(), rows, cols);
    *w.offset = 1.5f;
    for (int64_t g = 0; g < lowrank::nf4_groups(rows, cols); ++g) w.group_scales[g] = static_cast<float>(1 + random() % 8) / 8;
    for (int64_t b = 0; b < lowrank::nf4_blocks(rows, cols); ++b) w.scale_codes[b] = static_cast<uint8_t>(random() % 256);
    for (int64_t i = 0; i < rows * cols; i += 2) {
      const auto pair = static_cast<uint8_t>(random() % 256);
      w.codes[i / 2] = pair;
      const float scale = w.scale(i / lowrank::kNf4Block);
      f32[static_cast<size_t>(i)] = lowrank::kNf4Values[pair >> 4] * scale;
      f32[static_cast<size_t>(i + 1)] = lowrank::kNf4Values[pair & 15] * scale;
    }
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
