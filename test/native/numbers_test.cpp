#include <cmath>
#include <limits>

#include "core/dtype.h"
#include "core/rng.h"
#include "testing.h"

using namespace lowrank;

namespace {

/// `x` rounded to nearest even with `digits` significant bits, least exponent `least` and largest finite value `largest`, in float64.
double rounded(double x, int digits, int least, double largest) {
  if (!std::isfinite(x) || x == 0) return x;
  const double unit = std::ldexp(1.0, std::max(std::ilogb(x), least) - (digits - 1));
  const double result = std::nearbyint(x / unit) * unit;
  return std::fabs(result) > largest ? std::copysign(std::numeric_limits<double>::infinity(), x) : result;
}

bool same(double a, double b) { return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b); }

/// Floats of every exponent, next to every rounding boundary of f16 and bf16, and a sweep between.
template <class Body>
void for_floats(const Body& body) {
  for (uint64_t high = 0; high <= 0xffffffffu; high += 0x800u)
    for (const int64_t step : {-1, 0, 1}) body(float_of(static_cast<uint32_t>(static_cast<int64_t>(high) + step)));
  for (uint64_t bits = 0; bits <= 0xffffffffu; bits += 65521u) body(float_of(static_cast<uint32_t>(bits)));
}

}  // namespace

TEST("numbers: f16 and bf16 survive the way through f32 and back, all 65,536 of each") {
  for (uint32_t bits = 0; bits <= 0xffffu; ++bits) {
    const f16 half{static_cast<uint16_t>(bits)};
    const bf16 brain{static_cast<uint16_t>(bits)};
    if (std::isnan(widen(half))) {
      EXPECT(std::isnan(widen(narrow_f16(widen(half)))));
    } else {
      EXPECT_EQUAL(narrow_f16(widen(half)).bits, half.bits);
    }
    if (std::isnan(widen(brain))) {
      EXPECT(std::isnan(widen(narrow_bf16(widen(brain)))));
    } else {
      EXPECT_EQUAL(narrow_bf16(widen(brain)).bits, brain.bits);
    }
  }
}

TEST("numbers: f16 means what IEEE 754 says") {
  for (uint32_t bits = 0; bits < 0x7c00u; ++bits) {
    const int exponent = static_cast<int>(bits >> 10), fraction = static_cast<int>(bits & 0x3ffu);
    const double value = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    EXPECT_EQUAL(static_cast<double>(widen(f16{static_cast<uint16_t>(bits)})), value);
    EXPECT_EQUAL(static_cast<double>(widen(f16{static_cast<uint16_t>(bits | 0x8000u)})), -value);
  }
}

TEST("numbers: narrowing rounds to nearest even, and to infinity past the largest") {
  for_floats([](float x) {
    EXPECT(same(widen(narrow_f16(x)), rounded(x, 11, -14, 65504.0)));
    EXPECT(same(widen(narrow_bf16(x)), rounded(x, 8, -126, 0x1.fep127)));
  });
}

// Known answers of Random123 (kat_vectors, philox4x32 with 10 rounds).
TEST("numbers: philox gives the published answers") {
  const auto expect = [](Philox4 counter, uint64_t key, Philox4 answer) {
    const Philox4 found = philox(counter, key);
    for (size_t i = 0; i < 4; ++i) EXPECT_EQUAL(found[i], answer[i]);
  };
  expect({0, 0, 0, 0}, 0, {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u});
  expect({~0u, ~0u, ~0u, ~0u}, ~uint64_t{0}, {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu});
  expect({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, 0x299f31d0a4093822u, {0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u});
}

TEST("numbers: a unit float is in [0, 1), and a dropout of 0 keeps everything") {
  EXPECT_EQUAL(unit_float(0), 0.0f);
  EXPECT_EQUAL(unit_float(~0u), 1.0f - 0x1p-24f);
  EXPECT(dropout_keeps(0, 0.0f));
  EXPECT(!dropout_keeps(0, 0.5f));
  EXPECT(dropout_keeps(0x80000000u, 0.5f));
}
