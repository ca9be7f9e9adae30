// Blocks of device memory, the pool they come from, and the budget of the process.
// A pool belongs to one environment and is touched by its JavaScript thread only. Commands of a stream run in order, so a block that was
// given back may be handed to a later command at once: all its earlier readers and writers stand earlier in the queue.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <vector>

namespace lowrank {

struct Failure;

struct Block {
  std::byte* data = nullptr;
  int64_t bytes = 0;         // capacity
  uint32_t incarnation = 0;  // counts the uses of this block; bumped when it is taken from the pool
  uint64_t used_until = 0;   // number of commands after which nobody uses it any more; set when it is given back
  bool state = false;        // weights and optimizer state: a failed in-place command leaves them as they are, unmarked
  // Failure mark, written and read by the stream thread only: valid for views of the same incarnation.
  uint32_t failed_incarnation = 0;
  const Failure* failure = nullptr;
};

/// Limits what all pools of the process hold together.
class Budget {
 public:
  static Budget& shared();

  void set_limit(int64_t bytes) { limit_.store(bytes); }
  int64_t limit() const { return limit_.load(); }
  int64_t reserved() const { return reserved_.load(); }

  /// Reserves if that stays within the limit.
  bool reserve(int64_t bytes);
  void release(int64_t bytes) { reserved_.fetch_sub(bytes); }

 private:
  std::atomic<int64_t> limit_{INT64_MAX}, reserved_{0};
};

struct PoolCounters {
  int64_t buffers = 0;   // blocks in use
  int64_t bytes = 0;     // what their users asked for
  int64_t reserved = 0;  // what the pool holds from the system, free blocks included
  int64_t peak = 0;      // largest `bytes` since the last reset
};

enum class Use : uint8_t {
  passing,  // made and freed again and again
  state,    // weights and optimizer state
  file      // such a block that is filled by a writer outside of the stream
};

/// A free block serves again, also for as little as two thirds of it, and free blocks hold no more than was ever in use at the same time:
/// however many sizes come and go, the pool is at most twice as large as what they needed.
class Pool {
 public:
  Pool() = default;
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// A block of at least `bytes` (64-byte aligned, contents arbitrary), or null when the budget does not allow it or the system has none.
  /// `finished`: so many commands have run. Only memory that no other may still use goes to files, and back to the system.
  Block* take(int64_t bytes, Use use = Use::passing, uint64_t finished = UINT64_MAX);

  /// Gives back a block of which `bytes` were asked for, and which the first `used_until` commands of the stream may still use.
  void give_back(Block* block, int64_t bytes, uint64_t used_until);

  /// A block of exactly `bytes` that never was a free one and will not be one, but goes back to the system when `discard`ed: at once where
  /// `used_until` commands have run, else when `collect` or `trim` finds that they have.
  Block* take_apart(int64_t bytes);
  void discard(Block* block, int64_t bytes, uint64_t used_until, uint64_t finished);
  void collect(uint64_t finished);
  size_t discarded() const { return discarded_.size(); }

  /// Returns everything that nobody uses to the system. Only while no command is queued or running.
  void trim();
  /// Whether `trim` would return anything.
  bool has_spare() const { return free_bytes_ > 0 || !discarded_.empty(); }
  int64_t free_bytes() const { return free_bytes_; }

  const PoolCounters& counters() const { return counters_; }
  void reset_peak() { counters_.peak = counters_.bytes; }

  /// Capacity of the block that holds `bytes`: steps of an eighth of the next lower power of two, at least 64.
  static int64_t capacity_for(int64_t bytes);

 private:
  Block* reuse(int64_t capacity, Use use, uint64_t finished);
  Block* from_system(int64_t capacity);
  Block* handed_out(Block* block, int64_t bytes);
  /// Frees the longest unused blocks until `capacity` more fit into what free and passing blocks may hold together.
  void make_room(int64_t capacity, uint64_t finished);
  void destroy(Block* block);

  std::map<int64_t, std::deque<Block*>> free_;  // by capacity, the longest unused first; none is empty
  std::vector<Block*> discarded_;               // under way yet
  int64_t free_bytes_ = 0;
  int64_t passing_ = 0, most_passing_ = 0;  // capacities in use, now and at most
  PoolCounters counters_;
};

}  // namespace lowrank
