#include "core/memory.h"

#include <algorithm>
#include <iterator>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace lowrank {

namespace {

#ifdef __linux__
/// From so many bytes on, memory is mapped, so that it goes back when it is freed: glibc keeps freed blocks of up to 32 MB.
constexpr int64_t kMapped = 1 << 20;
#endif

std::byte* take_from_system(int64_t bytes) {
#ifdef __linux__
  if (bytes >= kMapped) {
    void* memory = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? nullptr : static_cast<std::byte*>(memory);
  }
#endif
  return static_cast<std::byte*>(::operator new(static_cast<size_t>(bytes), std::align_val_t{64}, std::nothrow));
}

void return_to_system(const Block& block) {
#ifdef __linux__
  if (block.bytes >= kMapped) {
    munmap(block.data, static_cast<size_t>(block.bytes));
    return;
  }
#endif
  ::operator delete(block.data, std::align_val_t{64});
}

}  // namespace

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

Block* Pool::reuse(int64_t capacity, Use use, uint64_t finished) {
  const int64_t largest = use == Use::passing ? capacity + capacity / 2 : capacity;  // state stays long: what it wastes is gone
  for (auto found = free_.lower_bound(capacity); found != free_.end() && found->first <= largest; ++found) {
    std::deque<Block*>& blocks = found->second;
    const auto usable = use == Use::file
                            ? std::find_if(blocks.rbegin(), blocks.rend(), [&](const Block* b) { return b->used_until <= finished; })
                            : blocks.rbegin();
    if (usable == blocks.rend()) continue;
    Block* block = *usable;
    blocks.erase(std::next(usable).base());
    if (blocks.empty()) free_.erase(found);
    free_bytes_ -= block->bytes;
    return block;
  }
  return nullptr;
}

Block* Pool::from_system(int64_t capacity) {
  if (!Budget::shared().reserve(capacity)) return nullptr;
  std::byte* memory = take_from_system(capacity);
  if (memory == nullptr) {
    Budget::shared().release(capacity);
    return nullptr;
  }
  auto* block = new Block;
  block->data = memory;
  block->bytes = capacity;
  counters_.reserved += capacity;
  return block;
}

Block* Pool::handed_out(Block* block, int64_t bytes) {
  ++block->incarnation;
  ++counters_.buffers;
  counters_.bytes += bytes;
  counters_.peak = std::max(counters_.peak, counters_.bytes);
  return block;
}

Block* Pool::take(int64_t bytes, Use use, uint64_t finished) {
  const int64_t capacity = capacity_for(bytes);
  Block* block = reuse(capacity, use, finished);
  if (block == nullptr) {
    make_room(use == Use::passing ? capacity : 0, finished);
    block = from_system(capacity);
    if (block == nullptr) return nullptr;
  }
  block->state = use != Use::passing;
  if (!block->state) passing_ += block->bytes;
  most_passing_ = std::max(most_passing_, passing_);
  return handed_out(block, bytes);
}

void Pool::make_room(int64_t capacity, uint64_t finished) {
  const int64_t allowed = 2 * std::max(most_passing_, passing_ + capacity);
  while (passing_ + capacity + free_bytes_ > allowed) {
    const auto oldest = std::min_element(free_.begin(), free_.end(), [](const auto& a, const auto& b) {
      return a.second.front()->used_until < b.second.front()->used_until;
    });
    if (oldest == free_.end() || oldest->second.front()->used_until > finished) return;
    free_bytes_ -= oldest->first;
    destroy(oldest->second.front());
    oldest->second.pop_front();
    if (oldest->second.empty()) free_.erase(oldest);
  }
}

void Pool::give_back(Block* block, int64_t bytes, uint64_t used_until) {
  block->used_until = used_until;
  --counters_.buffers;
  counters_.bytes -= bytes;
  if (!block->state) passing_ -= block->bytes;
  free_bytes_ += block->bytes;
  free_[block->bytes].push_back(block);
}

Block* Pool::take_apart(int64_t bytes) {
  Block* block = from_system(bytes);
  return block == nullptr ? nullptr : handed_out(block, bytes);
}

void Pool::discard(Block* block, int64_t bytes, uint64_t used_until, uint64_t finished) {
  --counters_.buffers;
  counters_.bytes -= bytes;
  block->used_until = used_until;
  discarded_.push_back(block);
  collect(finished);
}

void Pool::collect(uint64_t finished) {
  for (size_t i = discarded_.size(); i-- > 0;) {
    if (discarded_[i]->used_until > finished) continue;
    destroy(discarded_[i]);
    discarded_.erase(discarded_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void Pool::destroy(Block* block) {
  return_to_system(*block);
  Budget::shared().release(block->bytes);
  counters_.reserved -= block->bytes;
  delete block;
}

void Pool::trim() {
  for (auto& [capacity, blocks] : free_)
    for (Block* block : blocks) destroy(block);
  free_.clear();
  free_bytes_ = 0;
  collect(UINT64_MAX);
}

Pool::~Pool() { trim(); }

}  // namespace lowrank
