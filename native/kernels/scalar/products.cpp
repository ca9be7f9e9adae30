#include "kernels/scalar/products.h"

#include "kernels/scalar/rows.h"

namespace lowrank::scalar {

namespace {

constexpr int64_t kTileRows = 8, kTileCols = 64, kDepth = 512;

/// Sum of a[i] b[i], in eight chains.
float dot(const float* a, const float* b, int64_t n) {
  float chain[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int64_t j = 0; j < 8; ++j) chain[j] += a[i + j] * b[i + j];
  for (int64_t j = 0; i < n; ++i, ++j) chain[j] += a[i] * b[i];
  return ((chain[0] + chain[4]) + (chain[2] + chain[6])) + ((chain[1] + chain[5]) + (chain[3] + chain[7]));
}

/// y[i] += factor * x[i]
void add_scaled(float* y, float factor, const float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

/// body(first row, rows, first column, columns) for tiles that cover rows x cols once.
template <class Body>
Status for_each_tile(Context& ctx, int64_t rows, int64_t cols, const Body& body) {
  if (rows <= 0 || cols <= 0) return {};
  const int64_t across = ceil_div(cols, kTileCols), down = ceil_div(rows, kTileRows);
  return ctx.parallel_for(across * down, [&](int64_t tile) {
    const int64_t r = tile / across * kTileRows, c = tile % across * kTileCols;
    body(r, std::min(kTileRows, rows - r), c, std::min(kTileCols, cols - c));
  });
}

/// Writes a finished tile: c = factor * tile, or c += factor * tile.
void store(const View& c, int64_t r, int64_t rows, int64_t begin, int64_t cols, const float tile[][kTileCols], float factor, bool add) {
  for (int64_t i = 0; i < rows; ++i) {
    float* out = c.row<float>(r + i) + begin;
    for (int64_t j = 0; j < cols; ++j) out[j] = add ? out[j] + factor * tile[i][j] : factor * tile[i][j];
  }
}

}  // namespace

Status product_nt(Context& ctx, const View& c, const View& a, const View& b, const View& bias, float factor, bool add) {
  const int64_t depth = a.cols;
  return for_each_tile(ctx, c.rows, c.cols, [&](int64_t r, int64_t rows, int64_t begin, int64_t cols) {
    float tile[kTileRows][kTileCols], buffer[kDepth];
    for (int64_t j = 0; j < cols; ++j) {
      float sum[kTileRows] = {};
      for (int64_t k = 0; k < depth; k += kDepth) {
        const int64_t n = std::min(kDepth, depth - k);
        const float* weights = floats_of(b, begin + j, k, n, buffer);
        for (int64_t i = 0; i < rows; ++i) sum[i] += dot(a.row<const float>(r + i) + k, weights, n);
      }
      for (int64_t i = 0; i < rows; ++i) tile[i][j] = sum[i];
    }
    store(c, r, rows, begin, cols, tile, factor, add);
    if (!bias) return;
    for (int64_t i = 0; i < rows; ++i) add_scaled(c.row<float>(r + i) + begin, 1.0f, bias.row<const float>(0) + begin, cols);
  });
}

Status product_nn(Context& ctx, const View& c, const View& a, const View& b, float factor, bool add) {
  return for_each_tile(ctx, c.rows, c.cols, [&](int64_t r, int64_t rows, int64_t begin, int64_t cols) {
    float tile[kTileRows][kTileCols] = {}, buffer[kTileCols];
    for (int64_t first = 0; first < a.cols; first += kDepth) {
      float part[kTileRows][kTileCols] = {};
      for (int64_t k = first; k < std::min(a.cols, first + kDepth); ++k) {
        const float* weights = floats_of(b, k, begin, cols, buffer);
        for (int64_t i = 0; i < rows; ++i) add_scaled(part[i], a.row<const float>(r + i)[k], weights, cols);
      }
      for (int64_t i = 0; i < rows; ++i) add_scaled(tile[i], 1.0f, part[i], cols);
    }
    store(c, r, rows, begin, cols, tile, factor, add);
  });
}

Status product_tn(Context& ctx, const View& c, const View& a, const View& b, float factor, bool add) {
  return for_each_tile(ctx, c.rows, c.cols, [&](int64_t r, int64_t rows, int64_t begin, int64_t cols) {
    float tile[kTileRows][kTileCols] = {};
    for (int64_t first = 0; first < a.rows; first += kDepth) {
      float part[kTileRows][kTileCols] = {};
      for (int64_t k = first; k < std::min(a.rows, first + kDepth); ++k)
        for (int64_t i = 0; i < rows; ++i) add_scaled(part[i], a.row<const float>(k)[r + i], b.row<const float>(k) + begin, cols);
      for (int64_t i = 0; i < rows; ++i) add_scaled(tile[i], 1.0f, part[i], cols);
    }
    store(c, r, rows, begin, cols, tile, factor, add);
  });
}

}  // namespace lowrank::scalar
