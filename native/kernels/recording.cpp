#include "kernels/recording.h"

#include <algorithm>
#include <cstring>

namespace lowrank {

namespace {

/// Where buffers are said to lie before they have a place: no address that a process can own.
std::byte* nowhere() { return reinterpret_cast<std::byte*>(uintptr_t{1} << 60); }

}  // namespace

Recording::Recording() : base_(nowhere()) {}

Block* Recording::allocate(int64_t bytes) {
  Buffer& buffer = buffers_.emplace_back();
  buffer.bytes = arena_bytes(bytes);
  buffer.data = base_ + bytes_;
  buffer.used_from = commands_.size();
  bytes_ += buffer.bytes;
  return &buffer;
}

void Recording::add(const KernelInfo& info, const std::byte* args, int64_t scratch) {
  Block* memory = scratch > 0 ? allocate(scratch) : nullptr;
  commands_.push_back({&info, args_.size(), memory});
  if (memory != nullptr) release(memory);
  constexpr size_t alignment = Command::kArgumentAlignment;
  args_.resize(args_.size() + (info.args_bytes + alignment - 1) / alignment * alignment);
  std::memcpy(args_.data() + commands_.back().args, args, info.args_bytes);
}

void Recording::finish() {
  std::vector<Stay> stays;
  for (const Buffer& buffer : buffers_) stays.push_back({buffer.bytes, buffer.used_from, buffer.used_until});
  const int64_t bytes = lay_out(stays);
  for (size_t i = 0; i < stays.size(); ++i) buffers_[i].place = base_ + stays[i].offset;
  move_to_places();
  bytes_ = bytes;
}

void Recording::place(std::byte* memory) {
  if (lies_at(memory)) return;
  for (Buffer& buffer : buffers_) buffer.place = memory + (buffer.data - base_);
  move_to_places();
  base_ = memory;
}

void Recording::move_to_places() {
  for (Listed& command : commands_)
    // The arguments are this object's own bytes, which visitors see as constant.
    command.info->visit(
        args_.data() + command.args,
        [](void* context, const View& view, Access) {
          const auto& self = *static_cast<const Recording*>(context);
          if (view.data < self.base_ || view.data >= self.base_ + self.bytes_) return;  // a buffer outside of the arena
          const_cast<View&>(view).data += static_cast<const Buffer*>(view.block)->place - view.block->data;
        },
        this);
  for (Buffer& buffer : buffers_) buffer.data = buffer.place;
}

void Recording::run(Stream& stream, Owner& owner) {
  for (Buffer& buffer : buffers_) buffer.failure = nullptr;
  for (const Listed& command : commands_) {
    std::byte* scratch = command.scratch == nullptr ? nullptr : command.scratch->data;
    run_kernel(stream, *command.info, owner, scratch, args_.data() + command.args);
  }
}

}  // namespace lowrank
