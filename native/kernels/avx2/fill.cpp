#include "kernels/target_region.h"

#if defined(LOWRANK_X86_64)
#include <immintrin.h>

#include "kernels/simd/prelude.h"

LOWRANK_TARGET_BEGIN("avx2,fma,f16c")

#include "kernels/avx2/pairs.h"

namespace lowrank::avx2 {

namespace {
#include "kernels/simd/kernels.inl"
}  // namespace

void fill_table(KernelTable& table) { fill_entries(table); }

}  // namespace lowrank::avx2

LOWRANK_TARGET_END
#endif
