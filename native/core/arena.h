// Where buffers of a recording lie: offsets in one piece of memory, found when all of them are known. What it takes is the planned peak.
#pragma once
#include <cstdint>
#include <vector>

namespace lowrank {

/// A buffer that the commands [from, until) use.
struct Stay {
  int64_t bytes = 0;
  uint64_t from = 0, until = 0;
  int64_t offset = 0;
};

constexpr int64_t kArenaAlignment = 64;

/// What a buffer of `bytes` takes.
int64_t arena_bytes(int64_t bytes);

/// Gives each its offset, the largest first: the smallest gap between those that are in use at the same time. Returns what all take
/// together.
int64_t lay_out(std::vector<Stay>& stays);

}  // namespace lowrank
