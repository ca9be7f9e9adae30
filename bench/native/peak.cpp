// The peak that shares are measured against: independent chains of fused multiply-adds that touch registers only.
#include <algorithm>
#include <chrono>
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

#define BENCH_CHAINS(Type, isa, constraint, name)                                                                                      \
  __attribute__((target(isa), noinline)) float name(float start) {                                                                     \
    Type a[kChains], x = Type{} + 0.5f, y = Type{} + start;                                                                            \
    for (Type& chain : a) chain = y;                                                                                                   \
    for (int64_t i = 0; i < kSteps; ++i) {                                                                                             \
      asm volatile(                                                                                                                    \
          "vfmadd213ps %[y], %[x], %[a0]\n vfmadd213ps %[y], %[x], %[a1]\n vfmadd213ps %[y], %[x], %[a2]\n"                            \
          "vfmadd213ps %[y], %[x], %[a3]\n vfmadd213ps %[y], %[x], %[a4]\n vfmadd213ps %[y], %[x], %[a5]\n"                            \
          "vfmadd213ps %[y], %[x], %[a6]\n vfmadd213ps %[y], %[x], %[a7]\n vfmadd213ps %[y], %[x], %[a8]\n"                            \
          "vfmadd213ps %[y], %[x], %[a9]\n vfmadd213ps %[y], %[x], %[a10]\n vfmadd213ps %[y], %[x], %[a11]\n"                          \
          : [a0] "+" constraint(a[0]), [a1] "+" constraint(a[1]), [a2] "+" constraint(a[2]), [a3] "+" constraint(a[3]),                \
            [a4] "+" constraint(a[4]), [a5] "+" constraint(a[5]), [a6] "+" constraint(a[6]), [a7] "+" constraint(a[7]),                \
            [a8] "+" constraint(a[8]), [a9] "+" constraint(a[9]), [a10] "+" constraint(a[10]), [a11] "+" constraint(a[11])             \
          : [x] constraint(x), [y] constraint(y));                                                                                     \
    }                                                                                                                                  \
    float sum = 0;                                                                                                                     \
    for (const Type& chain : a) sum += chain[0];                                                                                       \
    return sum;                                                                                                                        \
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
    const auto begin = std::chrono::steady_clock::now();
    pool_of(threads).run(threads, nullptr, [&](int64_t) { sink = cpu.avx512 ? chains_of_sixteen(1.0f) : chains_of_eight(1.0f); });
    const double ns = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count();
    best = std::max(best, flops_of_chains(cpu.avx512) * threads / ns);
  }
  return best;
#else
  (void)threads;
  return 0;
#endif
}

}  // namespace bench
