// Attention in tiles: scores of a block of queries against a block of keys, by the micro-kernel, never more. The query heads of one kv head
// are rows of the same block, so keys and values are packed once for all of them. docs/kernels.md explains it.

constexpr int64_t kQueryRows = round_up(48, kTileRows), kKeys = round_up(64, kTileCols);

/// Sizes of one call, and what each query sees.
struct AttentionShape {
  int64_t batch, heads, kv_heads, group, queries, keys, width;
  int64_t tokens, rows;  // of one block of queries; rows = tokens * group
  View spans;

  AttentionShape(const View& q, const View& k, const View& visible, int64_t b, int64_t h, int64_t g)
      : batch(b), heads(h), kv_heads(g), group(g > 0 ? h / g : 0), queries(0), keys(0), width(q.cols), tokens(0), rows(0), spans(visible) {
    if (b > 0 && h > 0) queries = q.rows / b / h;
    if (b > 0 && g > 0) keys = k.rows / b / g;
    if (group > 0) tokens = greater(1, kQueryRows / group), rows = tokens * group;
  }

  int64_t query_blocks() const { return group > 0 ? divide_up(queries, tokens) : 0; }
  int64_t key_blocks() const { return divide_up(keys, kKeys); }
  int64_t first(int64_t token) const { return clamp(spans.row<const int32_t>(token)[0], 0, keys); }
  int64_t end(int64_t token) const { return clamp(spans.row<const int32_t>(token)[1], 0, keys); }
  int64_t panel_floats(int64_t columns, int64_t k) const { return round_up(columns, kTileCols) * k; }
};

/// Some queries of one row of the batch and one kv head, copied row by row: row (token, head of the group).
struct QueryBlock {
  const AttentionShape& at;
  int64_t row, kv, token0, tokens;  // token0 counts within the row of the batch
  int64_t first, end;               // keys that any of them sees

  QueryBlock(const AttentionShape& shape, int64_t batch_row, int64_t kv_head, int64_t block)
      : at(shape), row(batch_row), kv(kv_head), token0(block * shape.tokens), tokens(lesser(shape.tokens, shape.queries - token0)) {
    first = at.keys, end = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t from = at.first(token(t)), to = at.end(token(t));
      if (from < to) first = lesser(first, from), end = greater(end, to);
    }
  }

  int64_t rows() const { return tokens * at.group; }
  int64_t token(int64_t t) const { return row * at.queries + token0 + t; }
  /// The row of q, y, lse that row r of the block is.
  int64_t place(int64_t r) const { return token(r / at.group) * at.heads + kv * at.group + r % at.group; }
  /// Whether every query sees all keys [from, to).
  bool sees_all(int64_t from, int64_t to) const {
    for (int64_t t = 0; t < tokens; ++t)
      if (at.first(token(t)) > from || at.end(token(t)) < to) return false;
    return true;
  }

  void gather(float* to, const View& from, float factor) const {
    for (int64_t r = 0; r < rows(); ++r) map_span(to + r * at.width, from.row<const float>(place(r)), at.width, Scaled{factor});
  }
};

/// c[rows, columns] (+)= a[rows, k] b, with a row by row and b packed in panels.
void multiply_panels(float* c, int64_t ldc, const float* a, int64_t lda, const float* panels, int64_t rows, int64_t columns, int64_t k,
                     bool accumulate) {
  TileCall call{};
  call.k = k, call.lda = lda, call.ldc = ldc, call.accumulate = accumulate;
  for (int64_t j = 0; j < columns; j += kTileCols) {
    call.b = panels + j * k;
    call.cols = lesser(kTileCols, columns - j);
    for (int64_t i = 0; i < rows; i += kTileRows) {
      call.a = a + i * lda, call.c = c + i * ldc + j;
      kTiles.of[0][lesser(kTileRows, rows - i) - 1][divide_up(call.cols, kWidth) - 1](call);
    }
  }
}

/// Packs n rows of `width` floats, `ld` apart, as the columns of a factor: element (row, k) of the rows is element (k, column) of it.
void pack_transposed(float* panels, const float* rows, int64_t ld, int64_t n, int64_t width) {
  for (int64_t o = 0; o < n; o += kTileCols)
    pack_rows<kTileCols>(PlainRows<float>{rows, ld}, o, lesser(kTileCols, n - o), width, panels + o * width);
}

