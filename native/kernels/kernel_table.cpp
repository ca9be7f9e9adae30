#include "kernels/kernel_table.h"

#include <map>

#include "core/cpu_features.h"
#include "kernels/scalar/kernels.h"
#include "kernels/target_region.h"

namespace lowrank {

#if defined(LOWRANK_ARM64)
namespace neon {
void fill_table(KernelTable&);
}
#endif
#if defined(LOWRANK_X86_64)
namespace avx2 {
void fill_table(KernelTable&);
}
namespace avx512 {
void fill_table(KernelTable&);
}
#if defined(LOWRANK_TEST_BACKENDS)
namespace avx512_emulated {
void fill_table(KernelTable&);
}
#endif
#endif

const std::vector<Backend>& backends() {
  static const auto* list = new std::vector<Backend> {
    {"scalar", [] { return true; }, scalar::fill_table},
#if defined(LOWRANK_ARM64)
        {"neon", [] { return true; }, neon::fill_table},
#endif
#if defined(LOWRANK_X86_64)
#if defined(LOWRANK_TEST_BACKENDS)
        {"avx512_emulated", [] { return cpu_features().avx2; }, avx512_emulated::fill_table},
#endif
        {"avx2", [] { return cpu_features().avx2; }, avx2::fill_table},
        {"avx512", [] { return cpu_features().avx512; }, avx512::fill_table},
#endif
  };
  return *list;
}

const KernelTable* kernel_table(const std::string& name) {
  static const auto* tables = [] {
    auto* all = new std::map<std::string, KernelTable>;
    for (const Backend& backend : backends()) {
      if (!backend.available()) continue;
      KernelTable& table = (*all)[backend.name];
      scalar::fill_table(table);
      backend.fill(table);
    }
    return all;
  }();
  const auto found = tables->find(name);
  return found == tables->end() ? nullptr : &found->second;
}

const char* best_backend() {
  const char* best = "scalar";
  for (const Backend& backend : backends())
    if (backend.available()) best = backend.name;
  return best;
}

}  // namespace lowrank
