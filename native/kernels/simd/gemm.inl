// The one matrix product: C = sum over segments of A_s B_s (+ bias), for every layout, in packed panels. docs/kernels.md explains it.

constexpr int64_t kBlockRows = 2048;                     // rows of A packed at once
constexpr int64_t kBandRows = 224, kBandFloats = 65536;  // a band has at most so many rows, and about so many floats
constexpr int64_t kPackPanels = 8;                       // panels of A packed by one task

/// At least so many tasks, so that all threads end at about the same time.
constexpr int64_t enough_tasks(int threads) { return threads == 1 ? 1 : 12 * threads; }

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

  bool empty() const { return m == 0 || n == 0 || batch == 0; }
};

/// How a product is cut. Blocks of K depend on K alone, so the order of every sum does; the rest only moves work around.
struct Plan {
  int64_t k, k_blocks;
  int64_t cols;                                                // of a panel of B
  int64_t rows, row_blocks, deep, deep_blocks, group, groups;  // packed at once: rows, blocks of K, matrices of a batch
  bool a_in_place, in_chunks;
  int64_t a_floats, strip_floats;  // packed: rows of one matrix, columns of one task

  // A vector of a quantised weight must not reach over the end of its block of numbers: K is cut at multiples of kWidth.
  int64_t k_begin(int64_t block) const { return part_begin(k, greater(8, kWidth), k_blocks, block); }
  int64_t tile_rows() const { return kMostRows[cols / kWidth]; }
  /// Rows that meet all panels of a strip, for one block of K, before the next rows do.
  int64_t band(int64_t block) const {
    return round_up(lesser(kBandRows, kBandFloats / greater(1, k_begin(block + 1) - k_begin(block))), tile_rows());
  }
  int64_t blocks() const { return groups * row_blocks * deep_blocks; }
};

constexpr int64_t kUnpackedRows = 24;    // of C: up to so many, B is read where it lies, wherever that is
constexpr int64_t kFewestChunked = 128;  // k
static_assert(kUnpackedRows <= lesser(kFewestChunked, kBlockK), "the sums of chunks find room where packed columns would be");

/// Whether the micro-kernel may step through rows of B where they lie: the fewer rows C has, the less packing them saves.
bool reads_b_in_place(const Product& p, const Segment& s) {
  return p.m <= (lies_close(s.b) ? kRowsInPlace : kUnpackedRows) && s.b.dtype == DType::f32 && !s.b.k_contiguous && !s.b.dropout;
}

/// Where B has a few columns only, each element of A is read up to four times, so packing it costs more than it saves; so it does where K
/// is short, and for a few rows of C if A is turned, as packed panels are, and whole panels of B are not packed either.
bool reads_a_in_place(const Product& p) {
  constexpr int64_t kTurnedRows = 64, kFewColumns = lesser(4 * kTileCols, 64), kFewCrowded = 32;
  const Segment& s = p.segments[0];
  bool close = true;
  int64_t k = 0;
  for (const Segment& one : p.segments) {
    if (one.k == 0) continue;
    if (one.a.dropout || one.a.dtype != DType::f32 || one.a.k_contiguous != s.a.k_contiguous) return false;
    close = close && lies_close(one.a), k += one.k;
  }
  if (s.a.k_contiguous) return p.n <= kFewColumns || (close && k <= kDepthInPlace);
  return p.n <= (close ? kFewColumns : kFewCrowded) || (p.m <= kTurnedRows && reads_b_in_place(p, s));
}

/// Whether few rows of C meet rows of B that are read in place though they do not lie close: some of them at a time then meet all columns
/// of a strip, while the sums wait, so that they are read nearly one after the other.
bool goes_in_chunks(const Product& p) {
  const Segment& s = p.segments[0];
  return p.segments[1].k == 0 && p.m <= kUnpackedRows && p.n % kWidth == 0 && s.k >= kFewestChunked && !lies_close(s.b) &&
         reads_a_in_place(p) && reads_b_in_place(p, s);
}

/// A product of some microseconds stays on the thread that asks: handing it out costs as much, and a strip for each thread more memory.
int threads_of(const Product& p, int threads) {
  constexpr int64_t kWorthSharing = 1 << 20;  // flops
  return 2 * p.batch * p.m * p.n * (p.segments[0].k + p.segments[1].k) < kWorthSharing ? 1 : threads;
}

