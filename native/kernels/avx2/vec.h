// The vector type of AVX2: eight f32. The algorithms of simd/ are written over these names; every ISA folder defines the same ones.
// `n` of the *_first functions is clamped to [0, kWidth]: lanes from n on are not read (they hold 0) and not written.
namespace lowrank::avx2 {

constexpr int64_t kWidth = 8;

struct Vec {
  __m256 v;
};
struct IVec {  // 32-bit integers
  __m256i v;
};
struct Mask {
  __m256 v;
};

// --- registers ---
LOWRANK_INLINE Vec zero() { return {_mm256_setzero_ps()}; }
LOWRANK_INLINE Vec broadcast(float x) { return {_mm256_set1_ps(x)}; }
LOWRANK_INLINE IVec broadcast_int(uint32_t x) { return {_mm256_set1_epi32(static_cast<int>(x))}; }
LOWRANK_INLINE IVec iota() { return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)}; }

// --- memory ---
LOWRANK_INLINE __m256i lanes_below(int64_t n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), iota().v); }
LOWRANK_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
LOWRANK_INLINE Vec load_first(const float* p, int64_t n) { return {_mm256_maskload_ps(p, lanes_below(n))}; }
LOWRANK_INLINE void store(float* p, Vec x) { _mm256_storeu_ps(p, x.v); }
LOWRANK_INLINE void store_first(float* p, Vec x, int64_t n) { _mm256_maskstore_ps(p, lanes_below(n), x.v); }
/// Past the caches; p is a multiple of a vector's size. Other threads see it after settle().
LOWRANK_INLINE void store_past(float* p, Vec x) { _mm256_stream_ps(p, x.v); }
LOWRANK_INLINE void settle() { _mm_sfence(); }
LOWRANK_INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
LOWRANK_INLINE void prefetch_far(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

LOWRANK_INLINE Vec widen_bits(__m128i h, bf16) { return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16))}; }
LOWRANK_INLINE Vec widen_bits(__m128i h, f16) { return {_mm256_cvtph_ps(h)}; }

LOWRANK_INLINE __m128i narrow_bits(Vec x, f16) {
  // cvtps_ph keeps the payload of a NaN; core/dtype.h writes the quiet NaN 0x7e00 with the sign.
  const __m128i h = _mm256_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT);
  const __m256i unordered = _mm256_castps_si256(_mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q));
  const __m128i nan = _mm_packs_epi32(_mm256_castsi256_si128(unordered), _mm256_extracti128_si256(unordered, 1));
  const __m128i quiet = _mm_or_si128(_mm_and_si128(h, _mm_set1_epi16(static_cast<short>(0x8000))), _mm_set1_epi16(0x7e00));
  return _mm_blendv_epi8(h, quiet, nan);
}

LOWRANK_INLINE __m128i narrow_bits(Vec x, bf16) {
  const __m256i u = _mm256_castps_si256(x.v), upper = _mm256_srli_epi32(u, 16);
  const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd), 16);
  const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q));
  const __m256i word = _mm256_blendv_epi8(rounded, quiet, nan);
  return _mm_packus_epi32(_mm256_castsi256_si128(word), _mm256_extracti128_si256(word, 1));
}

LOWRANK_INLINE Vec load(const int8_t* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
}

/// table[i % 8]
LOWRANK_INLINE Vec lookup(const float* table, IVec i) { return {_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), i.v)}; }

/// The nf4 numbers of kWidth codes, two to a byte, the first in the upper half.
LOWRANK_INLINE Vec load_nf4(const uint8_t* codes) {
  int32_t pairs;
  std::memcpy(&pairs, codes, sizeof pairs);
  const __m256i code = _mm256_srlv_epi32(_mm256_set1_epi32(pairs), _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24));
  const Vec lower = lookup(kNf4Values, {code}), upper = lookup(kNf4Values + 8, {code});
  return {_mm256_blendv_ps(lower.v, upper.v, _mm256_castsi256_ps(_mm256_slli_epi32(code, 28)))};
}

/// A dot takes kNf4Vecs vectors of a block at once, each in an order of its own that is cheap: `load_nf4_dot` gives numbers times their
/// scale, `to_nf4_dot` brings a vector of the other factor into that order, `from_nf4_dot` the sum out of it.
constexpr int kNf4Vecs = 4;
LOWRANK_INLINE Vec nf4_table(float scale) { return broadcast(scale); }

