#include "kernels/recording.h"

#include <algorithm>
#include <cstring>

namespace lowrank {

namespace {

/// Where buffers are said to lie before they have a place: no address that a process can own.
std::byte* nowhere() { return reinterpret_cast<std::byte*>(uintptr_t{1} << 60); }

}  // namespace

Recording::Recording() : base_(nowhere()) {}

bool Recording::is_mine(const std::byte* data) const { return data >= base_ && data < base_ + std::max<int64_t>(1, arena_.bytes()); }

Block* Recording::allocate(int64_t bytes) {
  Block& block = blocks_.emplace_back();
  block.bytes = Arena::rounded(bytes);
  block.data = base_ + arena_.take(block.bytes);
  return &block;
}

void Recording::release(const Block* block) { arena_.give_back(block->data - base_, block->bytes); }

void Recording::add(const KernelInfo& info, const std::byte* args, int64_t scratch) {
  std::byte* memory = nullptr;
  if (scratch > 0) {
    const int64_t bytes = Arena::rounded(scratch), offset = arena_.take(bytes);
    memory = base_ + offset;
    arena_.give_back(offset, bytes);  // later commands come later
  }
  commands_.push_back({&info, args_.size(), memory});
  constexpr size_t alignment = Command::kArgumentAlignment;
  args_.resize(args_.size() + (info.args_bytes + alignment - 1) / alignment * alignment);
  std::memcpy(args_.data() + commands_.back().args, args, info.args_bytes);
}

void Recording::place(std::byte* memory) {
  if (lies_at(memory)) return;
  struct Move {
    const Recording& recording;
    std::byte* memory;
    std::byte* operator()(std::byte* data) const { return recording.is_mine(data) ? memory + (data - recording.base_) : data; }
  } move{*this, memory};
  for (Listed& command : commands_) {
    if (command.scratch != nullptr) command.scratch = move(command.scratch);
    // The arguments are this object's own bytes, which visitors see as constant.
    command.info->visit(
        args_.data() + command.args,
        [](void* context, const View& view, Access) {
          auto& v = const_cast<View&>(view);
          v.data = (*static_cast<const Move*>(context))(v.data);
        },
        &move);
  }
  for (Block& block : blocks_) block.data = move(block.data);
  base_ = memory;
}

void Recording::run(Stream& stream, Owner& owner) {
  for (Block& block : blocks_) block.failure = nullptr;
  for (const Listed& command : commands_) run_kernel(stream, *command.info, owner, command.scratch, args_.data() + command.args);
}

}  // namespace lowrank
