// What the micro-kernel is called with, and the table of its variants.

constexpr int64_t kTileCols = kTileVecs * kWidth;

/// Memory that a later tile needs: `count` times the lines at `at` and `other` bytes behind it, each time `step` bytes on; `at_once` of
/// them every four k.
struct Ask {
  const std::byte* at = nullptr;
  int64_t other = 0, step = 0, count = 0, at_once = 1;
};

/// Where rows of B up to `k_end` lie: element (k, column) at at[(k - k of the first of them) * ld + column]; packed, ld is kTileCols.
struct PanelRows {
  const float* at = nullptr;
  int64_t ld = kTileCols, k_end = 0;
};

struct TileCall {
  const float* a;  // element (row, k) at a[row * lda + k]; turned: at a[k * lda + row], as in packed panels, where lda is kTileRows
  int64_t lda;
  PanelRows b[2];  // one after the other
  float* c;
  int64_t ldc, cols;
  const float* bias;  // added when C is first written; null: none
  bool accumulate;    // C already holds the earlier blocks of K
  float* sums;        // kTileCols to a row: where the sums of the k before are, if the tile resumes, and stay, if it pauses
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

/// of[turned][rows - 1][vectors]; 0: tiles for few columns
struct TileTable {
  TileFunction of[2][kTileRows][1 + kTileVecs];
};

template <int Rows>
constexpr void fill_tile_rows(TileTable& table) {
  table.of[0][Rows - 1][0] = half::multiply_tile<Rows, 1, false>;
  table.of[0][Rows - 1][2] = multiply_tile<Rows, 2, false>;
  table.of[1][Rows - 1][0] = half::multiply_tile<Rows, 1, true>;
  table.of[1][Rows - 1][2] = multiply_tile<Rows, 2, true>;
  if constexpr (half::kWidth < kWidth) {
    table.of[0][Rows - 1][1] = multiply_tile<Rows, 1, false>;
    table.of[1][Rows - 1][1] = multiply_tile<Rows, 1, true>;
  }
  if constexpr (Rows > 1) fill_tile_rows<Rows - 1>(table);
}

constexpr TileTable make_tile_table() {
  TileTable table{};
  fill_tile_rows<kTileRows>(table);
  return table;
}

constexpr TileTable kTiles = make_tile_table();

/// The tile at `t` of at most kTileRows of the rows that are left.
void multiply_rows(const TileCall& t, bool turned, int64_t rows_left) {
  kTiles.of[turned ? 1 : 0][lesser(kTileRows, rows_left) - 1][t.cols <= half::kWidth ? 0 : divide_up(t.cols, kWidth)](t);
}
