// The one matrix product: C = sum over segments of A_s B_s (+ bias), for every layout, in packed blocks. docs/kernels.md explains it.

constexpr int64_t kBlockRows = 2048, kBlockCols = 4096;  // what is packed at once, beside kBlockK
constexpr int64_t kPackPanels = 8;                       // panels packed by one task

struct Segment {
  Factor a, b;
  int64_t k = 0;
};

struct Product {
  int64_t batch = 1, m = 0, n = 0;
  Segment segments[2];  // one after the other along K; an unused one has k = 0
  float* c = nullptr;
  int64_t ldc = 0, c_batch_stride = 0;
  const float* bias = nullptr;  // [n]
  bool accumulate = false;      // C += instead of C =
};

/// How a product is cut. Blocks of K depend on K alone, so the order of every sum does; the rest only moves work around.
struct Plan {
  int64_t k, k_blocks, rows, cols, group;  // rows, cols: packed at once, whole panels; group: matrices of a batch packed at once
  bool a_in_place;
  int64_t a_floats, b_floats;  // scratch of one matrix of the group

  // A vector of a quantised weight must not reach over the end of its block of numbers: K is cut at multiples of kWidth.
  int64_t k_begin(int64_t block) const { return part_begin(k, greater(8, kWidth), k_blocks, block); }
};

/// A few columns only: each row of A is read once or twice, so packing it costs more than it saves.
bool reads_a_in_place(const Product& p) {
  const Factor& a = p.segments[0].a;
  return p.n <= 2 * kTileCols && p.segments[1].k == 0 && a.k_contiguous && !a.dropout && a.dtype == DType::f32;
}

Plan make_plan(const Product& p) {
  Plan plan;
  plan.k = p.segments[0].k + p.segments[1].k;
  plan.k_blocks = greater(1, divide_up(plan.k, kBlockK));
  plan.a_in_place = reads_a_in_place(p);
  const int64_t depth = lesser(plan.k, kBlockK);
  plan.rows = round_up(lesser(p.m, kBlockRows), kTileRows);
  plan.cols = round_up(lesser(p.n, kBlockCols), kTileCols);
  plan.a_floats = plan.a_in_place ? 0 : round_up(plan.rows * depth, 16);
  plan.b_floats = round_up(plan.cols * depth, 16);
  constexpr int64_t kGroupFloats = 1 << 20;
  plan.group = clamp(kGroupFloats / greater(1, plan.a_floats + plan.b_floats), 1, greater(1, p.batch));
  return plan;
}

int64_t multiply_scratch(const Product& p) {
  const Plan plan = make_plan(p);
  return Scratch::bytes(plan.group * (plan.a_floats + plan.b_floats));
}

/// One packed block: C[row0 .. row0 + rows, col0 .. col0 + cols] over k in [k0, k0 + k), for `group` matrices from `batch0` on.
struct Block {
  const Product* p;
  const Plan* plan;
  float *a, *b;  // packed panels
  int64_t batch0, group, row0, rows, col0, cols, k0, k;
  int64_t tile_rows, tile_cols, tiles_down, tiles_across;
};

/// Packs panels [first, first + count) of one side, from all segments that the block of K touches.
template <int64_t Width>
void pack_panels(const Block& block, bool side_a, int64_t matrix, int64_t first, int64_t count, int64_t outer0, int64_t outer,
                 float* panels) {
  const int64_t begin = first * Width, end = lesser(outer, begin + count * Width);
  int64_t segment_begin = 0;
  for (const Segment& s : block.p->segments) {
    const int64_t from = greater(block.k0, segment_begin), to = lesser(block.k0 + block.k, segment_begin + s.k);
    if (from < to) {
      const Window w{block.batch0 + matrix, outer0 + begin, end - begin, from - segment_begin, to - from};
      pack_window<Width>(side_a ? s.a : s.b, w, panels + first * Width * block.k + (from - block.k0) * Width, Width * block.k);
    }
    segment_begin += s.k;
  }
}

int64_t pack_tasks(int64_t outer, int64_t width) { return divide_up(divide_up(outer, width), kPackPanels); }

void pack_a_task(const Block& block, int64_t task) {
  const int64_t per_matrix = pack_tasks(block.rows, kTileRows), matrix = task / per_matrix;
  pack_panels<kTileRows>(block, true, matrix, task % per_matrix * kPackPanels, kPackPanels, block.row0, block.rows,
                         block.a + matrix * block.plan->a_floats);
}

void pack_b_task(const Block& block, int64_t task) {
  const int64_t per_matrix = pack_tasks(block.cols, kTileCols), matrix = task / per_matrix;
  pack_panels<kTileCols>(block, false, matrix, task % per_matrix * kPackPanels, kPackPanels, block.col0, block.cols,
                         block.b + matrix * block.plan->b_floats);
}

