// Commands that move bytes between the host and a buffer.
#pragma once
#include "core/stream.h"
#include "kernels/recording.h"

namespace lowrank {

/// Copies `bytes` at `staging` (from malloc, freed afterwards) to `target`.
void make_write_command(Command& command, Owner* owner, const View& target, std::byte* staging, int64_t bytes);

/// Copies `view`, rows packed, to `destination` and completes `ticket`.
void make_read_command(Command& command, Owner* owner, const View& view, std::byte* destination, uint64_t ticket);

/// Runs a recording, which has its place.
void make_replay_command(Command& command, Owner* owner, Recording& recording);

/// Completes `ticket`, with a failure that nobody has seen yet if there is one.
void make_fence_command(Command& command, Owner* owner, uint64_t ticket);

/// Reads exactly `bytes` at `file_offset` of the open file to `target` and completes `ticket`.
void make_file_command(Command& command, Owner* owner, int file, int64_t file_offset, int64_t bytes, std::byte* target, uint64_t ticket);

}  // namespace lowrank
