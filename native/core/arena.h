// Where buffers of a recording lie: offsets in one piece of memory, planned while nothing runs. Its high-water mark is the planned peak.
#pragma once
#include <cstdint>
#include <map>

namespace lowrank {

class Arena {
 public:
  static constexpr int64_t kAlignment = 64;

  /// What a buffer of `bytes` takes.
  static int64_t rounded(int64_t bytes);
  /// The offset of `bytes` (rounded) that nobody holds: the smallest gap that fits, else behind everything.
  int64_t take(int64_t bytes);
  void give_back(int64_t offset, int64_t bytes);
  /// What the memory must hold.
  int64_t bytes() const { return most_; }

 private:
  std::map<int64_t, int64_t> gaps_;  // offset -> bytes; no two of them touch, none ends at end_
  int64_t end_ = 0, most_ = 0;
};

}  // namespace lowrank
