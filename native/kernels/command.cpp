#include "kernels/command.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <type_traits>

#include "kernels/flops.h"

namespace lowrank {

namespace {

// --- arguments ------------------------------------------------------------------------------------------------------------------

template <class... A>
struct Args {};
template <class Head, class... Tail>
struct Args<Head, Tail...> {
  Head head;
  Args<Tail...> tail;
};

bool is_integer(double x, double low, double high) { return x >= low && x <= high && x == std::floor(x); }
constexpr double kMaxInteger = 9007199254740992.0;  // 2^53

const char* decode_number(const BufferTable&, const double*& n, f32& out) {
  out = static_cast<f32>(*n++);
  return nullptr;
}
const char* decode_number(const BufferTable&, const double*& n, i32& out) {
  if (!is_integer(*n, INT32_MIN, INT32_MAX)) return "an i32 argument is not a 32-bit integer";
  out = static_cast<i32>(*n++);
  return nullptr;
}
const char* decode_number(const BufferTable&, const double*& n, u64& out) {
  if (!is_integer(*n, 0, kMaxInteger)) return "a u64 argument is not an integer from 0 to 2^53";
  out = static_cast<u64>(*n++);
  return nullptr;
}
const char* decode_number(const BufferTable&, const double*& n, bool& out) {
  if (*n != 0 && *n != 1) return "a bool argument is neither 0 nor 1";
  out = *n++ != 0;
  return nullptr;
}
template <class T>
constexpr int kNumbersOf = std::is_base_of_v<View, T> ? 6 : 1;

const char* decode_all(const BufferTable&, const double*, Args<>&) { return nullptr; }
template <class Head, class... Tail>
const char* decode_all(const BufferTable& buffers, const double* n, Args<Head, Tail...>& args) {
  const char* error;
  if constexpr (std::is_base_of_v<View, Head>)
    error = decode_view(buffers, n, static_cast<View&>(args.head));
  else
    error = decode_number(buffers, n, args.head);
  return error != nullptr ? error : decode_all(buffers, n, args.tail);
}

void visit_all(const Args<>&, ViewVisitor, void*) {}
template <class Head, class... Tail>
void visit_all(const Args<Head, Tail...>& args, ViewVisitor visitor, void* context) {
  if constexpr (std::is_base_of_v<View, Head>) {
    constexpr Access access = std::is_same_v<Head, In> ? Access::in : std::is_same_v<Head, Out> ? Access::out : Access::in_out;
    if (args.head) visitor(context, args.head, access);
  }
  visit_all(args.tail, visitor, context);
}

template <class Call>
auto spread(const Args<>&, Call&& call) {
  return call();
}
template <class Head, class... Tail, class Call>
auto spread(const Args<Head, Tail...>& args, Call&& call) {
  return spread(args.tail, [&](const auto&... rest) { return call(args.head, rest...); });
}

// --- one kernel -------------------------------------------------------------------------------------------------------------------

template <class Pointer>
struct ArgsOf;
template <class... A>
struct ArgsOf<Status (*KernelTable::*)(Context&, A...)> {
  using Type = Args<A...>;
  static constexpr int numbers = (0 + ... + kNumbersOf<A>);
};

template <auto Slot>
struct Bound {
  using Arguments = typename ArgsOf<decltype(Slot)>::Type;
  static_assert(std::is_trivially_copyable_v<Arguments>, "a command is plain data");
  static_assert(sizeof(Arguments) <= Command::kArgumentBytes, "raise Command::kArgumentBytes");

