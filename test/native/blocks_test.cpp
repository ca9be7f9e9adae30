// Blocks, the pool they come from, and the budget of the process.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <thread>

#include "core/memory.h"
#include "expect.h"

using lowrank::Block;
using lowrank::Budget;
using lowrank::Pool;
using lowrank::Use;

namespace {

/// Sets the limit of the process for one test.
struct Limit {
  explicit Limit(int64_t bytes) { Budget::shared().set_limit(bytes); }
  ~Limit() { Budget::shared().set_limit(INT64_MAX); }
};

}  // namespace

TEST(blocks_waste_at_most_an_eighth_or_63_bytes) {
  EXPECT_EQUAL(Pool::capacity_for(0), 64);
  EXPECT_EQUAL(Pool::capacity_for(64), 64);
  for (int64_t bytes = 1; bytes < (int64_t{1} << 40); bytes += 1 + bytes / 37) {
    const int64_t capacity = Pool::capacity_for(bytes);
    EXPECT(capacity >= bytes);
    EXPECT(capacity - bytes <= std::max<int64_t>(63, bytes / 8));
    EXPECT_EQUAL(capacity % 64, 0);
    EXPECT_EQUAL(Pool::capacity_for(capacity), capacity);
  }
}

TEST(blocks_come_back_as_another_incarnation) {
  Pool pool;
  Block* first = pool.take(1000);
  EXPECT_EQUAL(reinterpret_cast<uintptr_t>(first->data) % 64, uintptr_t{0});
  std::memset(first->data, 1, static_cast<size_t>(first->bytes));
  const uint32_t incarnation = first->incarnation;
  pool.give_back(first, 1000, 0);
  Block* again = pool.take(1001, Use::state);
  EXPECT(again == first);
  EXPECT(again->incarnation != incarnation);
  EXPECT(again->state);
  pool.give_back(again, 1001, 0);
  EXPECT(!pool.take(1000)->state);
  pool.give_back(first, 1000, 5);
  Block* other = pool.take(1000, Use::file, 4);
  EXPECT(other != first);
  EXPECT_EQUAL(pool.take(1000, Use::file, 5), first);
  pool.give_back(first, 1000, 0);
  pool.give_back(other, 1000, 0);
}

TEST(blocks_are_counted_exactly) {
  Pool pool;
  Block *a = pool.take(100), *b = pool.take(1000);
  EXPECT_EQUAL(pool.counters().buffers, 2);
  EXPECT_EQUAL(pool.counters().bytes, 1100);
  EXPECT_EQUAL(pool.counters().peak, 1100);
  EXPECT_EQUAL(pool.counters().reserved, a->bytes + b->bytes);
  pool.give_back(b, 1000, 0);
  EXPECT_EQUAL(pool.counters().bytes, 100);
  EXPECT_EQUAL(pool.counters().peak, 1100);
  EXPECT_EQUAL(pool.free_bytes(), Pool::capacity_for(1000));
  pool.reset_peak();
  EXPECT_EQUAL(pool.counters().peak, 100);
  pool.give_back(a, 100, 0);
  EXPECT_EQUAL(pool.counters().buffers, 0);
  pool.trim();
  EXPECT_EQUAL(pool.counters().reserved, 0);
  EXPECT_EQUAL(pool.free_bytes(), 0);
}

TEST(blocks_serve_again_where_up_to_half_as_much_would_do) {
  Pool pool;
  Block *small = pool.take(6400), *large = pool.take(9000);
  pool.give_back(large, 9000, 0), pool.give_back(small, 6400, 0);
  EXPECT_EQUAL(pool.take(6400), small);
  EXPECT_EQUAL(pool.take(6400), large);
  EXPECT_EQUAL(pool.counters().bytes, 2 * 6400);
  EXPECT_EQUAL(pool.counters().reserved, small->bytes + large->bytes);
  pool.give_back(large, 6400, 0), pool.give_back(small, 6400, 0);
  Block *state = pool.take(5000, Use::state), *smaller = pool.take(4000);
  EXPECT(state != small && state != large && smaller != small && smaller != large);
  pool.give_back(state, 5000, 0), pool.give_back(smaller, 4000, 0);
}

TEST(blocks_that_are_free_hold_no_more_than_was_in_use_at_once) {
  Pool pool;
  std::vector<Block*> held;
  for (int64_t bytes = 1000; bytes < 100'000; bytes += 500) {
    // Three at once, of one length after the other, a command each.
    for (int i = 0; i < 3; ++i) held.push_back(pool.take(bytes, Use::passing, static_cast<uint64_t>(bytes)));
    for (Block* block : held) pool.give_back(block, bytes, static_cast<uint64_t>(bytes));
    held.clear();
    EXPECT(pool.counters().reserved <= 2 * 3 * (Pool::capacity_for(bytes) * 3 / 2));
  }
  EXPECT_EQUAL(pool.counters().bytes, 0);
  EXPECT_EQUAL(pool.counters().reserved, pool.free_bytes());
}

