// lowrank_ladder: the steps from the obvious product of matrices to the one of this library, on one thread, each proved against float64.
// C[M, N] = A[M, K] B[N, K]^T, f32, as in a linear layer. README.md says why each step is faster than the one before.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "../native/harness.h"
#include "../native/reference.h"
#include "core/cpu_features.h"

namespace {

using bench::Matrix;

constexpr int64_t kSize = 1024;

struct Problem {
  const float *a, *b;
  float* c;
  int64_t m = kSize, n = kSize, k = kSize;
};

// 1. Each element is one dot product. A single chain of additions: every one waits for the one before.
void dot_products(const Problem& p) {
  for (int64_t i = 0; i < p.m; ++i) {
    for (int64_t j = 0; j < p.n; ++j) {
      float sum = 0;
      for (int64_t k = 0; k < p.k; ++k) sum += p.a[i * p.k + k] * p.b[j * p.k + k];
      p.c[i * p.n + j] = sum;
    }
  }
}

#if defined(__x86_64__) && defined(__GNUC__)
#define LADDER_AVX2 __attribute__((target("avx2,fma")))
using Eight = float __attribute__((vector_size(32), aligned(4)));

LADDER_AVX2 inline Eight at(const float* p) { return *reinterpret_cast<const Eight*>(p); }
LADDER_AVX2 inline float total(Eight x) { return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7])); }

// 2. Eight products at a time; still one chain.
LADDER_AVX2 void vectors(const Problem& p) {
  for (int64_t i = 0; i < p.m; ++i) {
    for (int64_t j = 0; j < p.n; ++j) {
      Eight sum = {};
      for (int64_t k = 0; k < p.k; k += 8) sum += at(p.a + i * p.k + k) * at(p.b + j * p.k + k);
      p.c[i * p.n + j] = total(sum);
    }
  }
}

// 3. A tile of 4 x 3 dot products side by side: twelve chains, and every vector that is loaded is used three or four times.
LADDER_AVX2 void tile_of_dots(const Problem& p) {
  constexpr int64_t kRows = 4, kColumns = 3;
  for (int64_t i = 0; i < p.m; i += kRows) {
    for (int64_t j = 0; j < p.n; j += kColumns) {
      const int64_t columns = std::min(kColumns, p.n - j);
      Eight sum[kRows][kColumns] = {};
      for (int64_t k = 0; k < p.k; k += 8) {
        Eight b[kColumns];
#pragma GCC unroll 3
        for (int64_t y = 0; y < kColumns; ++y) b[y] = at(p.b + (j + std::min(y, columns - 1)) * p.k + k);
#pragma GCC unroll 4
        for (int64_t x = 0; x < kRows; ++x) {
          const Eight a = at(p.a + (i + x) * p.k + k);
#pragma GCC unroll 3
          for (int64_t y = 0; y < kColumns; ++y) sum[x][y] += a * b[y];
        }
      }
      for (int64_t x = 0; x < kRows; ++x) {
        for (int64_t y = 0; y < columns; ++y) p.c[(i + x) * p.n + j + y] = total(sum[x][y]);
      }
    }
  }
}

constexpr int64_t kPanel = 16, kTile = 6;

/// `outer` rows of K become panels of `width`: element (row, k) at [row / width][k][row % width] of a block of K; zeros where the rows end.
void pack(const float* rows, int64_t outer, int64_t ld, int64_t depth, int64_t width, std::vector<float>& panels) {
  panels.assign(static_cast<size_t>((outer + width - 1) / width * width * depth), 0.0f);
  for (int64_t j = 0; j < outer; ++j) {
    for (int64_t k = 0; k < depth; ++k) panels[static_cast<size_t>(j / width * width * depth + k * width + j % width)] = rows[j * ld + k];
  }
}

/// 6 x 16 elements of C in twelve registers; each step of K is two loads and six broadcasts for twelve multiply-adds.
/// Element (x, k) of A at a[x * row_step + k * k_step].
template <int64_t Rows>
LADDER_AVX2 void outer_products(const Problem& p, const float* a, int64_t row_step, int64_t k_step, const float* panel, int64_t depth,
                                float* c, bool first) {
  Eight sum[Rows][2] = {};
  for (int64_t k = 0; k < depth; ++k) {
    const Eight left = at(panel + k * kPanel), right = at(panel + k * kPanel + 8);
#pragma GCC unroll 6
    for (int64_t x = 0; x < Rows; ++x) {
      const float one = a[x * row_step + k * k_step];
      const Eight same = {one, one, one, one, one, one, one, one};
      sum[x][0] += same * left;
      sum[x][1] += same * right;
    }
  }
#pragma GCC unroll 6
  for (int64_t x = 0; x < Rows; ++x) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      Eight& to = *reinterpret_cast<Eight*>(c + x * p.n + half * 8);
      to = first ? sum[x][half] : to + sum[x][half];
    }
  }
}