/// Into how many strips the panels of columns are dealt: wide ones, whose columns are packed once for many rows, but enough for all
/// threads; wider ones where rows of B are read across them.
int64_t strips_across(const Product& p, int64_t panels, int64_t group, int threads) {
  return clamp(divide_up(goes_in_chunks(p) ? 3 * threads : enough_tasks(threads), group), divide_up(p.n, kStripPanels * kTileCols), panels);
}

Plan make_plan(const Product& p, int threads) {
  Plan plan;
  plan.k = p.segments[0].k + p.segments[1].k;
  plan.k_blocks = greater(1, divide_up(plan.k, kBlockK));
  plan.a_in_place = reads_a_in_place(p), plan.in_chunks = goes_in_chunks(p);
  plan.cols = plan.a_in_place && !plan.in_chunks ? kWideCols : kTileCols;
  plan.rows = round_up(divide_up(p.m, divide_up(p.m, kBlockRows)), kTileRows);
  plan.row_blocks = divide_up(p.m, plan.rows);
  const int64_t depth = plan.a_in_place ? divide_up(plan.k, plan.k_blocks) : lesser(plan.k, kBlockK);
  const int64_t one_deep = greater(1, plan.rows * depth), most = clamp(kCachedFloats / one_deep, 1, plan.k_blocks);
  plan.deep = divide_up(plan.k_blocks, divide_up(plan.k_blocks, most));
  plan.deep_blocks = divide_up(plan.k_blocks, plan.deep);
  plan.a_floats = plan.a_in_place ? 0 : round_up(plan.rows * lesser(plan.k, plan.deep * kBlockK), 16);
  constexpr int64_t kGroupFloats = 1 << 20;
  plan.group = clamp(kGroupFloats / greater(1, plan.a_floats), 1, p.batch);
  plan.groups = divide_up(p.batch, plan.group);
  const int64_t panels = divide_up(p.n, plan.cols), strip_panels = divide_up(panels, strips_across(p, panels, plan.group, threads));
  plan.strip_floats = round_up(strip_panels * plan.cols * lesser(plan.k, kBlockK), 16);
  return plan;
}

/// Some rows of C over some blocks of K, for `group` matrices from `batch0` on.
struct Block {
  const Product* p;
  const Plan* plan;
  float *strips, *a;  // for each thread a strip of packed columns, or the sums of chunks; the packed rows
  int64_t batch0, group, row0, rows, k_first, k_end;
  int64_t panels, across, down;  // how it is shared out: strips of panels, parts of the rows

  int64_t depth() const { return plan->k_begin(k_end) - plan->k_begin(k_first); }
  float* packed_a(int64_t matrix, int64_t k_block) const {
    return a + matrix * plan->a_floats + round_up(rows, kTileRows) * (plan->k_begin(k_block) - plan->k_begin(k_first));
  }
};

Block block_at(const Product& p, const Plan& plan, int threads, std::byte* scratch, int64_t index) {
  Block block{};
  block.p = &p, block.plan = &plan;
  const int64_t deep = index % plan.deep_blocks, down = index / plan.deep_blocks % plan.row_blocks;
  block.k_first = deep * plan.deep, block.k_end = lesser(plan.k_blocks, block.k_first + plan.deep);
  block.row0 = down * plan.rows, block.rows = lesser(plan.rows, p.m - block.row0);
  block.batch0 = index / plan.deep_blocks / plan.row_blocks * plan.group, block.group = lesser(plan.group, p.batch - block.batch0);
  block.strips = reinterpret_cast<float*>(scratch);
  block.a = block.strips + threads * plan.strip_floats + (threads > 1 ? index % 2 * plan.group * plan.a_floats : 0);
  block.panels = divide_up(p.n, plan.cols), block.across = strips_across(p, block.panels, block.group, threads);
  const int64_t finer = threads > 1 && reads_b_in_place(p, p.segments[0]) ? 2 : 1;  // smaller tasks where they need not pack B
  block.down = lesser(divide_up(finer * enough_tasks(threads), block.group * block.across), divide_up(finer * block.rows, 8 * kTileRows));
  return block;
}

int64_t multiply_scratch(int pool_threads, const Product& p) {
  if (p.empty()) return 0;
  const int threads = threads_of(p, pool_threads);
  const Plan plan = make_plan(p, threads);
  const int64_t halves = threads > 1 ? lesser(2, plan.blocks()) : 1;
  return Scratch::bytes(threads * plan.strip_floats + halves * plan.group * plan.a_floats);
}

