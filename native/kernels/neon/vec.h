// The vector type of NEON (AArch64): four f32, with the names of avx2/vec.h.
// `n` of the *_first functions is clamped to [0, kWidth]: lanes from n on are not read (they hold 0) and not written.
namespace lowrank::neon {

constexpr int64_t kWidth = 4;

struct Vec {
  float32x4_t v;
};
struct IVec {  // 32-bit integers
  uint32x4_t v;
};
struct Mask {
  uint32x4_t v;
};

// --- registers ---
LOWRANK_INLINE Vec zero() { return {vdupq_n_f32(0)}; }
LOWRANK_INLINE Vec broadcast(float x) { return {vdupq_n_f32(x)}; }
LOWRANK_INLINE IVec broadcast_int(uint32_t x) { return {vdupq_n_u32(x)}; }
LOWRANK_INLINE IVec iota() {
  constexpr uint32_t lanes[kWidth] = {0, 1, 2, 3};
  return {vld1q_u32(lanes)};
}

// --- memory ---
LOWRANK_INLINE void prefetch(const void* p) { __builtin_prefetch(p); }
LOWRANK_INLINE void prefetch_far(const void* p) { __builtin_prefetch(p, 0, 2); }

LOWRANK_INLINE Vec widen_bits(uint16x4_t h, bf16) { return {vreinterpretq_f32_u32(vshll_n_u16(h, 16))}; }
LOWRANK_INLINE Vec widen_bits(uint16x4_t h, f16) { return {vcvt_f32_f16(vreinterpret_f16_u16(h))}; }

LOWRANK_INLINE uint16x4_t narrow_bits(Vec x, f16) {
  // The conversion keeps the payload of a NaN; core/dtype.h writes the quiet NaN 0x7e00 with the sign.
  const uint16x4_t h = vreinterpret_u16_f16(vcvt_f16_f32(x.v)), ordered = vmovn_u32(vceqq_f32(x.v, x.v));
  const uint16x4_t quiet = vorr_u16(vand_u16(h, vdup_n_u16(0x8000)), vdup_n_u16(0x7e00));
  return vbsl_u16(ordered, h, quiet);
}

LOWRANK_INLINE uint16x4_t narrow_bits(Vec x, bf16) {
  const uint32x4_t u = vreinterpretq_u32_f32(x.v), upper = vshrq_n_u32(u, 16);
  const uint32x4_t odd = vandq_u32(upper, vdupq_n_u32(1));
  const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(vaddq_u32(u, vdupq_n_u32(0x7fff)), odd), 16);
  const uint32x4_t quiet = vorrq_u32(upper, vdupq_n_u32(0x40));
  return vmovn_u32(vbslq_u32(vceqq_f32(x.v, x.v), rounded, quiet));
}

LOWRANK_INLINE Vec load(const float* p) { return {vld1q_f32(p)}; }
LOWRANK_INLINE void store(float* p, Vec x) { vst1q_f32(p, x.v); }
LOWRANK_INLINE void store_past(float* p, Vec x) { store(p, x); }  // no such instruction is used here
LOWRANK_INLINE void settle() {}

LOWRANK_INLINE Vec load(const int8_t* p) {
  int32_t four;
  std::memcpy(&four, p, sizeof four);
  const int8x8_t bytes = vreinterpret_s8_s32(vdup_n_s32(four));
  return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))))};
}

/// The bytes 4 i to 4 i + 3 of a table of floats.
LOWRANK_INLINE uint8x16_t bytes_of(uint32x4_t i) { return vreinterpretq_u8_u32(vmlaq_n_u32(vdupq_n_u32(0x03020100), i, 0x04040404)); }

LOWRANK_INLINE Vec lookup(const float* table, IVec i) {
  const uint8x16x2_t all = vld1q_u8_x2(reinterpret_cast<const uint8_t*>(table));
  return {vreinterpretq_f32_u8(vqtbl2q_u8(all, bytes_of(vandq_u32(i.v, vdupq_n_u32(7)))))};
}

