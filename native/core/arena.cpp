#include "core/arena.h"

#include <algorithm>
#include <iterator>

namespace lowrank {

int64_t Arena::rounded(int64_t bytes) { return std::max<int64_t>(1, (bytes + kAlignment - 1) / kAlignment) * kAlignment; }

int64_t Arena::take(int64_t bytes) {
  auto best = gaps_.end();
  for (auto gap = gaps_.begin(); gap != gaps_.end(); ++gap)
    if (gap->second >= bytes && (best == gaps_.end() || gap->second < best->second)) best = gap;
  if (best == gaps_.end()) {
    const int64_t offset = end_;
    end_ += bytes;
    most_ = std::max(most_, end_);
    return offset;
  }
  const auto [offset, size] = *best;
  gaps_.erase(best);
  if (size > bytes) gaps_.emplace(offset + bytes, size - bytes);
  return offset;
}

void Arena::give_back(int64_t offset, int64_t bytes) {
  auto gap = gaps_.emplace(offset, bytes).first;
  if (const auto next = std::next(gap); next != gaps_.end() && gap->first + gap->second == next->first) {
    gap->second += next->second;
    gaps_.erase(next);
  }
  if (gap != gaps_.begin()) {
    if (const auto before = std::prev(gap); before->first + before->second == gap->first) {
      before->second += gap->second;
      gaps_.erase(gap);
      gap = before;
    }
  }
  if (gap->first + gap->second == end_) {
    end_ = gap->first;
    gaps_.erase(gap);
  }
}

}  // namespace lowrank