/// Packs n rows of `width` floats as the rows of a factor.
void pack_straight(float* panels, const float* rows, int64_t ld, int64_t n, int64_t width) {
  pack_columns<kTileCols>(PlainRows<float>{rows, ld}, width, n, panels, kTileCols * n);
}

/// The floats of keys or values [first, ...) of one row of the batch and one kv head, and the distance of neighbours.
struct KeyRows {
  const float* data;
  int64_t ld;

  KeyRows(const AttentionShape& at, const View& v, int64_t row, int64_t kv, int64_t first)
      : data(v.row<const float>((row * at.keys + first) * at.kv_heads + kv)), ld(v.ld * at.kv_heads) {}
};

// --- forward ---

struct AttentionForward {
  float *q, *scores, *panels, *sum, *max, *total;  // scratch of one task
  int64_t floats;

  AttentionForward(const AttentionShape& at, std::byte* base) {
    Scratch scratch{base};
    q = scratch.take(at.rows * at.width);
    scores = scratch.take(at.rows * kKeys);
    panels = scratch.take(greater(at.panel_floats(kKeys, at.width), at.panel_floats(at.width, kKeys)));
    sum = scratch.take(at.rows * at.width);
    max = scratch.take(at.rows), total = scratch.take(at.rows);
    floats = scratch.used / 4;
  }
};

/// Turns scores of keys [from, from + n) into weights exp(score - max) for one row; makes room for a new maximum in what was summed before.
void weigh_row(float* scores, int64_t n, int64_t low, int64_t high, float* sum, int64_t width, float* max, float* total) {
  fill_span(scores, 0.0f, lesser(low, n));
  if (high < n) fill_span(scores + greater(high, 0), 0.0f, n - greater(high, 0));
  if (low >= high) return;
  float* visible = scores + low;
  const int64_t count = high - low;
  const float largest = row_max(visible, count), next = largest > *max || *total == 0.0f ? largest : *max;
  if (*total != 0.0f && next != *max) {
    const float factor = reduce_max(exp(broadcast(*max - next)));
    map_span(sum, sum, width, Scaled{factor});
    *total *= factor;
  }
  *max = next;
  map_span(visible, visible, count, ExpShifted{next});
  *total += tree_sum(Terms{visible, nullptr}, count);
}

bool is_finite(const KeyRows& rows, int64_t n, int64_t width) {
  Vec sum = zero();  // x * 0 is NaN for what is not finite
  for (int64_t s = 0; s < n; ++s) {
    for (int64_t c = 0; c < width; c += kWidth) sum = fma(load_first(rows.data + s * rows.ld + c, width - c), zero(), sum);
  }
  return reduce_add(sum) == 0.0f;
}

struct AddScaled {
  float factor;
  LOWRANK_INLINE_MEMBER Vec operator()(Vec sum, Vec x) const { return fma(broadcast(factor), x, sum); }
};

/// Adds the weighted values of keys [from, from + n) to the sums. A weight of 0 would not hide a NaN: where some query does not see all
/// keys and a value is not finite, each query adds only what it sees.
void add_values(const AttentionForward& f, const QueryBlock& block, const KeyRows& values, int64_t from, int64_t n) {
  const AttentionShape& at = block.at;
  const int64_t rows = block.rows(), width = at.width;
  if (block.sees_all(from, from + n) || is_finite(values, n, width)) {
    pack_straight(f.panels, values.data, values.ld, n, width);
    return multiply_panels(f.sum, width, f.scores, kKeys, f.panels, rows, width, n, true);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t token = block.token(r / at.group), low = clamp(at.first(token) - from, 0, n), high = clamp(at.end(token) - from, 0, n);
    float* sum = f.sum + r * width;
    for (int64_t s = low; s < high; ++s) map_span(sum, sum, values.data + s * values.ld, 1, width, AddScaled{f.scores[r * kKeys + s]});
  }
}

