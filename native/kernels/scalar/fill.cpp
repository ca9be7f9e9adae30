#include "kernels/scalar/kernels.h"

namespace lowrank::scalar {

void fill_table(KernelTable& table) {
#define K(name, ...) table.name = name;
#define S(name, ...) \
  table.name = name; \
  table.name##_scratch = name##_scratch;
#include "kernels/kernels.def"
#undef K
#undef S
}

}  // namespace lowrank::scalar
