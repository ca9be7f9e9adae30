// Sixteen lanes of two AVX2 vectors, with the names of avx2/vec.h: two chains of arithmetic side by side, and the wide kernels of AVX-512
// where tests have no AVX-512.
#include "kernels/avx2/vec.h"

namespace lowrank::avx2_pairs {

constexpr int64_t kHalf = avx2::kWidth, kWidth = 2 * kHalf;

struct Vec {
  avx2::Vec a, b;
};
struct IVec {
  avx2::IVec a, b;
};
struct Mask {
  avx2::Mask a, b;
};

// --- registers ---
LOWRANK_INLINE Vec zero() { return {avx2::zero(), avx2::zero()}; }
LOWRANK_INLINE Vec broadcast(float x) { return {avx2::broadcast(x), avx2::broadcast(x)}; }
LOWRANK_INLINE IVec broadcast_int(uint32_t x) { return {avx2::broadcast_int(x), avx2::broadcast_int(x)}; }
LOWRANK_INLINE IVec iota() { return {avx2::iota(), avx2::add(avx2::iota(), avx2::broadcast_int(kHalf))}; }

// --- memory ---
template <class T>
LOWRANK_INLINE Vec load(const T* p) {
  return {avx2::load(p), avx2::load(p + kHalf)};
}
LOWRANK_INLINE Vec load_nf4(const uint8_t* codes) { return {avx2::load_nf4(codes), avx2::load_nf4(codes + kHalf / 2)}; }
constexpr int kNf4Vecs = 1;
LOWRANK_INLINE Vec nf4_table(float scale) { return broadcast(scale); }
LOWRANK_INLINE void load_nf4_dot(const uint8_t* codes, Vec scale, Vec (&numbers)[kNf4Vecs]) {
  const Vec plain = load_nf4(codes);
  numbers[0] = {avx2::mul(plain.a, scale.a), avx2::mul(plain.b, scale.b)};
}
LOWRANK_INLINE Vec to_nf4_dot(Vec x) { return x; }
LOWRANK_INLINE Vec from_nf4_dot(Vec x) { return x; }
template <class T>
LOWRANK_INLINE Vec load_first(const T* p, int64_t n) {
  return {avx2::load_first(p, n), n > kHalf ? avx2::load_first(p + kHalf, n - kHalf) : avx2::zero()};
}
template <class T>
LOWRANK_INLINE void store(T* p, Vec x) {
  avx2::store(p, x.a);
  avx2::store(p + kHalf, x.b);
}
template <class T>
LOWRANK_INLINE void store_first(T* p, Vec x, int64_t n) {
  avx2::store_first(p, x.a, n);
  if (n > kHalf) avx2::store_first(p + kHalf, x.b, n - kHalf);
}
LOWRANK_INLINE void store_past(float* p, Vec x) {
  avx2::store_past(p, x.a);
  avx2::store_past(p + kHalf, x.b);
}
LOWRANK_INLINE void settle() { avx2::settle(); }
LOWRANK_INLINE void prefetch(const void* p) { avx2::prefetch(p); }
LOWRANK_INLINE void prefetch_far(const void* p) { avx2::prefetch_far(p); }

// --- lane by lane ---
#define LOWRANK_BINARY(Result, Type, name) \
  LOWRANK_INLINE Result name(Type x, Type y) { return {avx2::name(x.a, y.a), avx2::name(x.b, y.b)}; }
#define LOWRANK_TERNARY(name) \
  LOWRANK_INLINE Vec name(Vec x, Vec y, Vec z) { return {avx2::name(x.a, y.a, z.a), avx2::name(x.b, y.b, z.b)}; }
#define LOWRANK_UNARY(Result, Type, name) \
  LOWRANK_INLINE Result name(Type x) { return {avx2::name(x.a), avx2::name(x.b)}; }
#define LOWRANK_SHIFT(name)                          \
  template <int n>                                   \
  LOWRANK_INLINE IVec name(IVec x) {                 \
    return {avx2::name<n>(x.a), avx2::name<n>(x.b)}; \
  }
LOWRANK_BINARY(Vec, Vec, add)
LOWRANK_BINARY(Vec, Vec, sub)
LOWRANK_BINARY(Vec, Vec, mul)
LOWRANK_BINARY(Vec, Vec, div)
LOWRANK_BINARY(Vec, Vec, min)
LOWRANK_BINARY(Vec, Vec, max)
LOWRANK_BINARY(Mask, Vec, less)
LOWRANK_BINARY(Mask, Vec, at_least)
LOWRANK_BINARY(IVec, IVec, add)
LOWRANK_BINARY(IVec, IVec, sub)
LOWRANK_BINARY(IVec, IVec, bit_xor)
LOWRANK_UNARY(Vec, Vec, root)
LOWRANK_UNARY(Vec, Vec, minus_absolute)
LOWRANK_TERNARY(fma)
LOWRANK_TERNARY(fms)
LOWRANK_TERNARY(fnma)
LOWRANK_UNARY(Vec, IVec, to_float)
LOWRANK_UNARY(Vec, IVec, as_float)
LOWRANK_UNARY(IVec, Vec, as_int)
LOWRANK_SHIFT(shift_left)
LOWRANK_SHIFT(shift_right)
#undef LOWRANK_UNARY
#undef LOWRANK_BINARY
#undef LOWRANK_TERNARY
#undef LOWRANK_SHIFT

LOWRANK_INLINE Vec lookup(const float* table, IVec i) { return {avx2::lookup(table, i.a), avx2::lookup(table, i.b)}; }
LOWRANK_INLINE Vec multiplier(float x) { return broadcast(x); }
LOWRANK_INLINE void add_product(Vec& sum, Vec x, Vec b) { sum = fma(x, b, sum); }
LOWRANK_INLINE Vec select(Mask m, Vec yes, Vec no) { return {avx2::select(m.a, yes.a, no.a), avx2::select(m.b, yes.b, no.b)}; }

LOWRANK_INLINE void mul_wide(IVec x, IVec y, IVec& high, IVec& low) {
  avx2::mul_wide(x.a, y.a, high.a, low.a);
  avx2::mul_wide(x.b, y.b, high.b, low.b);
}

// --- across lanes ---
LOWRANK_INLINE float reduce_add(Vec x) { return avx2::reduce_add(avx2::add(x.a, x.b)); }
LOWRANK_INLINE float reduce_max(Vec x) { return avx2::reduce_max(avx2::max(x.a, x.b)); }

LOWRANK_INLINE void transpose(Vec (&r)[kWidth]) {
  avx2::Vec upper_left[kHalf], upper_right[kHalf], lower_left[kHalf], lower_right[kHalf];
  for (int i = 0; i < kHalf; ++i) {
    upper_left[i] = r[i].a, upper_right[i] = r[i].b;
    lower_left[i] = r[i + kHalf].a, lower_right[i] = r[i + kHalf].b;
  }
  avx2::transpose(upper_left);
  avx2::transpose(upper_right);
  avx2::transpose(lower_left);
  avx2::transpose(lower_right);
  for (int i = 0; i < kHalf; ++i) {
    r[i] = {upper_left[i], lower_left[i]};
    r[i + kHalf] = {upper_right[i], lower_right[i]};
  }
}

LOWRANK_INLINE void interleave4(IVec (&w)[4]) {
  avx2::IVec first[4], second[4];
  for (int i = 0; i < 4; ++i) first[i] = w[i].a, second[i] = w[i].b;
  avx2::interleave4(first);
  avx2::interleave4(second);
  w[0] = {first[0], first[1]};
  w[1] = {first[2], first[3]};
  w[2] = {second[0], second[1]};
  w[3] = {second[2], second[3]};
}

}  // namespace lowrank::avx2_pairs

namespace lowrank::avx2 {
namespace wides = avx2_pairs;  // its vectors compute activations
}