LOWRANK_INLINE Vec load_nf4(const uint8_t* codes) {
  uint16_t pairs;
  std::memcpy(&pairs, codes, sizeof pairs);
  const int32_t shifts[kWidth] = {-4, 0, -12, -8};
  const uint32x4_t code = vandq_u32(vshlq_u32(vdupq_n_u32(pairs), vld1q_s32(shifts)), vdupq_n_u32(15));
  return {vreinterpretq_f32_u8(vqtbl4q_u8(vld1q_u8_x4(reinterpret_cast<const uint8_t*>(kNf4Values)), bytes_of(code)))};
}

constexpr int kNf4Vecs = 1;
LOWRANK_INLINE Vec nf4_table(float scale) { return broadcast(scale); }
LOWRANK_INLINE void load_nf4_dot(const uint8_t* codes, Vec scale, Vec (&numbers)[kNf4Vecs]) {
  numbers[0] = {vmulq_f32(load_nf4(codes).v, scale.v)};
}
LOWRANK_INLINE Vec to_nf4_dot(Vec x) { return x; }
LOWRANK_INLINE Vec from_nf4_dot(Vec x) { return x; }

template <class Half>
LOWRANK_INLINE Vec load(const Half* p) {
  return widen_bits(vld1_u16(reinterpret_cast<const uint16_t*>(p)), Half{});
}

template <class Half>
LOWRANK_INLINE void store(Half* p, Vec x) {
  vst1_u16(reinterpret_cast<uint16_t*>(p), narrow_bits(x, Half{}));
}

template <class T>
LOWRANK_INLINE Vec load_first(const T* p, int64_t n) {
  if (n >= kWidth) return load(p);
  T lanes[kWidth] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}

template <class T>
LOWRANK_INLINE void store_first(T* p, Vec x, int64_t n) {
  if (n >= kWidth) return store(p, x);
  T lanes[kWidth];
  store(lanes, x);
  for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}

// --- comparisons ---
LOWRANK_INLINE Mask less(Vec a, Vec b) { return {vcltq_f32(a.v, b.v)}; }
LOWRANK_INLINE Mask at_least(Vec a, Vec b) { return {vcgeq_f32(a.v, b.v)}; }
LOWRANK_INLINE Vec select(Mask m, Vec yes, Vec no) { return {vbslq_f32(m.v, yes.v, no.v)}; }

// --- arithmetic; min and max give b when either is NaN ---
LOWRANK_INLINE Vec add(Vec a, Vec b) { return {vaddq_f32(a.v, b.v)}; }
LOWRANK_INLINE Vec sub(Vec a, Vec b) { return {vsubq_f32(a.v, b.v)}; }
LOWRANK_INLINE Vec mul(Vec a, Vec b) { return {vmulq_f32(a.v, b.v)}; }
LOWRANK_INLINE Vec div(Vec a, Vec b) { return {vdivq_f32(a.v, b.v)}; }
LOWRANK_INLINE Vec root(Vec a) { return {vsqrtq_f32(a.v)}; }
LOWRANK_INLINE Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }             // ab + c
LOWRANK_INLINE Vec fms(Vec a, Vec b, Vec c) { return {vfmaq_f32(vnegq_f32(c.v), a.v, b.v)}; }  // ab - c
LOWRANK_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {vfmsq_f32(c.v, a.v, b.v)}; }            // c - ab
LOWRANK_INLINE Vec min(Vec a, Vec b) { return select(less(a, b), a, b); }
LOWRANK_INLINE Vec max(Vec a, Vec b) { return select(less(b, a), a, b); }
LOWRANK_INLINE Vec minus_absolute(Vec a) { return {vnegq_f32(vabsq_f32(a.v))}; }

/// sum += xb, for the tiles of a product, with a number in the form that multiplies a vector most cheaply. GCC, left to choose, copies and
/// spills sums in a loop that uses nearly every register.
LOWRANK_INLINE float multiplier(float x) { return x; }
#if defined(__GNUC__)
LOWRANK_INLINE void add_product(Vec& sum, float x, Vec b) { asm volatile("fmla %0.4s, %1.4s, %2.s[0]" : "+w"(sum.v) : "w"(b.v), "w"(x)); }
#else
LOWRANK_INLINE void add_product(Vec& sum, float x, Vec b) { sum = fma(broadcast(x), b, sum); }
#endif