/// A table of sixteen bytes is one shuffle, so each of the four bytes of a number has one. The even elements stand in the lower half:
/// the order is 0, 2, 4, 6, 1, 3, 5, 7.
LOWRANK_INLINE void load_nf4_dot(const uint8_t* codes, Vec scale, Vec (&numbers)[kNf4Vecs]) {
  const __m256i pairs = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
  const __m256i shifts = _mm256_setr_epi32(4, 4, 4, 4, 0, 0, 0, 0);
  const __m256i code = _mm256_and_si256(_mm256_srlv_epi32(pairs, shifts), _mm256_set1_epi8(15));
  __m256i bytes[4];
  LOWRANK_UNROLL(4) for (int i = 0; i < 4; ++i) {
    const __m128i table = _mm_load_si128(reinterpret_cast<const __m128i*>(kNf4Bytes.of[i]));
    bytes[i] = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), code);
  }
  const __m256i low01 = _mm256_unpacklo_epi8(bytes[0], bytes[1]), high01 = _mm256_unpackhi_epi8(bytes[0], bytes[1]);
  const __m256i low23 = _mm256_unpacklo_epi8(bytes[2], bytes[3]), high23 = _mm256_unpackhi_epi8(bytes[2], bytes[3]);
  numbers[0] = {_mm256_mul_ps(_mm256_castsi256_ps(_mm256_unpacklo_epi16(low01, low23)), scale.v)};
  numbers[1] = {_mm256_mul_ps(_mm256_castsi256_ps(_mm256_unpackhi_epi16(low01, low23)), scale.v)};
  numbers[2] = {_mm256_mul_ps(_mm256_castsi256_ps(_mm256_unpacklo_epi16(high01, high23)), scale.v)};
  numbers[3] = {_mm256_mul_ps(_mm256_castsi256_ps(_mm256_unpackhi_epi16(high01, high23)), scale.v)};
}
LOWRANK_INLINE Vec to_nf4_dot(Vec x) { return {_mm256_permutevar8x32_ps(x.v, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7))}; }
LOWRANK_INLINE Vec from_nf4_dot(Vec x) { return {_mm256_permutevar8x32_ps(x.v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))}; }

template <class Half>
LOWRANK_INLINE Vec load(const Half* p) {
  return widen_bits(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), Half{});
}

template <class Half>
LOWRANK_INLINE Vec load_first(const Half* p, int64_t n) {
  alignas(16) Half lanes[kWidth] = {};
  for (int64_t i = 0; i < kWidth && i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}

template <class Half>
LOWRANK_INLINE void store(Half* p, Vec x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow_bits(x, Half{}));
}

template <class Half>
LOWRANK_INLINE void store_first(Half* p, Vec x, int64_t n) {
  alignas(16) Half lanes[kWidth];
  store(lanes, x);
  for (int64_t i = 0; i < kWidth && i < n; ++i) p[i] = lanes[i];
}

