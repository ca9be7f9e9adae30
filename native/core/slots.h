// Scratch memory for tasks that run at the same time: as many slots as threads, each held by one task at a time. Which slot a task gets
// does not matter to what it computes.
#pragma once
#include <atomic>
#include <cstdint>

namespace lowrank {

class Slots {
 public:
  static constexpr int kMost = 64;

  /// The number of slots for this many threads.
  static int count(int threads) { return threads < kMost ? threads : kMost; }

  explicit Slots(int threads);

  /// A slot that nobody holds; waits for one when more than kMost threads work.
  int take();
  void give_back(int slot);

 private:
  std::atomic<uint64_t> free_;
};

}  // namespace lowrank