/// Packs the panels of one block of K that cover [begin, end) of the axis that is not K, from all segments it touches.
template <int64_t Width>
void pack_panels(const Block& block, Factor Segment::*side, int64_t matrix, int64_t k_block, int64_t begin, int64_t end, float* panels) {
  const int64_t k0 = block.plan->k_begin(k_block), k = block.plan->k_begin(k_block + 1) - k0;
  int64_t segment_begin = 0;
  for (const Segment& s : block.p->segments) {
    const int64_t from = greater(k0, segment_begin), to = lesser(k0 + k, segment_begin + s.k);
    if (from < to) {
      const Window window{block.batch0 + matrix, begin, end - begin, from - segment_begin, to - from};
      pack_window<Width>(s.*side, window, panels + (from - k0) * Width, Width * k);
    }
    segment_begin += s.k;
  }
}

int64_t pack_tasks_down(const Block& block) { return divide_up(block.rows, kPackPanels * kTileRows); }

int64_t pack_tasks(const Block& block) {
  return block.plan->a_in_place ? 0 : block.group * (block.k_end - block.k_first) * pack_tasks_down(block);
}

void pack_task(const Block& block, int64_t task) {
  const int64_t down = pack_tasks_down(block), deep = block.k_end - block.k_first;
  const int64_t matrix = task / deep / down, k_block = block.k_first + task % deep, begin = task / deep % down * kPackPanels * kTileRows;
  const int64_t k = block.plan->k_begin(k_block + 1) - block.plan->k_begin(k_block);
  pack_panels<kTileRows>(block, &Segment::a, matrix, k_block, block.row0 + begin,
                         block.row0 + lesser(block.rows, begin + kPackPanels * kTileRows), block.packed_a(matrix, k_block) + begin * k);
}

/// Some rows and some panels of a block, and the memory for these panels.
struct Strip {
  int64_t matrix, row_begin, row_end, first, end;
  float* panels;
};

/// What is packed or read in place after (k_block, panel): the next panel of the strip, or of its next block of K, or of the next strip.
Window packed_next(const Block& block, const Strip& strip, int64_t k_block, int64_t panel) {
  if (++panel == strip.end) {
    if (++k_block == block.k_end) {
      k_block = block.k_first;
    } else {
      panel = strip.first;
    }
  }
  const int64_t k0 = block.plan->k_begin(k_block), k_end = lesser(block.plan->k_begin(k_block + 1), block.p->segments[0].k);
  const int64_t cols = block.plan->cols, column = panel * cols;
  return {block.batch0 + strip.matrix, column, lesser(cols, block.p->n - column), k0, k_end - k0};
}

float* packed_panel(const Block& block, const Strip& strip, int64_t index, int64_t k) {
  return strip.panels + (index - strip.first) * block.plan->cols * k;
}

/// The columns of B that a tile meets, from k_from to k_end of K.
struct Panel {
  int64_t k_block, index, k_from, k_end;
  bool in_place;  // its rows are read where they lie

  int64_t column(const Block& block) const { return index * block.plan->cols; }
  int64_t columns(const Block& block) const { return lesser(block.plan->cols, block.p->n - column(block)); }
};

/// Whether packing rows [k_from, k_end) of B would save less than it costs, and the micro-kernel can read them where they lie.
bool lies_in_place(const Block& block, const Panel& panel) {
  const int64_t columns = panel.columns(block);
  if (columns % kWidth != 0 && columns != half::kWidth) return false;
  int64_t begin = 0;
  for (const Segment& s : block.p->segments) {
    if (lesser(panel.k_end, begin + s.k) > greater(panel.k_from, begin) && !reads_b_in_place(*block.p, s)) return false;
    begin += s.k;
  }
  return true;
}

Panel panel_at(const Block& block, int64_t k_block, int64_t index) {
  Panel panel{k_block, index, block.plan->k_begin(k_block), block.plan->k_begin(k_block + 1), false};
  panel.in_place = lies_in_place(block, panel);
  return panel;
}

