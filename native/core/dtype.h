// Element types and the conversions between them. Every conversion rounds to nearest even and keeps NaN a NaN.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace lowrank {

enum class DType : uint8_t { f32, bf16, f16, i32, u8, int8, nf4 };
constexpr DType kLastDType = DType::nf4;

/// Weights whose elements share numbers: core/quantized.h.
constexpr bool is_quantized(DType t) { return t == DType::int8 || t == DType::nf4; }

/// Bytes of an element; 0 where elements have no bytes of their own.
constexpr int64_t bytes_of(DType t) {
  switch (t) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
    case DType::f16:
      return 2;
    case DType::u8:
      return 1;
    case DType::int8:
    case DType::nf4:
      return 0;
  }
  return 0;
}

constexpr const char* name_of(DType t) {
  switch (t) {
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::f16:
      return "f16";
    case DType::i32:
      return "i32";
    case DType::u8:
      return "u8";
    case DType::int8:
      return "int8";
    case DType::nf4:
      return "nf4";
  }
  return "?";
}

/// Storage of one bfloat16 (the upper half of a float).
struct bf16 {
  uint16_t bits;
};

/// Storage of one IEEE half.
struct f16 {
  uint16_t bits;
};

inline uint32_t bits_of(float x) {
  uint32_t u;
  std::memcpy(&u, &x, sizeof u);
  return u;
}

inline float float_of(uint32_t u) {
  float x;
  std::memcpy(&x, &u, sizeof x);
  return x;
}

inline float widen(float x) { return x; }
inline float widen(bf16 x) { return float_of(uint32_t{x.bits} << 16); }

inline float widen(f16 x) {
  const uint32_t sign = uint32_t{x.bits & 0x8000u} << 16, rest = x.bits & 0x7fffu;
  if (rest >= 0x7c00u) return float_of(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
  if (rest >= 0x400u) return float_of(sign | ((rest << 13) + 0x38000000u));
  const float magnitude = static_cast<float>(rest) * 0x1p-24f;  // zero and the subnormals of f16
  return float_of(sign | bits_of(magnitude));
}

inline bf16 narrow_bf16(float x) {
  const uint32_t u = bits_of(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40u)};
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

inline f16 narrow_f16(float x) {
  const uint32_t u = bits_of(x), magnitude = u & 0x7fffffffu;
  const uint16_t sign = static_cast<uint16_t>((u >> 16) & 0x8000u);
  if (magnitude > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u)};
  if (magnitude >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};
  if (magnitude >= 0x38800000u) {
    const uint32_t shifted = magnitude - 0x38000000u;
    return {static_cast<uint16_t>(sign | ((shifted + 0xfffu + ((shifted >> 13) & 1u)) >> 13))};
  }
  if (magnitude <= 0x33000000u) return {sign};
  // Subnormal f16: the significand with its hidden one, moved right with round to nearest even.
  const uint32_t shift = 126u - (magnitude >> 23), significand = (magnitude & 0x7fffffu) | 0x800000u;
  const uint32_t half = 1u << (shift - 1), rounded = significand + (half - 1u) + ((significand >> shift) & 1u);
  return {static_cast<uint16_t>(sign | (rounded >> shift))};
}

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<f16> {
  static constexpr DType value = DType::f16;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::u8;
};

}  // namespace lowrank
