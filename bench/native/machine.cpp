// What shares are measured against: independent chains of fused multiply-adds that touch registers only, and loops over memory.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/cpu_features.h"
#include "harness.h"

namespace bench {

namespace {

volatile float sink;
constexpr int64_t kLanes = 4;
using Lanes = float __attribute__((vector_size(16), aligned(4)));

#if defined(__x86_64__) && defined(__GNUC__)
using Eight = float __attribute__((vector_size(32)));
using Sixteen = float __attribute__((vector_size(64)));
constexpr int kChains = 12;
constexpr int64_t kSteps = 1 << 18;

#define BENCH_CHAINS(Type, isa, constraint, name)                                                                                   \
  __attribute__((target(isa), noinline)) float name(float start) {                                                                  \
    Type x = Type{} + 0.5f, y = Type{} + start, a = y, b = y, c = y, d = y, e = y, f = y, g = y, h = y, i = y, j = y, k = y, l = y; \
    for (int64_t step = 0; step < kSteps; ++step) {                                                                                 \
      asm volatile(                                                                                                                 \
          "vfmadd213ps %[y], %[x], %[a]\n vfmadd213ps %[y], %[x], %[b]\n vfmadd213ps %[y], %[x], %[c]\n"                            \
          "vfmadd213ps %[y], %[x], %[d]\n vfmadd213ps %[y], %[x], %[e]\n vfmadd213ps %[y], %[x], %[f]\n"                            \
          "vfmadd213ps %[y], %[x], %[g]\n vfmadd213ps %[y], %[x], %[h]\n vfmadd213ps %[y], %[x], %[i]\n"                            \
          "vfmadd213ps %[y], %[x], %[j]\n vfmadd213ps %[y], %[x], %[k]\n vfmadd213ps %[y], %[x], %[l]\n"                            \
          : [a] "+" constraint(a), [b] "+" constraint(b), [c] "+" constraint(c), [d] "+" constraint(d), [e] "+" constraint(e),      \
            [f] "+" constraint(f), [g] "+" constraint(g), [h] "+" constraint(h), [i] "+" constraint(i), [j] "+" constraint(j),      \
            [k] "+" constraint(k), [l] "+" constraint(l)                                                                            \
          : [x] constraint(x), [y] constraint(y));                                                                                  \
    }                                                                                                                               \
    return (a + b + c + d + e + f + g + h + i + j + k + l)[0];                                                                      \
  }
BENCH_CHAINS(Eight, "avx2,fma", "x", chains_of_eight)
BENCH_CHAINS(Sixteen, "avx512f", "v", chains_of_sixteen)
#undef BENCH_CHAINS

// Wide loads read more from memory than narrow ones: more lines fit into the window of instructions in flight.
#define BENCH_SUM(Type, isa, name)                                                          \
  __attribute__((target(isa), noinline)) float name(const float* first, const float* end) { \
    constexpr int64_t kStep = static_cast<int64_t>(sizeof(Type) / sizeof(float));           \
    Type sums[4] = {};                                                                      \
    for (const float* p = first; p < end; p += 4 * kStep)                                   \
      for (int j = 0; j < 4; ++j) sums[j] += *reinterpret_cast<const Type*>(p + j * kStep); \
    return (sums[0] + sums[1] + sums[2] + sums[3])[0];                                      \
  }
BENCH_SUM(Eight, "avx2", sum_of_eight)
BENCH_SUM(Sixteen, "avx512f", sum_of_sixteen)
#undef BENCH_SUM

double flops_of_chains(bool wide) { return 2.0 * (wide ? 16 : 8) * kChains * static_cast<double>(kSteps); }
#endif

}  // namespace

double measure_peak(int threads) {
#if defined(__x86_64__) && defined(__GNUC__)
  const lowrank::CpuFeatures& cpu = lowrank::cpu_features();
  if (!cpu.avx2) return 0;
  // Several runs of each thread, so that the time to wake the others does not count.
  const int runs = threads == 1 ? 1 : 8;
  double best = 0;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const double begin = now_ns(threads);
    pool_of(threads).run(threads, nullptr, [&](int64_t) {
      for (int run = 0; run < runs; ++run) sink = cpu.avx512 ? chains_of_sixteen(1.0f) : chains_of_eight(1.0f);
    });
    best = std::max(best, flops_of_chains(cpu.avx512) * threads * runs / (now_ns(threads) - begin));
  }
  return best;
#else
  (void)threads;
  return 0;
#endif
}

namespace {

constexpr int64_t kFloats = 1 << 25;  // 128 MiB, more than any cache
constexpr int64_t kPieces = 64;

AlignedVector<float>& memory_of(int which) {
  static AlignedVector<float> memory[2];
  memory[which].resize(kFloats, 1.0f);
  return memory[which];
}

/// The best rate of three runs of body(first, end) over pieces of the memory.
template <class Body>
double best_rate(int threads, double bytes, const Body& body) {
  double best = 0;
  for (int attempt = 0; attempt < 3; ++attempt) {
    const double begin = now_ns(threads);
    pool_of(threads).run(kPieces, nullptr, [&](int64_t i) { body(kFloats / kPieces * i, kFloats / kPieces * (i + 1)); });
    best = std::max(best, bytes / (now_ns(threads) - begin));
  }
  return best;
}

}  // namespace

double measure_read(int threads) {
  const float* from = memory_of(0).data();
#if defined(__x86_64__) && defined(__GNUC__)
  const lowrank::CpuFeatures& cpu = lowrank::cpu_features();
  if (cpu.avx2) {
    return best_rate(threads, 4.0 * kFloats, [&cpu, from](int64_t first, int64_t end) {
      sink = cpu.avx512 ? sum_of_sixteen(from + first, from + end) : sum_of_eight(from + first, from + end);
    });
  }
#endif
  return best_rate(threads, 4.0 * kFloats, [from](int64_t first, int64_t end) {
    Lanes sums[8] = {};
    for (int64_t i = first; i < end; i += 8 * kLanes)
      for (int j = 0; j < 8; ++j) sums[j] += *reinterpret_cast<const Lanes*>(from + i + j * kLanes);
    float total = 0;
    for (const Lanes& sum : sums) total += sum[0];
    sink = total;
  });
}

double measure_copy(int threads) {
  const float* from = memory_of(0).data();
  float* to = memory_of(1).data();
  return best_rate(threads, 8.0 * kFloats, [from, to](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; i += kLanes) *reinterpret_cast<Lanes*>(to + i) = *reinterpret_cast<const Lanes*>(from + i);
  });
}

}  // namespace bench
