#include "core/arena.h"

#include <algorithm>

namespace lowrank {

int64_t arena_bytes(int64_t bytes) { return std::max<int64_t>(1, (bytes + kArenaAlignment - 1) / kArenaAlignment) * kArenaAlignment; }

int64_t lay_out(std::vector<Stay>& stays) {
  std::vector<Stay*> order, placed;  // placed: by offset
  for (Stay& stay : stays)
    if (stay.from < stay.until) order.push_back(&stay);
  std::stable_sort(order.begin(), order.end(), [](const Stay* a, const Stay* b) { return a->bytes > b->bytes; });
  int64_t most = 0;
  for (Stay* stay : order) {
    int64_t end = 0, best = INT64_MAX;
    for (const Stay* other : placed) {
      if (other->until <= stay->from || stay->until <= other->from) continue;
      const int64_t gap = other->offset - end;
      if (gap >= stay->bytes && gap < best) best = gap, stay->offset = end;
      end = std::max(end, other->offset + other->bytes);
    }
    if (best == INT64_MAX) stay->offset = end;
    most = std::max(most, stay->offset + stay->bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), stay, [](const Stay* a, const Stay* b) { return a->offset < b->offset; }),
                  stay);
  }
  return most;
}

}  // namespace lowrank
