// Conversions between f32, bf16 and f16, bit by bit, against rounding done in float64.
#include <algorithm>

#include "kernel_harness.h"

using namespace test;

namespace {

/// What a 16-bit or 32-bit pattern means, read with integer arithmetic: compute threads would flush a subnormal float.
double value_of(uint32_t bits, int exponent_bits, int fraction_bits) {
  const uint32_t fraction = bits & ((1u << fraction_bits) - 1), exponent = bits >> fraction_bits & ((1u << exponent_bits) - 1);
  const double sign = bits >> (exponent_bits + fraction_bits) & 1 ? -1 : 1;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  if (exponent == (1u << exponent_bits) - 1) return fraction ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(static_cast<double>(fraction), 1 - bias - fraction_bits);
  return sign * std::ldexp(static_cast<double>(fraction | 1u << fraction_bits), static_cast<int>(exponent) - bias - fraction_bits);
}

double value_of(float x) { return value_of(bits_of(x), 8, 23); }
double value_of(bf16 x) { return value_of(x.bits, 8, 7); }
double value_of(f16 x) { return value_of(x.bits, 5, 10); }

/// x rounded to nearest even with `fraction_bits` and the smallest normal 2^min_exponent; from `overflow` on it is infinite.
double rounded(double x, int fraction_bits, int min_exponent, double overflow) {
  if (x == 0 || !std::isfinite(x)) return x;
  if (std::abs(x) >= overflow) return std::copysign(INFINITY, x);
  const double unit = std::ldexp(1.0, std::max(std::ilogb(x), min_exponent) - fraction_bits);
  return std::nearbyint(x / unit) * unit;
}

template <class T>
struct Format;
template <>
struct Format<bf16> {
  static double round(double x) { return rounded(x, 7, -126, std::ldexp(511.0, 119)); }
  static bf16 narrow(float x) { return narrow_bf16(x); }
};
template <>
struct Format<f16> {
  static double round(double x) { return rounded(x, 10, -14, 65520.0); }
  static f16 narrow(float x) { return narrow_f16(x); }
};

/// Equal as numbers, signed zeros apart, NaN like NaN.
bool same(double a, double b) { return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b); }

template <class T>
void check_narrowed(const char* what, float x, T y) {
  CHECK(same(value_of(y), Format<T>::round(value_of(x))), what, " of bits ", bits_of(x), " gave ", y.bits);
}

/// Every value of the 16-bit type, the ties between neighbours, and the floats beside each: every place where a rounding can change.
template <class T>
std::vector<float> turning_points() {
  std::vector<float> points;
  const auto add = [&](uint32_t bits) {
    for (uint32_t near : {bits - 2, bits - 1, bits, bits + 1, bits + 2}) points.push_back(float_of(near));
  };
  for (uint32_t pattern = 0; pattern < 65536; ++pattern) {
    const double here = value_of(T{static_cast<uint16_t>(pattern)}), next = value_of(T{static_cast<uint16_t>(pattern + 1)});
    add(bits_of(widen(T{static_cast<uint16_t>(pattern)})));
    if (std::isfinite(here) && std::isfinite(next)) add(bits_of(static_cast<float>((here + next) / 2)));
  }
  for (uint32_t bits : {0x477ff000u, 0xc77ff000u, 0x7f7f8000u, 0xff7f8000u, 0x33000000u, 0xb3000000u, 0x7f800000u, 0xff800000u}) add(bits);
  Random random(7);
  for (int i = 0; i < 1'000'000; ++i) points.push_back(float_of(static_cast<uint32_t>(random.bits())));
  return points;
}

template <class T>
void check_cast_kernels(const char* name) {
  const std::vector<float> points = turning_points<T>();
  const int64_t cols = 1003, rows = static_cast<int64_t>(points.size()) / cols;
  for (const Setup& setup : setups()) {
    Matrix<float> wide(setup, rows, cols), back(setup, 256, 256);
    Matrix<T> narrow(setup, rows, cols), patterns(setup, 256, 256);
    for (int64_t i = 0; i < rows * cols; ++i) wide.at(i / cols, i % cols) = points[static_cast<size_t>(i)];
    for (int64_t i = 0; i < 65536; ++i) patterns.at(i / 256, i % 256).bits = static_cast<uint16_t>(i);
    RUN_OK_K(setup, cast, narrow, wide);
    RUN_OK_K(setup, cast, back, patterns);
    for (int64_t i = 0; i < rows * cols; ++i) check_narrowed(name, wide.at(i / cols, i % cols), narrow.at(i / cols, i % cols));
    for (int64_t i = 0; i < 65536; ++i) {
      const float x = back.at(i / 256, i % 256);
      CHECK(same(value_of(x), value_of(patterns.at(i / 256, i % 256))), setup.name(), " widened ", name, " ", i, " to bits ", bits_of(x));
    }
  }
}

