#include "core/memory.h"

#include <algorithm>
#include <iterator>
#include <new>

namespace lowrank {

Budget& Budget::shared() {
  static auto* budget = new Budget;  // never destroyed: other threads may outlive static destructors
  return *budget;
}

bool Budget::reserve(int64_t bytes) {
  int64_t now = reserved_.load();
  do {
    if (bytes > limit_.load() - now) return false;
  } while (!reserved_.compare_exchange_weak(now, now + bytes));
  return true;
}

int64_t Pool::capacity_for(int64_t bytes) {
  int64_t step = 64;
  while (step * 16 <= bytes) step *= 2;
  return std::max<int64_t>(64, (bytes + step - 1) / step * step);
}

Block* Pool::reuse(int64_t capacity, uint64_t finished) {
  const auto found = free_.find(capacity);
  if (found == free_.end()) return nullptr;
  std::vector<Block*>& blocks = found->second;
  const auto usable = std::find_if(blocks.rbegin(), blocks.rend(), [&](const Block* block) { return block->used_until <= finished; });
  if (usable == blocks.rend()) return nullptr;
  Block* block = *usable;
  blocks.erase(std::next(usable).base());
  free_bytes_ -= capacity;
  return block;
}

Block* Pool::take(int64_t bytes, uint64_t finished) {
  const int64_t capacity = capacity_for(bytes);
  Block* block = reuse(capacity, finished);
  if (block == nullptr) {
    if (!Budget::shared().reserve(capacity)) return nullptr;
    void* memory = ::operator new(static_cast<size_t>(capacity), std::align_val_t{64}, std::nothrow);
    if (memory == nullptr) {
      Budget::shared().release(capacity);
      return nullptr;
    }
    block = new Block;
    block->data = static_cast<std::byte*>(memory);
    block->bytes = capacity;
    counters_.reserved += capacity;
  }
  ++block->incarnation;
  block->state = false;
  ++counters_.buffers;
  counters_.bytes += bytes;
  counters_.peak = std::max(counters_.peak, counters_.bytes);
  return block;
}

void Pool::give_back(Block* block, int64_t bytes, uint64_t used_until) {
  block->used_until = used_until;
  --counters_.buffers;
  counters_.bytes -= bytes;
  free_bytes_ += block->bytes;
  free_[block->bytes].push_back(block);
}

void Pool::discard(Block* block, int64_t bytes) {
  --counters_.buffers;
  counters_.bytes -= bytes;
  destroy(block);
}

void Pool::destroy(Block* block) {
  ::operator delete(block->data, std::align_val_t{64});
  Budget::shared().release(block->bytes);
  counters_.reserved -= block->bytes;
  delete block;
}

void Pool::trim() {
  for (auto& [capacity, blocks] : free_)
    for (Block* block : blocks) destroy(block);
  free_.clear();
  free_bytes_ = 0;
}

Pool::~Pool() { trim(); }

}  // namespace lowrank
