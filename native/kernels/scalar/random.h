// Dropout, as the elementwise kernel and the LoRA kernels share it.
#pragma once
#include "core/rng.h"
#include "kernels/scalar/tiles.h"

namespace lowrank::scalar {

/// body(i, word) for the random words of elements first + i, i in [0, count): word e % 4 of philox({e / 4, micro, step, site}, seed).
template <class Body>
void for_each_word(int64_t first, int64_t count, uint64_t seed, uint32_t micro, uint32_t step, uint32_t site, const Body& body) {
  Philox4 words{};
  for (int64_t i = 0; i < count; ++i) {
    const int64_t e = first + i;
    if (i == 0 || e % 4 == 0) words = philox({static_cast<uint32_t>(e / 4), micro, step, site}, seed);
    body(i, words[static_cast<size_t>(e % 4)]);
  }
}

/// y = x * keep / (1 - p); y and x may be the same. A dropped NaN stays NaN.
Status drop(Context& ctx, const View& y, const View& x, const StepRecord& record, float p, uint64_t site);

}  // namespace lowrank::scalar
