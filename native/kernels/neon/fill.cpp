#include "kernels/target_region.h"

#if defined(LOWRANK_ARM64)
#include <arm_neon.h>

#include "kernels/simd/prelude.h"

// Every AArch64 processor has these instructions: no target region is needed.
#include "kernels/neon/vec.h"

namespace lowrank::neon {

namespace {
#include "kernels/simd/kernels.inl"
}  // namespace

void fill_table(KernelTable& table) { fill_entries(table); }

}  // namespace lowrank::neon
#endif
