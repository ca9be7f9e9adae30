// The kernels of one backend. A backend starts from the reference and overwrites what it does better.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/context.h"
#include "kernels/parameter_types.h"

namespace lowrank {

using f32 = float;
using i32 = int32_t;
using u64 = uint64_t;

struct KernelTable {
#define K(name, ...) Status (*name)(Context&, __VA_ARGS__) = nullptr;
#define S(name, ...)                               \
  Status (*name)(Context&, __VA_ARGS__) = nullptr; \
  int64_t (*name##_scratch)(int threads, __VA_ARGS__) = nullptr;
#include "kernels/kernels.def"
#undef K
#undef S
};

struct Backend {
  const char* name;            // "scalar", "avx2", …
  bool (*available)();         // can this machine run it?
  void (*fill)(KernelTable&);  // overwrites the entries it has
};

/// All backends in this binary, the reference first, then in rising order of preference.
const std::vector<Backend>& backends();

/// The table of a backend by name; null when it is unknown or cannot run here.
const KernelTable* kernel_table(const std::string& name);

/// The name of the best backend that can run here.
const char* best_backend();

}  // namespace lowrank
