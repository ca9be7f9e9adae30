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
  /// Lets later buffers lie where this one lay.
  void release(const Block* block);
  /// Lists a command. `args` (checked by `decode`) is copied; `scratch` bytes are reserved while it runs.
  void add(const KernelInfo& info, const std::byte* args, int64_t scratch);

  // --- afterwards --------------------------------------------------------------------------------------------------------------
  size_t commands() const { return commands_.size(); }
  int64_t bytes() const { return arena_.bytes(); }
  bool lies_at(const std::byte* memory) const { return memory == base_; }
  /// Moves every buffer to `memory`, which holds `bytes()`. Not while a replay is queued or runs.
  void place(std::byte* memory);
  /// Runs the commands in order, each as if it had been submitted. Stream thread.
  void run(Stream& stream, Owner& owner);

 private:
  struct Listed {
    const KernelInfo* info;
    size_t args;  // where its arguments begin in args_
    std::byte* scratch;
  };

  bool is_mine(const std::byte* data) const;

  Arena arena_;
  std::byte* base_;
  std::deque<Block> blocks_;  // they carry the failure marks
  std::vector<Listed> commands_;
  std::vector<std::byte> args_;
};

}  // namespace lowrank