// --- arithmetic; min and max give b when either is NaN ---
LOWRANK_INLINE Vec add(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
LOWRANK_INLINE Vec sub(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
LOWRANK_INLINE Vec mul(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
LOWRANK_INLINE Vec div(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
LOWRANK_INLINE Vec root(Vec a) { return {_mm256_sqrt_ps(a.v)}; }
LOWRANK_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }    // ab + c
LOWRANK_INLINE Vec fms(Vec a, Vec b, Vec c) { return {_mm256_fmsub_ps(a.v, b.v, c.v)}; }    // ab - c
LOWRANK_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }  // c - ab
LOWRANK_INLINE Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
LOWRANK_INLINE Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
LOWRANK_INLINE Vec minus_absolute(Vec a) { return {_mm256_or_ps(_mm256_set1_ps(-0.0f), a.v)}; }

/// sum += xb, for the tiles of a product, with a number in the form that multiplies a vector most cheaply; for AVX-512's vectors too. GCC,
/// left to choose which of the three it overwrites, copies and spills sums in a loop that uses every register.
LOWRANK_INLINE Vec multiplier(float x) { return broadcast(x); }
template <class V>
LOWRANK_INLINE void add_product(V& sum, V x, V b) {
#if defined(__GNUC__)
  asm("vfmadd231ps %2, %1, %0" : "+v"(sum.v) : "v"(x.v), "v"(b.v));
#else
  sum = fma(x, b, sum);
#endif
}

// --- comparisons ---
LOWRANK_INLINE Mask less(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
LOWRANK_INLINE Mask at_least(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GE_OQ)}; }
LOWRANK_INLINE Vec select(Mask m, Vec yes, Vec no) { return {_mm256_blendv_ps(no.v, yes.v, m.v)}; }

// --- integers ---
LOWRANK_INLINE Vec to_float(IVec a) { return {_mm256_cvtepi32_ps(a.v)}; }
LOWRANK_INLINE IVec add(IVec a, IVec b) { return {_mm256_add_epi32(a.v, b.v)}; }
LOWRANK_INLINE IVec sub(IVec a, IVec b) { return {_mm256_sub_epi32(a.v, b.v)}; }
LOWRANK_INLINE IVec bit_xor(IVec a, IVec b) { return {_mm256_xor_si256(a.v, b.v)}; }
template <int n>
LOWRANK_INLINE IVec shift_left(IVec a) {
  return {_mm256_slli_epi32(a.v, n)};
}
template <int n>
LOWRANK_INLINE IVec shift_right(IVec a) {  // logical
  return {_mm256_srli_epi32(a.v, n)};
}
LOWRANK_INLINE Vec as_float(IVec a) { return {_mm256_castsi256_ps(a.v)}; }
LOWRANK_INLINE IVec as_int(Vec a) { return {_mm256_castps_si256(a.v)}; }

/// The two halves of the 64-bit products of unsigned lanes.
LOWRANK_INLINE void mul_wide(IVec a, IVec b, IVec& high, IVec& low) {
  const __m256i even = _mm256_mul_epu32(a.v, b.v);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a.v, 32), _mm256_srli_epi64(b.v, 32));
  low = {_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa)};
  high = {_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa)};
}

// --- across lanes ---
LOWRANK_INLINE float reduce_add(Vec a) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

LOWRANK_INLINE float reduce_max(Vec a) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/// r[i] lane j becomes r[j] lane i.
LOWRANK_INLINE void transpose(Vec (&r)[kWidth]) {
  __m256 t[8], u[8];
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i].v, r[2 * i + 1].v);
    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i].v, r[2 * i + 1].v);
  }
  for (int i = 0; i < 2; ++i) {
    u[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
    u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
    u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
    u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    r[i].v = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
    r[i + 4].v = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
  }
}

/// Lane l of w[0..3] becomes elements 4l .. 4l+3 of the sequence w[0], w[1], w[2], w[3].
LOWRANK_INLINE void interleave4(IVec (&w)[4]) {
  const __m256i a = _mm256_unpacklo_epi32(w[0].v, w[1].v), b = _mm256_unpackhi_epi32(w[0].v, w[1].v);
  const __m256i c = _mm256_unpacklo_epi32(w[2].v, w[3].v), d = _mm256_unpackhi_epi32(w[2].v, w[3].v);
  const __m256i e = _mm256_unpacklo_epi64(a, c), f = _mm256_unpackhi_epi64(a, c);
  const __m256i g = _mm256_unpacklo_epi64(b, d), h = _mm256_unpackhi_epi64(b, d);
  w[0].v = _mm256_permute2x128_si256(e, f, 0x20);
  w[1].v = _mm256_permute2x128_si256(g, h, 0x20);
  w[2].v = _mm256_permute2x128_si256(e, f, 0x31);
  w[3].v = _mm256_permute2x128_si256(g, h, 0x31);
}

// --- tiles of C, whose sums stay in registers, and how products are cut for them ---
namespace halves = avx2;                                        // its vectors multiply tiles of few columns
constexpr int kMostRows[] = {6, 6, 6};                          // of a tile that is so many vectors wide; 0: half a vector
constexpr int kTileVecs = 2, kTileRows = kMostRows[kTileVecs];  // of products
constexpr int kWideVecs = 2;                                    // of attention, and of products whose left factor is read in place
constexpr int64_t kBlockK = 256;
constexpr int64_t kStripPanels = 8;         // of packed columns, with 224 rows of A well inside the second cache
constexpr int64_t kCachedFloats = 300'000;  // packed rows; from the third cache they are read faster than C is written again
constexpr int64_t kRowsInPlace = 24;        // of C: up to so many, panels of B are read in place
constexpr int64_t kDepthInPlace = 0;        // of products whose rows of A lie close: these are packed, where B has more than a few columns
constexpr int64_t kLowRank = 4;             // columns of B: for up to so many, vectors lie along K

}  // namespace lowrank::avx2