/// Packs the columns of a panel.
void pack_panel(const Block& block, const Strip& strip, const Panel& panel) {
  const int64_t begin = panel.column(block), end = begin + panel.columns(block);
  float* to = packed_panel(block, strip, panel.index, panel.k_end - panel.k_from);
  if (block.plan->cols == kTileCols) {
    pack_panels<kTileCols>(block, &Segment::b, strip.matrix, panel.k_block, begin, end, to);
  } else {
    pack_panels<kWideCols>(block, &Segment::b, strip.matrix, panel.k_block, begin, end, to);
  }
}

/// Where element (outer, k) of a factor lies.
const float* element(const Factor& f, int64_t batch, int64_t outer, int64_t k) {
  return reinterpret_cast<const float*>(f.data) + batch * f.batch_stride + (f.k_contiguous ? outer * f.ld + k : k * f.ld + outer);
}

/// Multiplies rows [begin, end) with one panel.
void multiply_panel(const Block& block, const Strip& strip, const Panel& panel, int64_t begin, int64_t end, Asks asks) {
  const Product& p = *block.p;
  const Plan& plan = *block.plan;
  const bool in_place = plan.a_in_place, turned = !in_place || !p.segments[0].a.k_contiguous;
  const int64_t k0 = plan.k_begin(panel.k_block), batch = block.batch0 + strip.matrix, column = panel.column(block);
  TileCall call;
  call.cols = panel.columns(block), call.ldc = p.ldc;
  call.bias = p.bias ? p.bias + column : nullptr;
  call.accumulate = p.accumulate || panel.k_block > 0;
  call.resumes = panel.k_from > k0, call.pauses = panel.k_end < plan.k_begin(panel.k_block + 1);
  const float* packed_rows = block.packed_a(strip.matrix, panel.k_block) + begin * (panel.k_end - k0);
  const float* packed_columns = packed_panel(block, strip, panel.index, panel.k_end - k0);
  const float* first_rows[2] = {};
  int64_t row_steps[2] = {}, segment_begin = 0;
  for (int i = 0; i < 2; ++i) {
    const Segment& s = p.segments[i];
    const int64_t first = greater(panel.k_from, segment_begin), last = lesser(panel.k_end, segment_begin + s.k);
    if (first < last) {
      TilePart& part = call.parts[i];
      first_rows[i] = in_place ? element(s.a, batch, block.row0 + begin, first - segment_begin) : packed_rows + (first - k0) * kTileRows;
      part.b = panel.in_place ? element(s.b, batch, column, first - segment_begin) : packed_columns + (first - k0) * plan.cols;
      part.lda = in_place ? s.a.ld : kTileRows, part.ldb = panel.in_place ? s.b.ld : plan.cols;
      part.k_end = last - panel.k_from;
      row_steps[i] = !in_place ? panel.k_end - k0 : turned ? 1 : s.a.ld;
    }
    segment_begin += s.k;
  }
  // Packed panels have kTileRows rows; others are dealt evenly, because a tile of one or two waits for its own sums.
  const int64_t tile = in_place ? divide_up(end - begin, divide_up(end - begin, kMostRows[vecs_of(call.cols)])) : kTileRows;
  for (int64_t i = begin; i < end; i += tile) {
    call.sums =
        call.resumes || call.pauses ? strip.panels + ((panel.index - strip.first) * (end - begin) + i - begin) * kTileCols : nullptr;
    call.c = p.c + batch * p.c_batch_stride + (block.row0 + i) * p.ldc + column;
    for (int j = 0; j < 2; ++j) call.parts[j].a = first_rows[j] + (i - begin) * row_steps[j];
    call.ask = asks.take();
    multiply_rows(call, turned, lesser(tile, end - i));
  }
}

/// All rows of a strip, chunk by chunk of a block of K; the sums wait where packed panels would be.
void multiply_in_chunks(const Block& block, const Strip& strip, int64_t k_block) {
  constexpr int64_t kChunk = 64;
  const int64_t k0 = block.plan->k_begin(k_block), k = block.plan->k_begin(k_block + 1) - k0;
  const int64_t tiles = divide_up(strip.row_end - strip.row_begin, kTileRows);
  for (int64_t first = 0; first < k; first += kChunk) {
    for (int64_t index = strip.first; index < strip.end; ++index) {
      Panel panel = panel_at(block, k_block, index);
      panel.k_from = k0 + first, panel.k_end = panel.k_from + lesser(kChunk, k - first);
      const bool wraps = index + 1 == strip.end;
      const int64_t column = (wraps ? strip.first : index + 1) * kTileCols, from = wraps ? first + kChunk : first;
      const Window next{block.batch0 + strip.matrix, column, lesser(kTileCols, block.p->n - column), k0 + from, lesser(kChunk, k - from)};
      multiply_panel(block, strip, panel, strip.row_begin, strip.row_end, {block.p->segments[0].b, next, tiles});
    }
  }
}

