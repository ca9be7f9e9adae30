// The vector type of AVX-512 (F, BW, DQ, VL): sixteen f32. The names are those of avx2/vec.h, which explains them.
namespace lowrank::avx512 {

constexpr int64_t kWidth = 16;

struct Vec {
  __m512 v;
};
struct IVec {
  __m512i v;
};
struct Mask {
  __mmask16 m;
};

// --- registers ---
LOWRANK_INLINE Vec zero() { return {_mm512_setzero_ps()}; }
LOWRANK_INLINE Vec broadcast(float x) { return {_mm512_set1_ps(x)}; }
LOWRANK_INLINE IVec broadcast_int(uint32_t x) { return {_mm512_set1_epi32(static_cast<int>(x))}; }
LOWRANK_INLINE IVec iota() { return {_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)}; }

// --- memory ---
LOWRANK_INLINE __mmask16 lanes_below(int64_t n) { return static_cast<__mmask16>(n >= kWidth ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1u); }
LOWRANK_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
LOWRANK_INLINE Vec load_first(const float* p, int64_t n) { return {_mm512_maskz_loadu_ps(lanes_below(n), p)}; }
LOWRANK_INLINE void store(float* p, Vec x) { _mm512_storeu_ps(p, x.v); }
LOWRANK_INLINE void store_first(float* p, Vec x, int64_t n) { _mm512_mask_storeu_ps(p, lanes_below(n), x.v); }
LOWRANK_INLINE void store_past(float* p, Vec x) { _mm512_stream_ps(p, x.v); }
LOWRANK_INLINE void settle() { _mm_sfence(); }
LOWRANK_INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
LOWRANK_INLINE void prefetch_far(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

LOWRANK_INLINE Vec widen_bits(__m256i h, bf16) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16))}; }
LOWRANK_INLINE Vec widen_bits(__m256i h, f16) { return {_mm512_cvtph_ps(h)}; }

LOWRANK_INLINE __m256i narrow_bits(Vec x, f16) {
  const __m256i h = _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT);
  const __m256i quiet = _mm256_or_si256(_mm256_and_si256(h, _mm256_set1_epi16(static_cast<short>(0x8000))), _mm256_set1_epi16(0x7e00));
  return _mm256_mask_blend_epi16(_mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q), h, quiet);
}

LOWRANK_INLINE __m256i narrow_bits(Vec x, bf16) {
  const __m512i u = _mm512_castps_si512(x.v), upper = _mm512_srli_epi32(u, 16);
  const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd), 16);
  const __m512i quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
  return _mm512_cvtepi32_epi16(_mm512_mask_blend_epi32(_mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q), rounded, quiet));
}

LOWRANK_INLINE Vec load(const int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
LOWRANK_INLINE Vec load_first(const int8_t* p, int64_t n) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes_below(n), p)))};
}

LOWRANK_INLINE Vec load_nf4(const uint8_t* codes) {
  const __m512i bytes = _mm512_castsi128_si512(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes)));
  const __m512i halves = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1), bytes);
  const __m512i shifts = _mm512_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24, 4, 0, 12, 8, 20, 16, 28, 24);
  return {_mm512_permutexvar_ps(_mm512_srlv_epi32(halves, shifts), _mm512_loadu_ps(kNf4Values))};
}

constexpr int kNf4Vecs = 1;
LOWRANK_INLINE Vec nf4_table(float scale) { return {_mm512_mul_ps(_mm512_loadu_ps(kNf4Values), _mm512_set1_ps(scale))}; }
/// The order is 0, 8, 1, 9, ..., 7, 15: these codes are 32 bits apart, so that one shift of 64 bits brings both into place.
LOWRANK_INLINE void load_nf4_dot(const uint8_t* codes, Vec table, Vec (&numbers)[kNf4Vecs]) {
  int64_t all;
  std::memcpy(&all, codes, sizeof all);
  const __m512i shifted = _mm512_srlv_epi64(_mm512_set1_epi64(all), _mm512_setr_epi64(4, 0, 12, 8, 20, 16, 28, 24));
  numbers[0] = {_mm512_permutexvar_ps(shifted, table.v)};
}
LOWRANK_INLINE Vec to_nf4_dot(Vec x) {
  return {_mm512_permutexvar_ps(_mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15), x.v)};
}
LOWRANK_INLINE Vec from_nf4_dot(Vec x) {
  return {_mm512_permutexvar_ps(_mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15), x.v)};
}

template <class Half>
LOWRANK_INLINE Vec load(const Half* p) {
  return widen_bits(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), Half{});
}

