// Where a recording puts its buffers: never two in one place at the same time, gaps used again.
#include "core/arena.h"

#include <algorithm>
#include <random>
#include <vector>

#include "expect.h"

using lowrank::arena_bytes;
using lowrank::lay_out;
using lowrank::Stay;

TEST(arena_rounds_to_its_alignment) {
  for (int64_t bytes : {0, 1, 63, 64}) EXPECT_EQUAL(arena_bytes(bytes), 64);
  EXPECT_EQUAL(arena_bytes(65), 128);
}

TEST(arena_holds_as_much_as_is_held_at_once) {
  std::vector<Stay> stays;
  for (uint64_t i = 0; i < 1000; ++i) stays.push_back({640, i, i + 2});
  EXPECT_EQUAL(lay_out(stays), 1280);
}

TEST(arena_keeps_room_for_what_comes_later_and_is_larger) {
  // Placed as they come, the small one would lie behind the first and part the room that the large one needs.
  std::vector<Stay> stays{{640, 0, 2}, {64, 1, 9}, {1280, 2, 3}};
  EXPECT_EQUAL(lay_out(stays), 1344);
}

TEST(arena_takes_the_smallest_gap_that_fits) {
  // Long ones at 0, 640 and 1088 leave gaps of 192 and 256 bytes while the last two are in use.
  std::vector<Stay> stays{{448, 0, 9}, {192, 0, 5}, {448, 0, 9}, {256, 0, 5}, {448, 0, 9}, {192, 5, 9}, {256, 5, 9}};
  EXPECT_EQUAL(lay_out(stays), 3 * 448 + 192 + 256);
}

TEST(arena_has_no_place_for_what_no_command_uses) {
  std::vector<Stay> stays{{64, 0, 2}, {6400, 1, 1}};
  EXPECT_EQUAL(lay_out(stays), 64);
}

TEST(arena_never_gives_a_place_twice) {
  std::mt19937 random(7);
  std::vector<Stay> stays;
  for (int i = 0; i < 2000; ++i) {
    const uint64_t from = random() % 3000;
    stays.push_back({arena_bytes(1 + static_cast<int64_t>(random() % 5000)), from, from + 1 + random() % 300});
  }
  const int64_t bytes = lay_out(stays);
  std::vector<int64_t> live(3300);
  for (const Stay& a : stays) {
    EXPECT_EQUAL(a.offset % lowrank::kArenaAlignment, 0);
    EXPECT(a.offset >= 0 && a.offset + a.bytes <= bytes);
    for (uint64_t at = a.from; at < a.until; ++at) live[at] += a.bytes;
    for (const Stay& b : stays) {
      const bool together = &a != &b && a.from < b.until && b.from < a.until;
      if (together) EXPECT(a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset);
    }
  }
  const int64_t most = *std::max_element(live.begin(), live.end());
  EXPECT(bytes >= most && bytes <= most + most / 4);
}