/// What the tiles of a band, from `row` on, ask for when they are the first to meet its rows: each for the packed rows of the next one,
/// where there are more than kCachedFloats.
Asks asks_for_rows(const Block& block, const Strip& strip, int64_t k_block, int64_t row) {
  if (block.plan->a_in_place || block.rows * block.depth() <= kCachedFloats) return {};
  const int64_t k = block.plan->k_begin(k_block + 1) - block.plan->k_begin(k_block), next = row + kTileRows;
  return {block.packed_a(strip.matrix, k_block) + next * k, kTileRows * k, divide_up(strip.row_end - next, kTileRows)};
}

int64_t multiply_tasks(const Block& block) { return block.group * block.down * block.across; }

/// Packs each panel of a strip that is not read in place just before its first rows need it.
void multiply_task(const Block& block, int64_t task) {
  const int64_t across = task % block.across, down = task / block.across % block.down;
  Strip strip;
  strip.matrix = task / block.across / block.down;
  strip.row_begin = part_begin(block.rows, block.plan->tile_rows(), block.down, down);
  strip.row_end = part_begin(block.rows, block.plan->tile_rows(), block.down, down + 1);
  strip.first = block.panels * across / block.across, strip.end = block.panels * (across + 1) / block.across;
  strip.panels = block.strips + ThreadPool::worker() * block.plan->strip_floats;
  for (int64_t k_block = block.k_first; k_block < block.k_end; ++k_block) {
    if (block.plan->in_chunks) {
      multiply_in_chunks(block, strip, k_block);
      continue;
    }
    const int64_t band = block.plan->band(k_block);
    for (int64_t row = strip.row_begin; row < strip.row_end; row += band) {
      const int64_t row_end = lesser(strip.row_end, row + band);
      for (int64_t index = strip.first; index < strip.end; ++index) {
        const Panel panel = panel_at(block, k_block, index);
        if (row > strip.row_begin) {
          multiply_panel(block, strip, panel, row, row_end, index == strip.first ? asks_for_rows(block, strip, k_block, row) : Asks());
          continue;
        }
        if (!panel.in_place) pack_panel(block, strip, panel);
        const Window next = packed_next(block, strip, k_block, index);
        multiply_panel(block, strip, panel, row, row_end,
                       {block.p->segments[0].b, next, divide_up(row_end - row, block.plan->tile_rows())});
      }
    }
  }
}

/// Computes the product. `scratch` has multiply_scratch(threads, p) bytes. Where threads share a block, the rows of the next one are packed
/// by whoever is done with it first. Both are dealt row by row, so that a thread finds most of what it packed in its own caches.
Status multiply(Context& ctx, const Product& p, std::byte* scratch) {
  if (p.empty()) return {};
  const int threads = threads_of(p, ctx.threads());
  const Plan plan = make_plan(p, threads);
  const int64_t shared = threads == ctx.threads() ? 1 : 0;  // else no work is worth sharing
  Status status;
  for (int64_t index = 0; index < plan.blocks() && status.ok(); ++index) {
    const bool ahead = threads > 1 && index + 1 < plan.blocks();
    const Block block = block_at(p, plan, threads, scratch, index), next = ahead ? block_at(p, plan, threads, scratch, index + 1) : block;
    if (index == 0 || threads == 1) {
      const int64_t packing = pack_tasks(block);
      Deal deal(packing, threads);
      status = run_tiles(ctx, packing, shared * block.group * block.rows * block.depth(), [&](int64_t) { pack_task(block, deal.take()); });
      if (!status.ok()) break;
    }
    const int64_t multiplying = multiply_tasks(block), packing = ahead ? pack_tasks(next) : 0;
    Deal multiply_deal(multiplying, threads), pack_deal(packing, threads);
    status = run_tiles(ctx, multiplying + packing, shared * 2 * block.group * block.rows * p.n * block.depth(), [&](int64_t) {
      const int64_t task = multiply_deal.take();
      task < multiplying ? multiply_task(block, task) : pack_task(next, pack_deal.take());
    });
  }
  return status;
}
