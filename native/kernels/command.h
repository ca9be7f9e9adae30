// One template turns a line of kernels.def into a trivially copyable argument struct, the function that fills it from numbers, and the
// dispatcher that calls the active table's kernel.
#pragma once
#include "core/stream.h"
#include "kernels/kernel_table.h"
#include "kernels/parameter_types.h"

namespace lowrank {

/// Looks up buffers by handle for the decoder; null when the handle is not valid.
struct BufferTable {
  virtual ~BufferTable() = default;
  /// Sets data, block and incarnation of `view` to the start of the buffer and returns its bytes, or -1.
  virtual int64_t resolve(double handle, View& view) const = 0;
};

enum class Access : uint8_t { in, out, in_out };

using ViewVisitor = void (*)(void* context, const View& view, Access access);

struct KernelInfo {
  const char* name;
  const char* parameters;  // as written in kernels.def: "Out y, In x, f32 factor"
  std::vector<ParameterType> types;
  int numbers;        // how many numbers the arguments take
  size_t args_bytes;  // and how many bytes they fill
  /// Fills `args` with no look at dtypes; `decode` is the checked way.
  const char* (*fill)(const BufferTable& buffers, const double* numbers, std::byte* args);
  int64_t (*scratch)(const KernelTable& table, int threads, const std::byte* args);
  Status (*run)(const KernelTable& table, Context& context, const std::byte* args);
  int64_t (*flops)(const std::byte* args);
  void (*visit)(const std::byte* args, ViewVisitor visitor, void* context);
};

/// Reads one view (six numbers: handle or 0, dtype, offset in elements, rows, cols, ld) and moves `numbers` behind it. Returns null, or
/// what is wrong.
const char* decode_view(const BufferTable& buffers, const double*& numbers, View& out);

/// Fills `args` of a kernel from numbers. Returns null, or what is wrong: every view must name a buffer, lie inside of it and hold a dtype
/// that the parameter accepts.
const char* decode(const KernelInfo& info, const BufferTable& buffers, const double* numbers, std::byte* args);

/// All kernels, in the order of kernels.def.
const std::vector<KernelInfo>& kernel_infos();

/// Fills `command` so that it runs the kernel on `table`. `scratch` holds what `info.scratch` asked for.
void make_kernel_command(Command& command, const KernelInfo& info, Owner* owner, std::byte* scratch);

/// Runs a kernel now, unless its owner was stopped or something that it reads has failed; a failure marks what it would have written.
/// Stream thread.
void run_kernel(Stream& stream, const KernelInfo& info, Owner& owner, std::byte* scratch, const std::byte* args);

/// The table that kernel commands use. Chosen once, when the first environment loads the addon.
void select_backend(const KernelTable* table);
const KernelTable& active_table();

}  // namespace lowrank
