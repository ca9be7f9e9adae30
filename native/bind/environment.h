// The engine state of one environment: its buffers, its streams, its pending promises. Made by init_module, freed with the environment.
#pragma once
#include <napi.h>

#include <cmath>
#include <deque>
#include <memory>
#include <unordered_map>
#include <unordered_set>

#include "core/memory.h"
#include "core/stream.h"
#include "kernels/command.h"
#include "kernels/recording.h"

namespace lowrank {

class Environment final : public BufferTable {
 public:
  explicit Environment(Napi::Env env);
  ~Environment() override;

  // --- buffers; handles are positive numbers, 0 is "none" ---------------------------------------------------------------------
  /// 0 when the budget does not allow it.
  double allocate(int64_t bytes, bool state, bool external, bool fresh);
  void release(double handle);
  int64_t resolve(double handle, View& view) const override;

  // --- commands ---------------------------------------------------------------------------------------------------------------
  /// Queues kernel `index` with the numbers in `args()`. Returns null, or what is wrong with them.
  const char* submit(uint32_t index, double owner);
  const char* write(double handle, int64_t offset, const std::byte* data, int64_t bytes);
  /// Copies the view in `args()` to `destination`, rows packed; resolves when done.
  Napi::Promise read(const View& view, Napi::Uint8Array destination, double owner);
  Napi::Promise fence();
  /// Reads `bytes` of an open file into a buffer that no command uses, on the I/O thread.
  Napi::Promise read_file(int file, int64_t file_offset, int64_t bytes, double handle, int64_t offset, double owner);

  // --- recordings: commands that are listed now and run later, as one (ids count from 1) ------------------------------------------
  void begin_recording();
  /// Ends it. What was allocated meanwhile and not released is gone.
  double end_recording();
  bool is_recording() const { return tracing_ != nullptr; }
  /// Null when there is none of this id.
  const Recording* recording(double id) const;
  /// Takes memory for recordings of up to `bytes`. They share it, as commands run in order. What lay in a smaller one is not waited for.
  /// False when the budget does not allow it.
  bool reserve_arena(int64_t bytes);
  int64_t arena_bytes() const { return arena_ == nullptr ? 0 : arena_->bytes; }
  /// Queues all its commands as one. Returns null, or what is wrong.
  const char* replay(double id, double owner);
  void forget_recording(double id);

  double create_owner();
  void abort_owner(double owner);
  Owner* owner(double id);

  /// Where lib/native puts the numbers of the next command.
  Napi::Value args() const { return args_array_.Value(); }
  const double* numbers() const { return numbers_; }
  Pool& pool() { return pool_; }
  Stream& stream() { return compute_; }
  std::vector<ProfileRow> profile_rows;

  static constexpr size_t kArgs = 256;

  /// Returns to the system what nobody uses, for which everything queued is waited for. False when there is nothing.
  bool return_spare();

 private:
  struct Slot {
    Block* block = nullptr;
    int64_t bytes = 0;
    uint32_t generation = 0, pins = 0;
    bool external = false, released = true;
    bool planned = false;       // lies in the arena of the recording that is being made
    mutable bool used = false;  // by a command: from then on the JavaScript thread must not write to it
  };
  struct Pending {
    Napi::Promise::Deferred deferred;
    Napi::Reference<Napi::Value> keep;  // the destination of a read
    double pinned = 0;                  // the buffer of a file read
  };

  Slot* slot(double handle);
  const Slot* slot(double handle) const { return const_cast<Environment*>(this)->slot(handle); }
  struct Recorded {
    std::unique_ptr<Recording> recording;
    std::unordered_set<uint32_t> pinned;  // slots of buffers outside of the arena, which live as long as the recording
    uint64_t used_until = 0;
  };

  uint32_t take_slot();
  /// From the pool; where the budget does not allow it, after `return_spare`. Null when that does not help.
  Block* take_block(int64_t bytes, Use use);
  void drop_arena();
  void pin_outside(const KernelInfo& info);
  void unpin(uint32_t index);
  void free_slot(uint32_t index);
  void account_external(int64_t bytes);
  Napi::Promise pend(uint64_t& ticket, Napi::Value keep, double pinned);
  void deliver();
  void shut_down();

  Napi::Env env_;
  Napi::Reference<Napi::Float64Array> args_array_;
  double* numbers_;
  Pool pool_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_slots_;
  int64_t external_ = 0, reported_external_ = 0;
  std::deque<Owner> owners_;  // ids are indexes; the first one is that of ordinary calls
  std::unique_ptr<Recorded> tracing_;
  std::unordered_map<double, Recorded> recordings_;
  double next_recording_ = 1;
  Block* arena_ = nullptr;
  uint64_t arena_used_until_ = 0;
  uint64_t next_ticket_ = 1;
  std::unordered_map<uint64_t, Pending> pending_;
  Napi::ThreadSafeFunction wake_;
  Stream compute_, files_;
};

}  // namespace lowrank
