// Declares every kernel of the reference; a missing one does not link.
#pragma once
#include "kernels/kernel_table.h"

namespace lowrank::scalar {

#define K(name, ...) Status name(Context&, __VA_ARGS__);
#define S(name, ...)                  \
  Status name(Context&, __VA_ARGS__); \
  int64_t name##_scratch(int threads, __VA_ARGS__);
#include "kernels/kernels.def"
#undef K
#undef S

void fill_table(KernelTable& table);

}  // namespace lowrank::scalar