/// Packs the columns' side when `with_b`, and the rows' side unless it is read in place.
Status pack_block(Context& ctx, const Block& block, bool with_b) {
  const int64_t b_tasks = with_b ? block.group * pack_tasks(block.cols, kTileCols) : 0;
  const int64_t a_tasks = block.plan->a_in_place ? 0 : block.group * pack_tasks(block.rows, kTileRows);
  const int64_t work = block.group * block.k * ((with_b ? block.cols : 0) + (a_tasks ? block.rows : 0));
  return run_tiles(ctx, a_tasks + b_tasks, work, [&](int64_t i) { i < b_tasks ? pack_b_task(block, i) : pack_a_task(block, i - b_tasks); });
}

void multiply_block_tile(const Block& block, int64_t task) {
  const Product& p = *block.p;
  const int64_t per_matrix = block.tiles_down * block.tiles_across, matrix = task / per_matrix;
  const int64_t down = task % per_matrix % block.tiles_down, across = task % per_matrix / block.tiles_down;
  const int64_t row_begin = down * block.tile_rows, row_end = lesser(block.rows, row_begin + block.tile_rows);
  const int64_t col_begin = across * block.tile_cols, col_end = lesser(block.cols, col_begin + block.tile_cols);
  const Factor& a = p.segments[0].a;
  const float* a_in_place =
      reinterpret_cast<const float*>(a.data) + (block.batch0 + matrix) * a.batch_stride + block.row0 * a.ld + block.k0;
  const float* packed_a = block.a + matrix * block.plan->a_floats;
  const float* packed_b = block.b + matrix * block.plan->b_floats;
  float* c = p.c + (block.batch0 + matrix) * p.c_batch_stride + block.row0 * p.ldc + block.col0;
  TileCall call;
  call.k = block.k, call.lda = block.plan->a_in_place ? a.ld : kTileRows, call.ldc = p.ldc;
  call.accumulate = p.accumulate || block.k0 > 0;
  for (int64_t j = col_begin; j < col_end; j += kTileCols) {
    call.b = packed_b + j * block.k;
    call.cols = lesser(kTileCols, col_end - j);
    call.bias = p.bias ? p.bias + block.col0 + j : nullptr;
    for (int64_t i = row_begin; i < row_end; i += kTileRows) {
      const int64_t rows = lesser(kTileRows, row_end - i), vectors = divide_up(call.cols, kWidth);
      call.a = block.plan->a_in_place ? a_in_place + i * a.ld : packed_a + i * block.k;
      call.c = c + i * p.ldc + j;
      kTiles.of[block.plan->a_in_place ? 0 : 1][rows - 1][vectors - 1](call);
    }
  }
}

/// Chooses tiles of C: large enough to reuse panels from the caches, and enough of them for all threads to end at about the same time.
void cut_tiles(Block& block, int threads) {
  block.tile_rows = round_up(192, kTileRows), block.tile_cols = 16 * kTileCols;
  for (;;) {
    block.tiles_down = divide_up(block.rows, block.tile_rows), block.tiles_across = divide_up(block.cols, block.tile_cols);
    const bool enough = threads == 1 || block.group * block.tiles_down * block.tiles_across >= kTilesPerThread * threads;
    if (enough || (block.tile_rows <= 4 * kTileRows && block.tile_cols <= 2 * kTileCols)) return;
    if (block.tile_cols > 2 * kTileCols && block.tile_cols >= block.tile_rows) {
      block.tile_cols /= 2;
    } else {
      block.tile_rows = block.tile_rows / 2 / kTileRows * kTileRows;
    }
  }
}

Status run_block(Context& ctx, Block& block, bool with_b) {
  const Status packed = pack_block(ctx, block, with_b);
  if (!packed.ok()) return packed;
  cut_tiles(block, ctx.threads());
  return run_tiles(ctx, block.group * block.tiles_down * block.tiles_across, 2 * block.group * block.rows * block.cols * block.k,
                   [&](int64_t i) { multiply_block_tile(block, i); });
}

/// Computes the product. `scratch` has multiply_scratch(p) bytes.
Status multiply(Context& ctx, const Product& p, std::byte* scratch) {
  if (p.m == 0 || p.n == 0 || p.batch == 0) return {};
  const Plan plan = make_plan(p);
  Block block{};
  block.p = &p, block.plan = &plan;
  block.a = reinterpret_cast<float*>(scratch), block.b = block.a + plan.group * plan.a_floats;
  for (block.batch0 = 0; block.batch0 < p.batch; block.batch0 += plan.group) {
    block.group = lesser(plan.group, p.batch - block.batch0);
    for (block.col0 = 0; block.col0 < p.n; block.col0 += plan.cols) {
      block.cols = lesser(plan.cols, p.n - block.col0);
      for (int64_t k_block = 0; k_block < plan.k_blocks; ++k_block) {
        block.k0 = plan.k_begin(k_block), block.k = plan.k_begin(k_block + 1) - block.k0;
        for (block.row0 = 0; block.row0 < p.m; block.row0 += plan.rows) {
          block.rows = lesser(plan.rows, p.m - block.row0);
          const Status status = run_block(ctx, block, block.row0 == 0);
          if (!status.ok()) return status;
        }
      }
    }
  }
  return {};
}
