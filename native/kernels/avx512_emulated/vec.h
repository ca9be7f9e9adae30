// The kernels of AVX-512 over pairs of AVX2 vectors, so that the wide path is tested on machines that lack AVX-512.
#include "kernels/avx2/pairs.h"

namespace lowrank::avx512_emulated {

using namespace avx2_pairs;
namespace wides = avx2_pairs;

// --- tiles of C, whose sums stay in registers, and how products are cut for them ---
namespace halves = avx2;                                        // its vectors multiply tiles of few columns
constexpr int kMostRows[] = {14, 14, 14, 8, 6};                 // of a tile that is so many vectors wide; 0: half a vector
constexpr int kTileVecs = 2, kTileRows = kMostRows[kTileVecs];  // of products
constexpr int kWideVecs = 4;                                    // of attention, and of products whose left factor is read in place
constexpr int64_t kBlockK = 512;
constexpr int64_t kStripPanels = 8;         // of packed columns, with the rows that meet them well inside the second cache
constexpr int64_t kCachedFloats = 300'000;  // packed rows that stay in the second cache
constexpr int64_t kRowsInPlace = 1024;      // of C: up to so many, panels of B that lie close are read in place
constexpr int64_t kDepthInPlace = 1024;     // of products whose rows of A lie close: up to so much of K, they are read in place
constexpr int64_t kLowRank = 16;            // columns of B: for up to so many, vectors lie along K

}  // namespace lowrank::avx512_emulated