template <class Half>
LOWRANK_INLINE Vec load_first(const Half* p, int64_t n) {
  return widen_bits(_mm256_maskz_loadu_epi16(lanes_below(n), p), Half{});
}

template <class Half>
LOWRANK_INLINE void store(Half* p, Vec x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow_bits(x, Half{}));
}

template <class Half>
LOWRANK_INLINE void store_first(Half* p, Vec x, int64_t n) {
  _mm256_mask_storeu_epi16(p, lanes_below(n), narrow_bits(x, Half{}));
}

// --- arithmetic; min and max give b when either is NaN ---
LOWRANK_INLINE Vec add(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
LOWRANK_INLINE Vec sub(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
LOWRANK_INLINE Vec mul(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
LOWRANK_INLINE Vec div(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
LOWRANK_INLINE Vec root(Vec a) { return {_mm512_sqrt_ps(a.v)}; }
LOWRANK_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
LOWRANK_INLINE Vec fms(Vec a, Vec b, Vec c) { return {_mm512_fmsub_ps(a.v, b.v, c.v)}; }
LOWRANK_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
LOWRANK_INLINE Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
LOWRANK_INLINE Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
LOWRANK_INLINE Vec minus_absolute(Vec a) { return {_mm512_or_ps(_mm512_set1_ps(-0.0f), a.v)}; }

LOWRANK_INLINE Vec multiplier(float x) { return broadcast(x); }
using avx2::add_product;

// --- comparisons ---
LOWRANK_INLINE Mask less(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
LOWRANK_INLINE Mask at_least(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
LOWRANK_INLINE Vec select(Mask m, Vec yes, Vec no) { return {_mm512_mask_blend_ps(m.m, no.v, yes.v)}; }

// --- integers ---
LOWRANK_INLINE Vec to_float(IVec a) { return {_mm512_cvtepi32_ps(a.v)}; }
LOWRANK_INLINE IVec add(IVec a, IVec b) { return {_mm512_add_epi32(a.v, b.v)}; }
LOWRANK_INLINE IVec sub(IVec a, IVec b) { return {_mm512_sub_epi32(a.v, b.v)}; }
LOWRANK_INLINE IVec bit_xor(IVec a, IVec b) { return {_mm512_xor_si512(a.v, b.v)}; }
template <int n>
LOWRANK_INLINE IVec shift_left(IVec a) {
  return {_mm512_slli_epi32(a.v, n)};
}
template <int n>
LOWRANK_INLINE IVec shift_right(IVec a) {
  return {_mm512_srli_epi32(a.v, n)};
}
LOWRANK_INLINE Vec as_float(IVec a) { return {_mm512_castsi512_ps(a.v)}; }
LOWRANK_INLINE IVec as_int(Vec a) { return {_mm512_castps_si512(a.v)}; }
LOWRANK_INLINE Vec lookup(const float* table, IVec i) {
  return {_mm512_permutexvar_ps(i.v, _mm512_broadcast_f32x8(_mm256_loadu_ps(table)))};
}

LOWRANK_INLINE void mul_wide(IVec a, IVec b, IVec& high, IVec& low) {
  const __m512i even = _mm512_mul_epu32(a.v, b.v);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a.v, 32), _mm512_srli_epi64(b.v, 32));
  low = {_mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32))};
  high = {_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd)};
}

// --- across lanes ---
LOWRANK_INLINE __m256 upper_half(Vec a) { return _mm512_extractf32x8_ps(a.v, 1); }

LOWRANK_INLINE float reduce_add(Vec a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), upper_half(a));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/// The sums of four vectors.
LOWRANK_INLINE void reduce_add(const Vec (&x)[4], float (&sums)[4]) {
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(x[0].v, x[1].v), _mm512_unpackhi_ps(x[0].v, x[1].v));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(x[2].v, x[3].v), _mm512_unpackhi_ps(x[2].v, x[3].v));
  const Vec all{_mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee))};
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(all.v), upper_half(all));
  _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1)));
}

LOWRANK_INLINE float reduce_max(Vec a) {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a.v), upper_half(a));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

LOWRANK_INLINE __m512 low_pairs(__m512 a, __m512 b) { return _mm512_unpacklo_ps(a, b); }
LOWRANK_INLINE __m512 high_pairs(__m512 a, __m512 b) { return _mm512_unpackhi_ps(a, b); }