// --- integers ---
LOWRANK_INLINE Vec to_float(IVec a) { return {vcvtq_f32_s32(vreinterpretq_s32_u32(a.v))}; }
LOWRANK_INLINE IVec add(IVec a, IVec b) { return {vaddq_u32(a.v, b.v)}; }
LOWRANK_INLINE IVec sub(IVec a, IVec b) { return {vsubq_u32(a.v, b.v)}; }
LOWRANK_INLINE IVec bit_xor(IVec a, IVec b) { return {veorq_u32(a.v, b.v)}; }
template <int n>
LOWRANK_INLINE IVec shift_left(IVec a) {
  return {vshlq_n_u32(a.v, n)};
}
template <int n>
LOWRANK_INLINE IVec shift_right(IVec a) {  // logical
  return {vshrq_n_u32(a.v, n)};
}
LOWRANK_INLINE Vec as_float(IVec a) { return {vreinterpretq_f32_u32(a.v)}; }
LOWRANK_INLINE IVec as_int(Vec a) { return {vreinterpretq_u32_f32(a.v)}; }

/// The two halves of the 64-bit products of unsigned lanes.
LOWRANK_INLINE void mul_wide(IVec a, IVec b, IVec& high, IVec& low) {
  const uint32x4_t first = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(a.v), vget_low_u32(b.v)));
  const uint32x4_t second = vreinterpretq_u32_u64(vmull_high_u32(a.v, b.v));
  low = {vuzp1q_u32(first, second)};
  high = {vuzp2q_u32(first, second)};
}

// --- across lanes ---
LOWRANK_INLINE float reduce_add(Vec a) {
  const float32x2_t two = vadd_f32(vget_low_f32(a.v), vget_high_f32(a.v));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

LOWRANK_INLINE float reduce_max(Vec a) {
  const Vec two = max(a, {vextq_f32(a.v, a.v, 2)}), one = max(two, {vextq_f32(two.v, two.v, 1)});
  return vgetq_lane_f32(one.v, 0);
}

/// r[i] lane j becomes r[j] lane i.
LOWRANK_INLINE void transpose(Vec (&r)[kWidth]) {
  const float32x4_t a = vzip1q_f32(r[0].v, r[2].v), b = vzip2q_f32(r[0].v, r[2].v);
  const float32x4_t c = vzip1q_f32(r[1].v, r[3].v), d = vzip2q_f32(r[1].v, r[3].v);
  r[0].v = vzip1q_f32(a, c);
  r[1].v = vzip2q_f32(a, c);
  r[2].v = vzip1q_f32(b, d);
  r[3].v = vzip2q_f32(b, d);
}

/// Lane l of w[0..3] becomes elements 4l .. 4l+3 of the sequence w[0], w[1], w[2], w[3].
LOWRANK_INLINE void interleave4(IVec (&w)[4]) {
  Vec rows[kWidth] = {as_float(w[0]), as_float(w[1]), as_float(w[2]), as_float(w[3])};
  transpose(rows);
  for (int i = 0; i < 4; ++i) w[i].v = vreinterpretq_u32_f32(rows[i].v);
}

namespace wides = neon;  // its vectors compute activations

// --- tiles of C, whose sums stay in registers, and how products are cut for them ---
namespace halves = neon;                                        // its vectors multiply tiles of few columns
constexpr int kMostRows[] = {12, 12, 12};                       // of a tile that is so many vectors wide; 0: half a vector
constexpr int kTileVecs = 2, kTileRows = kMostRows[kTileVecs];  // of products
constexpr int kWideVecs = 2;                                    // of attention, and of products whose left factor is read in place
constexpr int64_t kBlockK = 256;
constexpr int64_t kStripPanels = 8;        // of packed columns, with 224 rows of A well inside the second cache
constexpr int64_t kCachedFloats = 75'000;  // packed rows that stay in the second cache
constexpr int64_t kRowsInPlace = 24;       // of C: up to so many, panels of B are read in place
constexpr int64_t kDepthInPlace = 0;       // of products whose rows of A lie close: these are packed, where B has more than a few columns
constexpr int64_t kLowRank = 2;            // columns of B: for up to so many, vectors lie along K

}  // namespace lowrank::neon