template <class T>
void check_functions(const char* name) {
  for (float x : turning_points<T>()) check_narrowed(name, x, Format<T>::narrow(x));
  for (uint32_t i = 0; i < 65536; ++i) {
    const T pattern{static_cast<uint16_t>(i)};
    CHECK(same(value_of(widen(pattern)), value_of(pattern)), name, " ", i);
    const T again = Format<T>::narrow(widen(pattern));
    CHECK(std::isnan(value_of(pattern)) ? std::isnan(value_of(again)) : again.bits == i, name, " ", i);
  }
}

template <class T>
void check_all_floats(const char* name) {
  for (uint64_t i = 0; i < uint64_t{1} << 32; ++i) {
    const float x = float_of(static_cast<uint32_t>(i));
    check_narrowed(name, x, Format<T>::narrow(x));
  }
}

}  // namespace

TEST(dtype_conversions_round_to_nearest_even) {
  check_functions<bf16>("bf16");
  check_functions<f16>("f16");
}

TEST(dtype_conversions_of_all_floats) {
  if (!options().exhaustive) return;
  check_all_floats<bf16>("bf16");
  check_all_floats<f16>("f16");
}

TEST(dtype_cast_kernels_between_floats) {
  check_cast_kernels<bf16>("bf16");
  check_cast_kernels<f16>("f16");
}

TEST(dtype_cast_kernels_between_16_bit_types) {
  for (const Setup& setup : setups()) {
    Matrix<bf16> brain(setup, 256, 256), to_brain(setup, 256, 256);
    Matrix<f16> half(setup, 256, 256), to_half(setup, 256, 256);
    for (int64_t i = 0; i < 65536; ++i) brain.at(i / 256, i % 256).bits = half.at(i / 256, i % 256).bits = static_cast<uint16_t>(i);
    RUN_OK_K(setup, cast, to_half, brain);
    RUN_OK_K(setup, cast, to_brain, half);
    for (int64_t r = 0; r < 256; ++r) {
      for (int64_t c = 0; c < 256; ++c) {
        CHECK(same(value_of(to_half.at(r, c)), Format<f16>::round(value_of(brain.at(r, c)))), setup.name(), " at ", r * 256 + c);
        CHECK(same(value_of(to_brain.at(r, c)), Format<bf16>::round(value_of(half.at(r, c)))), setup.name(), " at ", r * 256 + c);
      }
    }
  }
}

TEST(dtype_cast_kernels_from_integers) {
  for (const Setup& setup : setups()) {
    for (int64_t cols : {0, 1, 3, 7, 8, 9, 17, 33, 64, 256}) {
      Matrix<int32_t> integers(setup, 3, cols);
      Matrix<uint8_t> bytes(setup, 3, cols);
      Matrix<float> from_integers(setup, 3, cols), from_bytes(setup, 3, cols);
      Random random(static_cast<uint64_t>(cols));
      for (int64_t r = 0; r < 3; ++r) {
        for (int64_t c = 0; c < cols; ++c) {
          integers.at(r, c) = static_cast<int32_t>(random.bits() >> random.below(32));
          bytes.at(r, c) = static_cast<uint8_t>(c + r);
        }
      }
      RUN_OK_K(setup, cast, from_integers, integers);
      RUN_OK_K(setup, cast, from_bytes, bytes);
      for (int64_t r = 0; r < 3; ++r) {
        for (int64_t c = 0; c < cols; ++c) {
          const double exact = integers.at(r, c), expected = rounded(exact, 23, -126, INFINITY);
          CHECK(static_cast<double>(from_integers.at(r, c)) == expected, setup.name(), ": ", exact);
          CHECK(static_cast<double>(from_bytes.at(r, c)) == bytes.at(r, c), setup.name());
        }
      }
    }
  }
}