LOWRANK_INLINE void transpose(Vec (&r)[kWidth]) {
  __m512 t[16], u[16];
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = low_pairs(r[2 * i].v, r[2 * i + 1].v);
    t[2 * i + 1] = high_pairs(r[2 * i].v, r[2 * i + 1].v);
  }
  // u[4g + j]: in each quarter q, column 4q + j of the rows 4g .. 4g+3.
  for (int g = 0; g < 4; ++g) {
    u[4 * g] = _mm512_shuffle_ps(t[4 * g], t[4 * g + 2], 0x44);
    u[4 * g + 1] = _mm512_shuffle_ps(t[4 * g], t[4 * g + 2], 0xee);
    u[4 * g + 2] = _mm512_shuffle_ps(t[4 * g + 1], t[4 * g + 3], 0x44);
    u[4 * g + 3] = _mm512_shuffle_ps(t[4 * g + 1], t[4 * g + 3], 0xee);
  }
  for (int j = 0; j < 4; ++j) {
    const __m512 even01 = _mm512_shuffle_f32x4(u[j], u[j + 4], 0x88), odd01 = _mm512_shuffle_f32x4(u[j], u[j + 4], 0xdd);
    const __m512 even23 = _mm512_shuffle_f32x4(u[j + 8], u[j + 12], 0x88);
    const __m512 odd23 = _mm512_shuffle_f32x4(u[j + 8], u[j + 12], 0xdd);
    r[j].v = _mm512_shuffle_f32x4(even01, even23, 0x88);
    r[j + 4].v = _mm512_shuffle_f32x4(odd01, odd23, 0x88);
    r[j + 8].v = _mm512_shuffle_f32x4(even01, even23, 0xdd);
    r[j + 12].v = _mm512_shuffle_f32x4(odd01, odd23, 0xdd);
  }
}

LOWRANK_INLINE void interleave4(IVec (&w)[4]) {
  const __m512 w0 = _mm512_castsi512_ps(w[0].v), w1 = _mm512_castsi512_ps(w[1].v);
  const __m512 w2 = _mm512_castsi512_ps(w[2].v), w3 = _mm512_castsi512_ps(w[3].v);
  const __m512 a = low_pairs(w0, w1), b = high_pairs(w0, w1), c = low_pairs(w2, w3), d = high_pairs(w2, w3);
  // q[j]: quarter q holds lane 4q + j of all four words.
  const __m512 q0 = _mm512_shuffle_ps(a, c, 0x44), q1 = _mm512_shuffle_ps(a, c, 0xee);
  const __m512 q2 = _mm512_shuffle_ps(b, d, 0x44), q3 = _mm512_shuffle_ps(b, d, 0xee);
  const __m512 even01 = _mm512_shuffle_f32x4(q0, q1, 0x88), odd01 = _mm512_shuffle_f32x4(q0, q1, 0xdd);
  const __m512 even23 = _mm512_shuffle_f32x4(q2, q3, 0x88), odd23 = _mm512_shuffle_f32x4(q2, q3, 0xdd);
  w[0].v = _mm512_castps_si512(_mm512_shuffle_f32x4(even01, even23, 0x88));
  w[1].v = _mm512_castps_si512(_mm512_shuffle_f32x4(odd01, odd23, 0x88));
  w[2].v = _mm512_castps_si512(_mm512_shuffle_f32x4(even01, even23, 0xdd));
  w[3].v = _mm512_castps_si512(_mm512_shuffle_f32x4(odd01, odd23, 0xdd));
}

namespace wides = avx512;  // its vectors compute activations

// --- tiles of C, whose sums stay in registers, and how products are cut for them ---
namespace halves = avx2;                                        // its vectors multiply tiles of few columns
constexpr int kMostRows[] = {14, 14, 14, 8, 6};                 // of a tile that is so many vectors wide; 0: half a vector
constexpr int kTileVecs = 2, kTileRows = kMostRows[kTileVecs];  // of products
constexpr int kWideVecs = 4;                                    // of attention, and of products whose left factor is read in place
constexpr int64_t kBlockK = 512;
constexpr int64_t kStripPanels = 8;         // of packed columns, with the rows that meet them well inside the second cache
constexpr int64_t kCachedFloats = 300'000;  // packed rows that stay in the second cache
constexpr int64_t kRowsInPlace = 1024;      // of C: up to so many, panels of B that lie close are read in place
constexpr int64_t kDepthInPlace = 1024;     // of products whose rows of A lie close: up to so much of K, they are read in place
constexpr int64_t kLowRank = 16;            // columns of B: for up to so many, vectors lie along K

}  // namespace lowrank::avx512