  static const Arguments& of(const std::byte* args) { return *reinterpret_cast<const Arguments*>(args); }
  static const char* fill(const BufferTable& buffers, const double* numbers, std::byte* args) {
    return decode_all(buffers, numbers, *new (args) Arguments);
  }
  static Status run(const KernelTable& table, Context& context, const std::byte* args) {
    return spread(of(args), [&](const auto&... a) { return (table.*Slot)(context, a...); });
  }
  static int64_t flops(const std::byte* args) {
    return spread(of(args), [](const auto&... a) { return flops::count(flops::Kernel<Slot>{}, a...); });
  }
  static void visit(const std::byte* args, ViewVisitor visitor, void* context) { visit_all(of(args), visitor, context); }
  static int64_t no_scratch(const KernelTable&, int, const std::byte*) { return 0; }
};

template <auto Slot, auto ScratchSlot>
int64_t scratch_of(const KernelTable& table, int threads, const std::byte* args) {
  return spread(Bound<Slot>::of(args), [&](const auto&... a) { return (table.*ScratchSlot)(threads, a...); });
}

std::atomic<const KernelTable*> active{nullptr};

// --- running a kernel command -------------------------------------------------------------------------------------------------------

std::string shapes_of(const KernelInfo& info, const std::byte* args) {
  std::string text;
  info.visit(
      args,
      [](void* out, const View& v, Access) {
        auto& s = *static_cast<std::string*>(out);
        if (!s.empty()) s += ' ';
        s += std::string(name_of(v.dtype)) + '[' + std::to_string(v.rows) + ',' + std::to_string(v.cols) + ']';
        if (v.ld != v.cols && v.rows > 1) s += "/" + std::to_string(v.ld);
      },
      &text);
  return text;
}

int64_t bytes_touched(const KernelInfo& info, const std::byte* args) {
  int64_t bytes = 0;
  info.visit(
      args, [](void* out, const View& v, Access) { *static_cast<int64_t*>(out) += bytes_of(v); }, &bytes);
  return bytes;
}

void print_values(const KernelInfo& info, const std::byte* args) {
  info.visit(
      args,
      [](void*, const View& v, Access access) {
        if (access == Access::in || v.dtype != DType::f32 || v.size() == 0) return;
        std::fprintf(stderr, "    ");
        for (int64_t c = 0; c < v.cols && c < 8; ++c) std::fprintf(stderr, " %.9g", static_cast<double>(v.row<float>(0)[c]));
        std::fprintf(stderr, "\n");
      },
      nullptr);
}

int debug_level() {
  static const int level = [] {
    const char* text = std::getenv("LOWRANK_DEBUG");
    return text != nullptr ? std::atoi(text) : 0;
  }();
  return level;
}

bool check_values() {
  static const bool on = [] {
    const char* text = std::getenv("LOWRANK_CHECK");
    return text != nullptr && text[0] == '1';
  }();
  return on;
}

void report_nonfinite(const KernelInfo& info, const std::byte* args) {
  info.visit(
      args,
      [](void* context, const View& v, Access access) {
        if (access == Access::in || v.dtype != DType::f32) return;
        for (int64_t r = 0; r < v.rows; ++r)
          for (int64_t c = 0; c < v.cols; ++c)
            if (!std::isfinite(v.row<float>(r)[c])) {
              std::fprintf(stderr, "lowrank: %s wrote %g at [%lld, %lld]\n", static_cast<const char*>(context),
                           static_cast<double>(v.row<float>(r)[c]), static_cast<long long>(r), static_cast<long long>(c));
              return;
            }
      },
      const_cast<char*>(info.name));
}

Status run_measured(Stream& stream, const KernelInfo& info, Context& context, const std::byte* args) {
  const auto start = std::chrono::steady_clock::now();
  const Status status = info.run(active_table(), context, args);
  const int64_t ns = std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start).count();
  const int64_t flops = info.flops(args), bytes = bytes_touched(info, args);
  if (stream.profile != nullptr) stream.profile->push_back({info.name, ns, flops, bytes, shapes_of(info, args)});
  if (debug_level() >= 2) {
    std::fprintf(stderr, "lowrank: %-24s %10.1f us %8.2f GFLOP/s %8.2f GB/s%s%s\n", info.name, static_cast<double>(ns) * 1e-3,
                 static_cast<double>(flops) / static_cast<double>(ns), static_cast<double>(bytes) / static_cast<double>(ns),
                 debug_level() >= 3 ? "  " : "", debug_level() >= 3 ? shapes_of(info, args).c_str() : "");
    if (debug_level() >= 4) print_values(info, args);
  }
  if (check_values() && status.ok()) report_nonfinite(info, args);
  return status;
}

struct ReadCheck {
  const Failure* failure = nullptr;
};

void execute_kernel(Stream& stream, Command& command) {
  run_kernel(stream, *static_cast<const KernelInfo*>(command.info), *command.owner, command.scratch, command.args);
}

const char* decode_quantized(const double* v, double bytes, const View& out) {
  if (v[2] != 0 || (out.rows > 1 && out.ld != out.cols)) return "a view of a part of a quantised weight";
  if (out.dtype == DType::nf4 && out.cols % kNf4Block != 0) return "a view of nf4 has rows that are no multiple of 64 elements";
  const bool fits = v[3] * v[4] <= 2 * bytes && static_cast<double>(bytes_of(out)) <= bytes;
  return fits ? nullptr : "a view reaches past the end of its buffer";
}

}  // namespace

