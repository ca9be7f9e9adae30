// Where a recording puts its buffers: never two in one place, gaps used again.
#include "core/arena.h"

#include <random>
#include <utility>
#include <vector>

#include "expect.h"

using lowrank::Arena;

TEST(arena_rounds_to_its_alignment) {
  for (int64_t bytes : {0, 1, 63, 64}) EXPECT_EQUAL(Arena::rounded(bytes), 64);
  EXPECT_EQUAL(Arena::rounded(65), 128);
}

TEST(arena_holds_as_much_as_is_held_at_once) {
  Arena arena;
  int64_t before = arena.take(640);
  for (int i = 0; i < 1000; ++i) {
    const int64_t next = arena.take(640);
    arena.give_back(before, 640);
    before = next;
  }
  EXPECT_EQUAL(arena.bytes(), 1280);
}

TEST(arena_joins_gaps_that_touch) {
  Arena arena;
  std::vector<int64_t> parts;
  for (int i = 0; i < 8; ++i) parts.push_back(arena.take(64));
  for (size_t i : {3u, 1u, 2u, 6u, 4u, 5u}) arena.give_back(parts[i], 64);
  EXPECT_EQUAL(arena.take(6 * 64), parts[1]);
  EXPECT_EQUAL(arena.bytes(), 8 * 64);
}

TEST(arena_takes_the_smallest_gap_that_fits) {
  Arena arena;
  const int64_t large = arena.take(640), wall = arena.take(64), small = arena.take(128), end = arena.take(64);
  arena.give_back(large, 640), arena.give_back(small, 128);
  EXPECT_EQUAL(arena.take(128), small);
  EXPECT_EQUAL(arena.take(64), large);
  EXPECT(wall < end);
}

TEST(arena_never_gives_a_place_twice) {
  std::mt19937 random(7);
  Arena arena;
  std::vector<std::pair<int64_t, int64_t>> held;
  int64_t live = 0, most = 0;
  for (int i = 0; i < 20000; ++i) {
    if (held.empty() || random() % 5 < (i % 2000 < 1000 ? 3u : 2u)) {
      const int64_t bytes = Arena::rounded(1 + static_cast<int64_t>(random() % 5000)), offset = arena.take(bytes);
      EXPECT_EQUAL(offset % Arena::kAlignment, 0);
      for (const auto& [other, size] : held) EXPECT(offset + bytes <= other || other + size <= offset);
      EXPECT(offset >= 0 && offset + bytes <= arena.bytes());
      held.emplace_back(offset, bytes);
      most = std::max(most, live += bytes);
    } else {
      std::swap(held[random() % held.size()], held.back());
      arena.give_back(held.back().first, held.back().second);
      live -= held.back().second;
      held.pop_back();
    }
  }
  EXPECT(arena.bytes() >= most && arena.bytes() <= 2 * most);
  for (const auto& [offset, bytes] : held) arena.give_back(offset, bytes);
  EXPECT_EQUAL(arena.take(arena.bytes()), 0);
}
