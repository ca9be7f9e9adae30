// Small integer helpers; std:: ones must not be instantiated inside a target region.

constexpr int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }
constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

/// Where part i of `parts` nearly equal parts of n begins, in units of `unit`.
constexpr int64_t part_begin(int64_t n, int64_t unit, int64_t parts, int64_t i) { return lesser(n, divide_up(n, unit) * i / parts * unit); }

/// Runs body(i) for i in [0, n): on the calling thread when the whole is a few microseconds of work, else on the pool.
template <class Body>
Status run_tiles(Context& ctx, int64_t n, int64_t work, Body&& body) {
  constexpr int64_t kWorthSharing = 1 << 16;  // flops or elements
  if (work >= kWorthSharing) return ctx.parallel_for(n, body);
  for (int64_t i = 0; i < n; ++i) body(i);
  return {};
}

/// A slice of scratch memory, cut off in order.
struct Scratch {
  std::byte* at;

  static constexpr int64_t bytes(int64_t floats) { return round_up(floats * 4, 64); }

  float* take(int64_t floats) {
    float* p = reinterpret_cast<float*>(at);
    at += bytes(floats);
    return p;
  }
};
