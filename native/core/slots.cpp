#include "core/slots.h"

#include <thread>

namespace lowrank {

Slots::Slots(int threads) : free_(count(threads) == kMost ? ~uint64_t{0} : (uint64_t{1} << count(threads)) - 1) {}

int Slots::take() {
  for (;;) {
    uint64_t free = free_.load(std::memory_order_relaxed);
    while (free != 0) {
      const uint64_t lowest = free & (~free + 1);
      if (!free_.compare_exchange_weak(free, free & ~lowest, std::memory_order_acquire)) continue;
      int slot = 0;
      while (lowest >> slot != 1) ++slot;
      return slot;
    }
    std::this_thread::yield();
  }
}

void Slots::give_back(int slot) { free_.fetch_or(uint64_t{1} << slot, std::memory_order_release); }

}  // namespace lowrank
