// What the micro-kernel is called with, and the table of its variants.

constexpr int64_t kTileCols = kTileVecs * kWidth, kWideCols = kWideVecs * kWidth;

/// Memory that a later tile needs: `count` times the lines at `at` and `other` bytes behind it, each time `step` bytes on; `at_once` of
/// them every four k.
struct Ask {
  const std::byte* at = nullptr;
  int64_t other = 0, step = 0, count = 0, at_once = 1;
};

/// Where the factors lie up to `k_end`, counted from the k that this part begins with: element (row, k) of A at a[row * lda + k], turned,
/// as packed rows are, at a[k * lda + row]; element (k, column) of B at b[k * ldb + column].
struct TilePart {
  const float *a = nullptr, *b = nullptr;
  int64_t lda = 0, ldb = 0, k_end = 0;
};

struct TileCall {
  TilePart parts[2];  // one after the other
  float* c;
  int64_t ldc, cols;
  const float* bias;  // added when C is first written; null: none
  bool accumulate;    // C already holds the earlier blocks of K
  float* sums;        // kTileCols to a row (no wider tile pauses): where the sums so far are, if the tile resumes, and stay, if it pauses
  bool resumes, pauses;
  Ask ask;
};

#include "kernels/simd/tile.inl"

/// Tiles for few columns: of half a vector, if there is one, because half of the lanes of a whole one would multiply nothing.
namespace half {
using halves::Vec, halves::kWidth, halves::zero, halves::multiplier, halves::add_product, halves::load, halves::load_first;
#include "kernels/simd/tile.inl"
}  // namespace half

using TileFunction = void (*)(const TileCall&);

/// How many vectors wide a tile of so many columns is.
int64_t vecs_of(int64_t cols) { return cols <= half::kWidth ? 0 : divide_up(cols, kWidth); }

/// of[turned][vectors][rows - 1]; 0 vectors: tiles for few columns, which have the most rows
struct TileTable {
  TileFunction of[2][1 + kWideVecs][kMostRows[0]];
};

template <int Vecs, int Rows = kMostRows[Vecs]>
constexpr void fill_tiles(TileTable& table) {
  if constexpr (Vecs == 0) {
    table.of[0][0][Rows - 1] = half::multiply_tile<Rows, 1, false>;
    table.of[1][0][Rows - 1] = half::multiply_tile<Rows, 1, true>;
  } else if constexpr (Vecs > 1 || half::kWidth < kWidth) {
    table.of[0][Vecs][Rows - 1] = multiply_tile<Rows, Vecs, false>;
    table.of[1][Vecs][Rows - 1] = multiply_tile<Rows, Vecs, true>;
  }
  if constexpr (Rows > 1) {
    fill_tiles<Vecs, Rows - 1>(table);
  } else if constexpr (Vecs > 0) {
    fill_tiles<Vecs - 1>(table);
  }
}

constexpr TileTable make_tile_table() {
  TileTable table{};
  fill_tiles<kWideVecs>(table);
  return table;
}

constexpr TileTable kTiles = make_tile_table();

/// The tile at `t`, of at most kMostRows[vecs_of(t.cols)] rows.
void multiply_rows(const TileCall& t, bool turned, int64_t rows) { kTiles.of[turned ? 1 : 0][vecs_of(t.cols)][rows - 1](t); }