void attention_forward_block(const AttentionForward& f, const QueryBlock& block, const View& y, const View& lse, const View& q,
                             const View& k, const View& v, float scale) {
  const AttentionShape& at = block.at;
  const int64_t rows = block.rows(), width = at.width;
  block.gather(f.q, q, scale);
  fill_span(f.sum, 0.0f, rows * width);
  fill_span(f.total, 0.0f, rows);
  fill_span(f.max, 0.0f, rows);
  for (int64_t from = block.first; from < block.end; from += kKeys) {
    const int64_t n = lesser(kKeys, block.end - from);
    const KeyRows keys(at, k, block.row, block.kv, from), values(at, v, block.row, block.kv, from);
    pack_transposed(f.panels, keys.data, keys.ld, n, width);
    multiply_panels(f.scores, kKeys, f.q, width, f.panels, rows, n, width, false);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t token = block.token(r / at.group);
      const int64_t low = clamp(at.first(token) - from, 0, n), high = clamp(at.end(token) - from, 0, n);
      weigh_row(f.scores + r * kKeys, n, low, high, f.sum + r * width, width, f.max + r, f.total + r);
    }
    add_values(f, block, values, from, n);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t place = block.place(r);
    const bool sees = f.total[r] != 0.0f;
    map_span(y.row<float>(place), f.sum + r * width, width, DividedBy{sees ? f.total[r] : 1.0f});
    if (lse) *lse.row<float>(place) = sees ? f.max[r] + static_cast<float>(log(static_cast<double>(f.total[r]))) : 0.0f;
  }
}

Status attention_forward(Context& ctx, Out y, Out lse, In q, In k, In v, In spans, i32 batch, i32 heads, i32 kv_heads, f32 scale) {
  const AttentionShape at(q, k, spans, batch, heads, kv_heads);
  if (q.rows == 0) return {};
  const int64_t slot_bytes = AttentionForward(at, nullptr).floats * 4, blocks = at.query_blocks();
  Slots slots(ctx.threads());
  return run_tiles(ctx, at.batch * at.kv_heads * blocks, q.size() * at.keys, [&](int64_t task) {
    const int slot = slots.take();
    const QueryBlock block(at, task / blocks / at.kv_heads, task / blocks % at.kv_heads, task % blocks);
    attention_forward_block(AttentionForward(at, ctx.scratch + slot * slot_bytes), block, y, lse, q, k, v, scale);
    slots.give_back(slot);
  });
}

int64_t attention_forward_scratch(int threads, Out, Out, In q, In k, In, In spans, i32 batch, i32 heads, i32 kv_heads, f32) {
  return Slots::count(threads) * AttentionForward(AttentionShape(q, k, spans, batch, heads, kv_heads), nullptr).floats * 4;
}

// --- backward ---

/// delta[row of q] = sum(dy * y)
Status attention_delta(Context& ctx, float* delta, const View& dy, const View& y) {
  return for_each_row(ctx, y.rows, y.cols, [&](int64_t r) {
    delta[r] = tree_sum(Terms{dy.row<const float>(r), y.row<const float>(r)}, y.cols);
  });
}

struct ScoreGradient {
  float delta, scale;
  LOWRANK_INLINE_MEMBER Vec operator()(Vec towards, Vec weight) const {
    return mul(mul(weight, broadcast(scale)), sub(towards, broadcast(delta)));
  }
};

/// The views of one backward call.
struct AttentionGradients {
  const View &dq, &dk, &dv, &dy, &q, &k, &v, &lse;
  const float* delta;
  float scale;
};

/// Scratch of one task for dq.
struct QueryGradient {
  float *q, *dy, *weights, *towards, *panels, *sum;
  int64_t floats;

  QueryGradient(const AttentionShape& at, std::byte* base) {
    Scratch scratch{base};
    q = scratch.take(at.rows * at.width), dy = scratch.take(at.rows * at.width);
    weights = scratch.take(at.rows * kKeys), towards = scratch.take(at.rows * kKeys);
    panels = scratch.take(greater(at.panel_floats(kKeys, at.width), at.panel_floats(at.width, kKeys)));
    sum = scratch.take(at.rows * at.width);
    floats = scratch.used / 4;
  }
};

