// Small integer helpers; std:: ones must not be instantiated inside a target region.

constexpr int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }
constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

/// Where part i of `parts` nearly equal parts of n begins, in units of `unit`.
constexpr int64_t part_begin(int64_t n, int64_t unit, int64_t parts, int64_t i) { return lesser(n, divide_up(n, unit) * i / parts * unit); }

/// Whether to write f32 output y of a, and b, past the caches: it would not stay there, and an ordinary store first reads the line that it
/// overwrites. An output that is an input too has had its lines read.
bool goes_past_caches(const View& y, const View& a, const View& b = {}) {
  constexpr int64_t kCaches = 32 << 20, kLine = 64;  // bytes; the third cache of many processors
  const bool aligned = reinterpret_cast<uintptr_t>(y.data) % kLine == 0 && (y.rows == 1 || y.ld * 4 % kLine == 0);
  return aligned && y.size() * 4 >= kCaches && y.data != a.data && y.data != b.data;
}

/// Runs body(i) for i in [0, n): on the calling thread when the whole is a few microseconds of work, else on the pool.
template <class Body>
Status run_tiles(Context& ctx, int64_t n, int64_t work, Body&& body) {
  constexpr int64_t kWorthSharing = 1 << 16;  // flops or elements
  if (work >= kWorthSharing) return ctx.parallel_for(n, body);
  for (int64_t i = 0; i < n; ++i) body(i);
  return {};
}

constexpr int64_t kSpan = 16384;  // elements of one task

/// body(row, begin, end) for pieces of rows that cover rows x cols once; every piece begins at a multiple of kSpan.
template <class Body>
Status for_each_span(Context& ctx, int64_t rows, int64_t cols, const Body& body) {
  if (rows <= 0 || cols <= 0) return {};
  const int64_t height = greater(1, kSpan / cols), across = divide_up(cols, kSpan), down = divide_up(rows, height);
  const auto task = [&](int64_t i) {
    const int64_t begin = i % across * kSpan, end = lesser(cols, begin + kSpan);
    const int64_t first = i / across * height, last = lesser(rows, first + height);
    for (int64_t r = first; r < last; ++r) body(r, begin, end);
  };
  return run_tiles(ctx, across * down, rows * cols, task);
}

/// body(row) for every row of `work` elements.
template <class Body>
Status for_each_row(Context& ctx, int64_t rows, int64_t work, const Body& body) {
  const int64_t height = greater(1, kSpan / greater(1, work));
  const auto task = [&](int64_t i) {
    for (int64_t r = i * height; r < lesser(rows, (i + 1) * height); ++r) body(r);
  };
  return run_tiles(ctx, divide_up(rows, height), rows * work, task);
}

/// The same elements as one long row, when they lie one after the other.
View flat(View v) {
  if (v.contiguous()) v.cols *= v.rows, v.rows = 1, v.ld = v.cols;
  return v;
}

/// Scratch memory cut off in order; without memory it only counts.
struct Scratch {
  std::byte* base = nullptr;
  int64_t used = 0;

  static constexpr int64_t bytes(int64_t floats) { return round_up(floats * 4, 64); }

  float* take(int64_t floats) {
    float* p = base ? reinterpret_cast<float*>(base + used) : nullptr;
    used += bytes(floats);
    return p;
  }
};
