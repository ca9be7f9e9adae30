#include "bind/host_commands.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <new>

#if defined(_WIN32)
#include <io.h>
#include <uv.h>
#include <windows.h>
#else
#include <unistd.h>
#endif

namespace lowrank {

namespace {

template <class Args>
Args& args_of(Command& command) {
  static_assert(std::is_trivially_copyable_v<Args> && sizeof(Args) <= Command::kArgumentBytes, "a command is plain data");
  return *std::launder(reinterpret_cast<Args*>(command.args));
}

template <class Args>
void fill_command(Command& command, Owner* owner, void (*execute)(Stream&, Command&), const Args& args) {
  command.execute = execute;
  command.info = nullptr;
  command.owner = owner;
  command.scratch = nullptr;
  new (command.args) Args(args);
}

struct WriteArgs {
  View target;
  std::byte* staging;
  int64_t bytes;
};

void execute_write(Stream& stream, Command& command) {
  const auto& a = args_of<WriteArgs>(command);
  const Failure* failure = stream.owner_failure(*command.owner);
  if (failure == nullptr)
    std::memcpy(a.target.data, a.staging, static_cast<size_t>(a.bytes));
  else
    Stream::mark(a.target, failure, true);
  std::free(a.staging);
}

struct ReadArgs {
  View view;
  std::byte* destination;
  uint64_t ticket;
};

void execute_read(Stream& stream, Command& command) {
  const auto& a = args_of<ReadArgs>(command);
  const Failure* failure = stream.owner_failure(*command.owner);
  if (failure == nullptr) failure = Stream::mark_of(a.view);
  if (failure == nullptr) failure = stream.take_unobserved();
  if (failure == nullptr) {
    const int64_t element = bytes_of(a.view.dtype), row = a.view.cols * element;
    if (row > 0)
      for (int64_t r = 0; r < a.view.rows; ++r)
        std::memcpy(a.destination + r * row, a.view.data + r * a.view.ld * element, static_cast<size_t>(row));
  }
  stream.complete(a.ticket, failure);
}

struct ReplayArgs {
  Recording* recording;
};

void execute_replay(Stream& stream, Command& command) { args_of<ReplayArgs>(command).recording->run(stream, *command.owner); }

struct FenceArgs {
  uint64_t ticket;
};

void execute_fence(Stream& stream, Command& command) { stream.complete(args_of<FenceArgs>(command).ticket, stream.take_unobserved()); }

struct FileArgs {
  int file;
  int64_t offset, bytes;
  std::byte* target;
  uint64_t ticket;
};

constexpr int64_t kChunk = 8 << 20;

// The bytes read at `offset` (0 at the end of the file), or -1 with errno set.
int64_t read_at(int file, std::byte* target, int64_t bytes, int64_t offset) {
#if defined(_WIN32)
  OVERLAPPED at = {};
  at.Offset = static_cast<DWORD>(offset);
  at.OffsetHigh = static_cast<DWORD>(offset >> 32);
  DWORD got = 0;
  if (ReadFile(uv_get_osfhandle(file), target, static_cast<DWORD>(bytes), &got, &at)) return got;
  if (GetLastError() == ERROR_HANDLE_EOF) return 0;
  errno = EIO;
  return -1;
#else
  for (;;) {
    const ssize_t got = pread(file, target, static_cast<size_t>(bytes), static_cast<off_t>(offset));
    if (got >= 0 || errno != EINTR) return got;
  }
#endif
}

Status read_whole(const FileArgs& a, const std::atomic<bool>& cancelled) {
  for (int64_t done = 0; done < a.bytes;) {
    if (cancelled.load(std::memory_order_relaxed)) return {Code::cancelled};
    const int64_t got = read_at(a.file, a.target + done, std::min(kChunk, a.bytes - done), a.offset + done);
    if (got < 0) return {Code::io_error, errno};
    if (got == 0) return {Code::io_short_read, done, a.offset + done, a.bytes};
    done += got;
  }
  return {};
}

void execute_file(Stream& stream, Command& command) {
  const auto& a = args_of<FileArgs>(command);
  const Failure* failure = stream.owner_failure(*command.owner);
  if (failure == nullptr) {
    const Status status = read_whole(a, command.owner->cancelled);
    if (!status.ok()) failure = stream.fail(*command.owner, "read", status);
  }
  stream.complete(a.ticket, failure);
}

}  // namespace

void make_write_command(Command& command, Owner* owner, const View& target, std::byte* staging, int64_t bytes) {
  fill_command(command, owner, execute_write, WriteArgs{target, staging, bytes});
}

void make_read_command(Command& command, Owner* owner, const View& view, std::byte* destination, uint64_t ticket) {
  fill_command(command, owner, execute_read, ReadArgs{view, destination, ticket});
}

void make_replay_command(Command& command, Owner* owner, Recording& recording) {
  fill_command(command, owner, execute_replay, ReplayArgs{&recording});
}

void make_fence_command(Command& command, Owner* owner, uint64_t ticket) { fill_command(command, owner, execute_fence, FenceArgs{ticket}); }

void make_file_command(Command& command, Owner* owner, int file, int64_t file_offset, int64_t bytes, std::byte* target, uint64_t ticket) {
  fill_command(command, owner, execute_file, FileArgs{file, file_offset, bytes, target, ticket});
}

}  // namespace lowrank