void query_gradient_block(const QueryGradient& f, const QueryBlock& block, const AttentionGradients& g) {
  const AttentionShape& at = block.at;
  const int64_t rows = block.rows(), width = at.width;
  block.gather(f.q, g.q, g.scale);
  block.gather(f.dy, g.dy, 1.0f);
  fill_span(f.sum, 0.0f, rows * width);
  for (int64_t from = block.first; from < block.end; from += kKeys) {
    const int64_t n = lesser(kKeys, block.end - from);
    const KeyRows keys(at, g.k, block.row, block.kv, from), values(at, g.v, block.row, block.kv, from);
    pack_transposed(f.panels, keys.data, keys.ld, n, width);
    multiply_panels(f.weights, kKeys, f.q, width, f.panels, rows, n, width, false);
    pack_transposed(f.panels, values.data, values.ld, n, width);
    multiply_panels(f.towards, kKeys, f.dy, width, f.panels, rows, n, width, false);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t token = block.token(r / at.group), place = block.place(r);
      const int64_t low = clamp(at.first(token) - from, 0, n), high = greater(low, clamp(at.end(token) - from, 0, n));
      float *weights = f.weights + r * kKeys, *slopes = f.towards + r * kKeys;
      fill_span(slopes, 0.0f, low);
      fill_span(slopes + high, 0.0f, n - high);
      map_span(weights + low, weights + low, high - low, ExpShifted{*g.lse.row<const float>(place)});
      map_span(slopes + low, slopes + low, weights + low, 1, high - low, ScoreGradient{g.delta[place], g.scale});
    }
    pack_straight(f.panels, keys.data, keys.ld, n, width);
    multiply_panels(f.sum, width, f.towards, kKeys, f.panels, rows, width, n, true);
  }
  for (int64_t r = 0; r < rows; ++r) map_span(g.dq.row<float>(block.place(r)), f.sum + r * width, width, Same{});
}

/// Scratch of one task for dk and dv. Scores stand transposed here: a row for each key, a column for each query.
struct KeyGradient {
  float *q, *dy, *lse, *delta, *weights, *towards, *panels, *dk, *dv;
  int64_t ld, floats;

  KeyGradient(const AttentionShape& at, std::byte* base) : ld(round_up(at.rows, kWidth)) {
    Scratch scratch{base};
    q = scratch.take(at.rows * at.width), dy = scratch.take(at.rows * at.width);
    lse = scratch.take(at.rows), delta = scratch.take(at.rows);
    weights = scratch.take(kKeys * ld), towards = scratch.take(kKeys * ld);
    panels = scratch.take(greater(at.panel_floats(at.rows, at.width), at.panel_floats(at.width, at.rows)));
    dk = scratch.take(kKeys * at.width), dv = scratch.take(kKeys * at.width);
    floats = scratch.used / 4;
  }
};

/// Weights and slopes of what cannot be seen are 0.
void hide(const KeyGradient& f, const QueryBlock& block, int64_t from, int64_t n) {
  if (block.sees_all(from, from + n)) return;
  for (int64_t r = 0; r < block.rows(); ++r) {
    const int64_t token = block.token(r / block.at.group), low = block.at.first(token) - from, high = block.at.end(token) - from;
    for (int64_t s = 0; s < n; ++s)
      if (s < low || s >= high) f.weights[s * f.ld + r] = 0.0f, f.towards[s * f.ld + r] = 0.0f;
  }
}

struct ExpMinus {
  LOWRANK_INLINE_MEMBER Vec operator()(Vec score, Vec lse) const { return exp(sub(score, lse)); }
};
struct Minus {
  LOWRANK_INLINE_MEMBER Vec operator()(Vec a, Vec b) const { return sub(a, b); }
};