TEST(blocks_that_commands_still_use_do_not_go_back_to_the_system) {
  Pool pool;
  for (uint64_t i = 0; i < 10; ++i) pool.give_back(pool.take(1'024'000 >> i, Use::passing, 0), 1'024'000 >> i, i + 1);
  pool.give_back(pool.take(650'000, Use::passing, 0), 650'000, 11);
  const int64_t reserved = pool.counters().reserved;
  EXPECT(reserved > 2'600'000);
  // Of those that are done with, the longest unused go, and no more than must.
  Block* wide = pool.take(1'700'000, Use::passing, 11);
  EXPECT_EQUAL(pool.counters().reserved, reserved - Pool::capacity_for(1'024'000) + wide->bytes);
  EXPECT(pool.counters().reserved <= 2 * wide->bytes);
  pool.give_back(wide, 1'700'000, 12);
}

TEST(blocks_apart_are_exact_and_wait_for_their_last_command) {
  Pool pool;
  const int64_t process = Budget::shared().reserved();
  Block* arena = pool.take_apart(70'000'064);
  EXPECT_EQUAL(arena->bytes, 70'000'064);
  EXPECT_EQUAL(reinterpret_cast<uintptr_t>(arena->data) % 64, uintptr_t{0});
  EXPECT_EQUAL(pool.counters().bytes, 70'000'064);
  EXPECT_EQUAL(pool.counters().peak, 70'000'064);
  EXPECT_EQUAL(pool.counters().reserved, 70'000'064);
  pool.discard(arena, 70'000'064, 7, 6);
  EXPECT_EQUAL(pool.counters().bytes, 0);
  EXPECT_EQUAL(pool.counters().reserved, 70'000'064);
  EXPECT(pool.has_spare());
  pool.collect(6);
  EXPECT_EQUAL(pool.counters().reserved, 70'000'064);
  pool.collect(7);
  EXPECT_EQUAL(pool.counters().reserved, 0);
  EXPECT(!pool.has_spare());
  pool.discard(pool.take_apart(128), 128, 7, 7);
  EXPECT_EQUAL(pool.counters().reserved, 0);
  pool.discard(pool.take_apart(128), 128, 8, 7);
  pool.trim();
  EXPECT_EQUAL(Budget::shared().reserved(), process);
}

#ifdef __linux__
TEST(blocks_that_are_freed_leave_the_process_though_others_stay_between_them) {
  const auto resident = [] {
    int64_t all = 0, pages = 0;
    std::ifstream("/proc/self/statm") >> all >> pages;
    return pages * 4096;  // at least
  };
  constexpr int64_t kBytes = 4 << 20, kPairs = 20;
  Pool pool;
  pool.discard(pool.take_apart(7 * kBytes), 7 * kBytes, 0, 0);  // from here on glibc would keep what is smaller
  const int64_t before = resident();
  std::vector<Block*> staying, going;
  for (int64_t i = 0; i < kPairs; ++i)
    for (auto* blocks : {&staying, &going}) {
      blocks->push_back(pool.take_apart(kBytes));
      std::memset(blocks->back()->data, 1, kBytes);
    }
  EXPECT(resident() - before >= 2 * kPairs * kBytes * 9 / 10);
  for (Block* block : going) pool.discard(block, kBytes, 0, 0);
  EXPECT(resident() - before <= kPairs * kBytes * 11 / 10);
  for (Block* block : staying) pool.discard(block, kBytes, 0, 0);
}
#endif

TEST(blocks_over_the_budget_are_refused_and_nothing_changes) {
  const int64_t before = Budget::shared().reserved();
  {
    const Limit limit(before + 4096);
    Pool pool;
    Block* block = pool.take(4096);
    EXPECT(block != nullptr);
    EXPECT(pool.take(1) == nullptr);
    EXPECT_EQUAL(pool.counters().buffers, 1);
    EXPECT_EQUAL(pool.counters().bytes, 4096);
    EXPECT_EQUAL(Budget::shared().reserved(), before + 4096);
    pool.give_back(block, 4096, 0);
    EXPECT(pool.take(4096) == block);
    pool.give_back(block, 4096, 0);
  }
  EXPECT_EQUAL(Budget::shared().reserved(), before);
}

TEST(blocks_share_one_budget_among_threads_to_the_byte) {
  constexpr int64_t kBlock = 1024, kBlocks = 100;
  const Limit limit(Budget::shared().reserved() + kBlock * kBlocks);
  std::vector<Pool> pools(4);
  std::vector<std::vector<Block*>> blocks(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < pools.size(); ++i)
    threads.emplace_back([&, i] {
      while (Block* block = pools[i].take(kBlock)) blocks[i].push_back(block);
    });
  for (std::thread& thread : threads) thread.join();
  size_t taken = 0;
  for (size_t i = 0; i < pools.size(); ++i) {
    taken += blocks[i].size();
    for (Block* block : blocks[i]) pools[i].give_back(block, kBlock, 0);
  }
  EXPECT_EQUAL(taken, static_cast<size_t>(kBlocks));
}