void run_kernel(Stream& stream, const KernelInfo& info, Owner& owner, std::byte* scratch, const std::byte* args) {
  ReadCheck check{stream.owner_failure(owner)};
  if (check.failure == nullptr)
    info.visit(
        args,
        [](void* context, const View& v, Access access) {
          auto& found = *static_cast<ReadCheck*>(context);
          if (access != Access::out && found.failure == nullptr) found.failure = Stream::mark_of(v);
        },
        &check);
  if (check.failure == nullptr) {
    Context context{ThreadPool::shared(), &owner.cancelled, scratch};
    const bool measured = stream.profile != nullptr || debug_level() >= 2 || check_values();
    const Status status = measured ? run_measured(stream, info, context, args) : info.run(active_table(), context, args);
    if (!status.ok()) check.failure = stream.fail(owner, info.name, status);
  }
  if (check.failure != nullptr)
    info.visit(
        args,
        [](void* context, const View& v, Access access) {
          if (access != Access::in) Stream::mark(v, static_cast<const Failure*>(context), access == Access::in_out);
        },
        const_cast<Failure*>(check.failure));
}

const char* decode_view(const BufferTable& buffers, const double*& n, View& out) {
  const double* v = n;
  n += 6;
  out = View{};
  if (v[0] == 0) return nullptr;
  if (!is_integer(v[1], 0, static_cast<double>(kLastDType))) return "a view has an unknown dtype";
  for (int i = 2; i < 6; ++i)
    if (!is_integer(v[i], 0, kMaxInteger)) return "a view has a size that is not a natural number";
  const int64_t bytes = buffers.resolve(v[0], out);
  if (bytes < 0) return "a view names a buffer that does not exist";
  out.dtype = static_cast<DType>(static_cast<int>(v[1]));
  out.rows = static_cast<int64_t>(v[3]), out.cols = static_cast<int64_t>(v[4]), out.ld = static_cast<int64_t>(v[5]);
  if (out.rows > 1 && out.ld < out.cols) return "a view has overlapping rows";
  if (is_quantized(out.dtype)) return decode_quantized(v, static_cast<double>(bytes), out);
  const double elements = out.rows == 0 || out.cols == 0 ? 0 : v[2] + (v[3] - 1) * v[5] + v[4];
  if (elements * static_cast<double>(bytes_of(out.dtype)) > static_cast<double>(bytes)) return "a view reaches past the end of its buffer";
  if (elements > 0) out.data += static_cast<int64_t>(v[2]) * bytes_of(out.dtype);
  return nullptr;
}

const char* decode(const KernelInfo& info, const BufferTable& buffers, const double* numbers, std::byte* args) {
  if (const char* error = info.fill(buffers, numbers, args)) return error;
  const double* n = numbers;
  double same = -1;
  for (const ParameterType& type : info.types) {
    if (type.is_view && n[0] != 0) {
      if (!type.accepts(static_cast<DType>(static_cast<int>(n[1])))) return "a view has a dtype that the kernel does not take";
      if (type.same && same >= 0 && n[1] != same) return "two views differ in dtype";
      if (type.same) same = n[1];
    }
    n += type.is_view ? 6 : 1;
  }
  return nullptr;
}

const std::vector<KernelInfo>& kernel_infos() {
  static const auto* infos = new std::vector<KernelInfo> {
#define ROW(name, scratch, parameters)                    \
  {#name,                                                 \
   parameters,                                            \
   parameter_types(parameters),                           \
   ArgsOf<decltype(&KernelTable::name)>::numbers,         \
   sizeof(typename Bound<&KernelTable::name>::Arguments), \
   Bound<&KernelTable::name>::fill,                       \
   scratch,                                               \
   Bound<&KernelTable::name>::run,                        \
   Bound<&KernelTable::name>::flops,                      \
   Bound<&KernelTable::name>::visit},
#define K(name, ...) ROW(name, Bound<&KernelTable::name>::no_scratch, #__VA_ARGS__)
#define S(name, ...) ROW(name, (scratch_of<&KernelTable::name, &KernelTable::name##_scratch>), #__VA_ARGS__)
#include "kernels/kernels.def"
#undef K
#undef S
#undef ROW
  };
  return *infos;
}

void make_kernel_command(Command& command, const KernelInfo& info, Owner* owner, std::byte* scratch) {
  command.execute = execute_kernel;
  command.info = &info;
  command.owner = owner;
  command.scratch = scratch;
}

void select_backend(const KernelTable* table) { active.store(table); }
const KernelTable& active_table() { return *active.load(); }

}  // namespace lowrank