void add_query_block(const KeyGradient& f, const QueryBlock& block, const AttentionGradients& g, int64_t from, int64_t n) {
  const AttentionShape& at = block.at;
  const int64_t rows = block.rows(), width = at.width;
  const KeyRows keys(at, g.k, block.row, block.kv, from), values(at, g.v, block.row, block.kv, from);
  block.gather(f.q, g.q, g.scale);
  block.gather(f.dy, g.dy, 1.0f);
  for (int64_t r = 0; r < rows; ++r) f.lse[r] = *g.lse.row<const float>(block.place(r)), f.delta[r] = g.delta[block.place(r)];
  pack_transposed(f.panels, f.q, width, rows, width);
  multiply_panels(f.weights, f.ld, keys.data, keys.ld, f.panels, n, rows, width, false);
  pack_transposed(f.panels, f.dy, width, rows, width);
  multiply_panels(f.towards, f.ld, values.data, values.ld, f.panels, n, rows, width, false);
  for (int64_t s = 0; s < n; ++s) {
    float *weights = f.weights + s * f.ld, *slopes = f.towards + s * f.ld;
    map_span(weights, weights, f.lse, 1, rows, ExpMinus{});
    map_span(slopes, slopes, f.delta, 1, rows, Minus{});
    map_span(slopes, slopes, weights, 1, rows, Times{});
  }
  hide(f, block, from, n);
  pack_straight(f.panels, f.dy, width, rows, width);
  multiply_panels(f.dv, width, f.weights, f.ld, f.panels, n, width, rows, true);
  pack_straight(f.panels, f.q, width, rows, width);  // q holds scale * q already
  multiply_panels(f.dk, width, f.towards, f.ld, f.panels, n, width, rows, true);
}

void key_gradient_block(const KeyGradient& f, const AttentionShape& at, const AttentionGradients& g, int64_t row, int64_t kv,
                        int64_t from) {
  const int64_t n = lesser(kKeys, at.keys - from);
  fill_span(f.dk, 0.0f, n * at.width);
  fill_span(f.dv, 0.0f, n * at.width);
  for (int64_t b = 0; b < at.query_blocks(); ++b) {
    const QueryBlock block(at, row, kv, b);
    if (block.first < from + n && block.end > from) add_query_block(f, block, g, from, n);
  }
  for (int64_t s = 0; s < n; ++s) {
    const int64_t place = (row * at.keys + from + s) * at.kv_heads + kv;
    if (g.dk) map_span(g.dk.row<float>(place), f.dk + s * at.width, at.width, Same{});
    if (g.dv) map_span(g.dv.row<float>(place), f.dv + s * at.width, at.width, Same{});
  }
}

Status attention_backward(Context& ctx, Out dq, Out dk, Out dv, In dy, In q, In k, In v, In y, In lse, In spans, i32 batch, i32 heads,
                          i32 kv_heads, f32 scale) {
  const AttentionShape at(q, k, spans, batch, heads, kv_heads);
  auto* delta = reinterpret_cast<float*>(ctx.scratch);
  std::byte* shared = ctx.scratch + Scratch::bytes(q.rows);
  const AttentionGradients g{dq, dk, dv, dy, q, k, v, lse, delta, scale};
  Slots slots(ctx.threads());
  const int64_t blocks = at.query_blocks(), key_blocks = at.key_blocks(), work = q.size() * at.keys;
  Status status = attention_delta(ctx, delta, dy, y);
  if (dq && status.ok())
    status = run_tiles(ctx, at.batch * at.kv_heads * blocks, work, [&](int64_t task) {
      const int slot = slots.take();
      const QueryGradient f(at, shared + slot * QueryGradient(at, nullptr).floats * 4);
      query_gradient_block(f, QueryBlock(at, task / blocks / at.kv_heads, task / blocks % at.kv_heads, task % blocks), g);
      slots.give_back(slot);
    });
  if ((dk || dv) && status.ok())
    status = run_tiles(ctx, at.batch * at.kv_heads * key_blocks, work, [&](int64_t task) {
      const int slot = slots.take();
      const KeyGradient f(at, shared + slot * KeyGradient(at, nullptr).floats * 4);
      key_gradient_block(f, at, g, task / key_blocks / at.kv_heads, task / key_blocks % at.kv_heads, task % key_blocks * kKeys);
      slots.give_back(slot);
    });
  return status;
}

int64_t attention_backward_scratch(int threads, Out, Out, Out, In, In q, In k, In, In, In, In spans, i32 batch, i32 heads, i32 kv_heads,
                                   f32) {
  const AttentionShape at(q, k, spans, batch, heads, kv_heads);
  const int64_t slot = greater(QueryGradient(at, nullptr).floats, KeyGradient(at, nullptr).floats);
  return Scratch::bytes(q.rows) + Slots::count(threads) * slot * 4;
}
