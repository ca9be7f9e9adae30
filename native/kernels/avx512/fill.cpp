#include "kernels/target_region.h"

#if defined(LOWRANK_X86_64)
// Some compilers warn inside their own AVX-512 header: its "undefined" registers are uninitialised on purpose.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include "kernels/simd/prelude.h"

LOWRANK_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

#include "kernels/avx2/vec.h"
#include "kernels/avx512/vec.h"

namespace lowrank::avx512 {

namespace {
#include "kernels/simd/kernels.inl"
}  // namespace

void fill_table(KernelTable& table) { fill_entries(table); }

}  // namespace lowrank::avx512

LOWRANK_TARGET_END
#endif
