// The peak that shares are measured against: independent chains of fused multiply-adds that touch registers only.
#include <algorithm>
#include <cstdint>

#include "core/cpu_features.h"
#include "harness.h"

namespace bench {

namespace {

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

volatile float sink;

double flops_of_chains(bool wide) { return 2.0 * (wide ? 16 : 8) * kChains * static_cast<double>(kSteps); }
#endif

}  // namespace

double measure_peak(int threads) {
#if defined(__x86_64__) && defined(__GNUC__)
  const lowrank::CpuFeatures& cpu = lowrank::cpu_features();
  if (!cpu.avx2) return 0;
  double best = 0;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const double begin = now_ns(threads);
    pool_of(threads).run(threads, nullptr, [&](int64_t) { sink = cpu.avx512 ? chains_of_sixteen(1.0f) : chains_of_eight(1.0f); });
    best = std::max(best, flops_of_chains(cpu.avx512) * threads / (now_ns(threads) - begin));
  }
  return best;
#else
  (void)threads;
  return 0;
#endif
}

}  // namespace bench