// 4. B packed in panels that are read from front to back; tiles are outer products, so nothing is added across a vector.
LADDER_AVX2 void packed_panels(const Problem& p) {
  std::vector<float> panels;
  pack(p.b, p.n, p.k, p.k, kPanel, panels);
  for (int64_t j = 0; j < p.n; j += kPanel) {
    const float* panel = panels.data() + j * p.k;
    int64_t i = 0;
    for (; i + kTile <= p.m; i += kTile) outer_products<kTile>(p, p.a + i * p.k, p.k, 1, panel, p.k, p.c + i * p.n + j, true);
    for (; i < p.m; ++i) outer_products<1>(p, p.a + i * p.k, p.k, 1, panel, p.k, p.c + i * p.n + j, true);
  }
}

// 5. A packed too, and K in blocks of 256: a panel of B stays in the first cache while the panels of A pass, which come from the second.
LADDER_AVX2 void blocks_of_k(const Problem& p) {
  constexpr int64_t kDepth = 256;
  std::vector<float> a_panels, b_panels;
  for (int64_t k0 = 0; k0 < p.k; k0 += kDepth) {
    pack(p.a + k0, p.m, p.k, kDepth, kTile, a_panels);
    pack(p.b + k0, p.n, p.k, kDepth, kPanel, b_panels);
    for (int64_t j = 0; j < p.n; j += kPanel) {
      const float *panel = b_panels.data() + j * kDepth, *rows = a_panels.data();
      int64_t i = 0;
      for (; i + kTile <= p.m; i += kTile) outer_products<kTile>(p, rows + i * kDepth, 1, kTile, panel, kDepth, p.c + i * p.n + j, k0 == 0);
      for (int64_t x = 0; i + x < p.m; ++x)
        outer_products<1>(p, rows + i * kDepth + x, 1, kTile, panel, kDepth, p.c + (i + x) * p.n + j, k0 == 0);
    }
  }
}
#endif

struct Step {
  const char* name;
  std::function<void(const Problem&)> run;
};

std::string verify(const Matrix& a, const Matrix& b, const Matrix& c) {
  for (int64_t i : bench::sampled(c.rows)) {
    for (int64_t j = 0; j < c.cols; ++j) {
      bench::Dot dot;
      for (int64_t k = 0; k < a.cols; ++k) dot.add(a.at(i, k), b.at(j, k));
      // One chain of K additions: its bound is K units, not the square root of it.
      const std::string wrong = bench::compare(c.at(i, j), dot, static_cast<double>(a.cols * a.cols) / 16, "c", i, j);
      if (!wrong.empty()) return wrong;
    }
  }
  return "";
}

}  // namespace

int main() {
  using namespace lowrank;
  Matrix a(kSize, kSize, 1), b(kSize, kSize, 2), c(kSize, kSize, 3);
  const Problem problem{a.f32.data(), b.f32.data(), c.f32.data()};
  std::vector<Step> steps{{"dot products", dot_products}};
#if defined(__x86_64__) && defined(__GNUC__)
  if (cpu_features().avx2)
    steps.insert(steps.end(),
                 {{"vectors", vectors}, {"tile of dots", tile_of_dots}, {"packed panels", packed_panels}, {"blocks of K", blocks_of_k}});
#endif
  const KernelTable& table = *kernel_table(best_backend());
  std::shared_ptr<std::vector<std::byte>> memory;
  const Out y = c.view<Out>();
  const In x = a.view<In>(), w = b.view<In>(), no_bias{};
  const Context context = bench::context_of(1, table.linear_forward_scratch(1, y, x, w, no_bias), memory);
  steps.push_back({"the library", [&](const Problem&) {
                     Context ctx = context;
                     table.linear_forward(ctx, y, x, w, no_bias);
                   }});
  flush_subnormals();
  bench::Group group;
  for (const Step& step : steps) {
    bench::Row row;
    row.name = step.name, row.shape = "1024x1024x1024", row.form = "NT", row.dtype = "f32", row.flops = 2.0 * kSize * kSize * kSize;
    row.run = [&, run = step.run]() {
      std::memset(c.f32.data(), 0xff, c.f32.size() * sizeof(float));  // what a step leaves out is NaN
      run(problem);
    };
    row.verify = [&]() { return verify(a, b, c); };
    group.push_back(std::move(row));
  }
  try {
    bench::run_group(group, 7);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lowrank_ladder: %s\n", error.what());
    return 1;
  }
  std::printf("%s\n", cpu_features().model.c_str());
  for (const bench::Row& row : group)
    std::printf("%-14s %8.1f ms %6.1f GFLOP/s %6.3f of peak\n", row.name.c_str(), row.median_ns / 1e6, row.flops / row.median_ns,
                row.share);
  return 0;
}
