#include "kernels/target_region.h"

#if defined(LOWRANK_X86_64) && defined(LOWRANK_TEST_BACKENDS)
#include <immintrin.h>

#include "kernels/simd/prelude.h"

LOWRANK_TARGET_BEGIN("avx2,fma,f16c")

#include "kernels/avx512_emulated/vec.h"

namespace lowrank::avx512_emulated {

namespace {
#include "kernels/simd/kernels.inl"
}  // namespace

void fill_table(KernelTable& table) { fill_entries(table); }

}  // namespace lowrank::avx512_emulated

LOWRANK_TARGET_END
#endif
