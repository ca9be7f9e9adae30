// A recording: kernel commands that were listed instead of run, with their buffers in one arena. Replaying it is one command.
#pragma once
#include <cstddef>
#include <deque>
#include <vector>

#include "core/arena.h"
#include "kernels/command.h"

namespace lowrank {

class Recording {
 public:
  Recording();

  // --- while it is made; JavaScript thread -------------------------------------------------------------------------------------
  /// A buffer in the arena. Its address means nothing before `place`.
  Block* allocate(int64_t bytes);
  /// Lets buffers of later commands lie where this one lies.
  void release(Block* block) { block->used_until = commands_.size(); }
  /// Lists a command. `args` (checked by `decode`) is copied; `scratch` bytes are reserved while it runs.
  void add(const KernelInfo& info, const std::byte* args, int64_t scratch);
  /// Ends it: finds out where the buffers lie. All have been released.
  void finish();

  // --- afterwards --------------------------------------------------------------------------------------------------------------
  size_t commands() const { return commands_.size(); }
  int64_t bytes() const { return bytes_; }
  bool lies_at(const std::byte* memory) const { return memory == base_; }
  /// Moves every buffer to `memory`, which holds `bytes()`. Not while a replay is queued or runs.
  void place(std::byte* memory);
  /// Runs the commands in order, each as if it had been submitted. Stream thread.
  void run(Stream& stream, Owner& owner);

 private:
  struct Listed {
    const KernelInfo* info;
    size_t args;     // where its arguments begin in args_
    Block* scratch;  // null: none
  };
  struct Buffer : Block {  // it carries the failure mark
    uint64_t used_from = 0;
    std::byte* place = nullptr;  // where it is to be moved
  };

  void move_to_places();

  std::byte* base_;
  int64_t bytes_ = 0;  // from `base_` on; while it is made, buffers lie one behind the other
  std::deque<Buffer> buffers_;
  std::vector<Listed> commands_;
  std::vector<std::byte> args_;
};

}  // namespace lowrank
