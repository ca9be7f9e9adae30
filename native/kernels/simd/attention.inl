// Attention in tiles: scores of a block of queries against a block of keys, by the micro-kernel, never more. Keys and values are packed
// once for all queries. docs/kernels.md explains it.

constexpr int64_t kQueryRows = round_up(48, kMostRows[kWideVecs]), kKeys = round_up(128, kWideCols);

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

/// The left factor of a small product: element (row, k) at data[row * ld + k]; turned: at data[k * ld + row].
struct LeftFactor {
  const float* data;
  int64_t ld;
  bool turned = false;
};

/// The right factor, packed: panel p, of kWideCols columns, begins at data + p * stride.
struct Panels {
  const float* data;
  int64_t stride;
};

/// c[rows, columns] (+)= a[rows, k] b[k, columns]
void multiply_panels(float* c, int64_t ldc, const LeftFactor& a, const Panels& b, int64_t rows, int64_t columns, int64_t k,
                     bool accumulate) {
  TileCall call{};
  call.ldc = ldc, call.accumulate = accumulate;
  for (int64_t j = 0; j < columns; j += kWideCols) {
    call.cols = lesser(kWideCols, columns - j);
    const int64_t tile = kMostRows[vecs_of(call.cols)];
    for (int64_t i = 0; i < rows; i += tile) {
      call.parts[0] = {a.data + i * (a.turned ? 1 : a.ld), b.data + j / kWideCols * b.stride, a.ld, kWideCols, k};
      call.c = c + i * ldc + j;
      multiply_rows(call, a.turned, lesser(tile, rows - i));
    }
  }
}

/// The floats of keys or values [first, ...) of one row of the batch and one kv head, and the distance of neighbours.
struct KeyRows {
  const float* data;
  int64_t ld;

  KeyRows(const AttentionShape& at, const View& v, int64_t row, int64_t kv, int64_t first)
      : data(v.row<const float>((row * at.keys + first) * at.kv_heads + kv)), ld(v.ld * at.kv_heads) {}
};

/// Packs n rows of `width` floats, `ld` apart, as the rows of a right factor.
Panels pack_straight(float* panels, const float* rows, int64_t ld, int64_t n, int64_t width, int64_t stride) {
  pack_columns<kWideCols>(PlainRows<float>{rows, ld}, width, n, panels, stride, kPackDepth);
  return {panels, stride};
}

/// Packs them as its columns.
Panels pack_across(float* panels, const float* rows, int64_t ld, int64_t n, int64_t width) {
  for (int64_t o = 0; o < n; o += kWideCols)
    pack_rows<kWideCols>(PlainRows<float>{rows, ld}, o, lesser(kWideCols, n - o), width, panels + o * width);
  return {panels, kWideCols * width};
}

/// The blocks of keys [first, end) of which some query sees a key: a cache holds many that none does.
struct SeenBlocks {
  int64_t first, end;

  explicit SeenBlocks(const AttentionShape& at) : first(at.key_blocks()), end(0) {
    for (int64_t token = 0; token < at.batch * at.queries; ++token) {
      const int64_t from = at.first(token), to = at.end(token);
      if (from < to) first = lesser(first, from / kKeys), end = greater(end, divide_up(to, kKeys));
    }
  }

  int64_t count() const { return greater(0, end - first); }
};

/// Keys or values of a call, packed block by block: as rows of a right factor, or, `across`, as its columns.
struct PackedKeys {
  const AttentionShape& at;
  bool across;
  int64_t stride, floats;  // from panel to panel, from block to block
  float* data;

  PackedKeys(const AttentionShape& shape, bool columns, Scratch& scratch)
      : at(shape),
        across(columns),
        stride(kWideCols * (columns ? shape.width : kKeys)),
        floats(columns ? kKeys * shape.width : kKeys * round_up(shape.width, kWideCols)),
        data(scratch.take(shape.batch * shape.kv_heads * shape.key_blocks() * floats)) {}

  float* place(int64_t row, int64_t kv, int64_t block) const {
    return data + ((row * at.kv_heads + kv) * at.key_blocks() + block) * floats;
  }
  Panels of(int64_t row, int64_t kv, int64_t block) const { return {place(row, kv, block), stride}; }

  Status pack(Context& ctx, const View& v, const SeenBlocks& seen) const {
    const int64_t blocks = seen.count(), tasks = at.batch * at.kv_heads * blocks;
    return run_tiles(ctx, tasks, tasks * kKeys * at.width, [&](int64_t task) {
      const int64_t row = task / blocks / at.kv_heads, kv = task / blocks % at.kv_heads, block = seen.first + task % blocks;
      const KeyRows keys(at, v, row, kv, block * kKeys);
      const int64_t n = lesser(kKeys, at.keys - block * kKeys);
      if (across) {
        pack_across(place(row, kv, block), keys.data, keys.ld, n, at.width);
      } else {
        pack_straight(place(row, kv, block), keys.data, keys.ld, n, at.width, stride);
      }
    });
  }
};

// --- forward ---

/// Scratch of one task.
struct AttentionForward {
  float *q, *scores, *sum, *max, *total;
  int64_t floats;

  AttentionForward(const AttentionShape& at, std::byte* base) {
    Scratch scratch{base};
    q = scratch.take(at.rows * at.width);
    scores = scratch.take(at.rows * kKeys);
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
    for (int64_t c = 0; c < width; c += kWidth) sum = fma(load_lanes(rows.data + s * rows.ld + c, width - c), zero(), sum);
  }
  return reduce_add(sum) == 0.0f;
}

struct AddScaled {
  float factor;
  LOWRANK_INLINE_MEMBER Vec operator()(Vec sum, Vec x) const { return fma(broadcast(factor), x, sum); }
};

/// Adds the weighted values of keys [from, from + n) to the sums. A weight of 0 would not hide a NaN: where some query does not see all
/// keys and a value is not finite, each query adds only what it sees.
void add_values(const AttentionForward& f, const QueryBlock& block, const View& v, const Panels& packed, int64_t from, int64_t n) {
  const AttentionShape& at = block.at;
  const KeyRows values(at, v, block.row, block.kv, from);
  const int64_t rows = block.rows(), width = at.width;
  if (block.sees_all(from, from + n) || is_finite(values, n, width))
    return multiply_panels(f.sum, width, {f.scores, kKeys}, packed, rows, width, n, true);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t token = block.token(r / at.group), low = clamp(at.first(token) - from, 0, n), high = clamp(at.end(token) - from, 0, n);
    float* sum = f.sum + r * width;
    for (int64_t s = low; s < high; ++s) map_span(sum, sum, values.data + s * values.ld, 1, width, AddScaled{f.scores[r * kKeys + s]});
  }
}

void attention_forward_block(const AttentionForward& f, const QueryBlock& block, const View& y, const View& lse, const View& q,
                             const View& v, const PackedKeys& keys, const PackedKeys& values, float scale) {
  const AttentionShape& at = block.at;
  const int64_t rows = block.rows(), width = at.width;
  block.gather(f.q, q, scale);
  fill_span(f.sum, 0.0f, rows * width);
  fill_span(f.total, 0.0f, rows);
  fill_span(f.max, 0.0f, rows);
  for (int64_t b = block.first / kKeys; b * kKeys < block.end; ++b) {
    const int64_t from = b * kKeys, n = lesser(kKeys, block.end - from);
    multiply_panels(f.scores, kKeys, {f.q, width}, keys.of(block.row, block.kv, b), rows, n, width, false);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t token = block.token(r / at.group);
      const int64_t low = clamp(at.first(token) - from, 0, n), high = clamp(at.end(token) - from, 0, n);
      weigh_row(f.scores + r * kKeys, n, low, high, f.sum + r * width, width, f.max + r, f.total + r);
    }
    add_values(f, block, v, values.of(block.row, block.kv, b), from, n);
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
  Scratch scratch{ctx.scratch};
  const PackedKeys keys(at, true, scratch), values(at, false, scratch);
  const SeenBlocks seen(at);
  Status status = keys.pack(ctx, k, seen);
  if (status.ok()) status = values.pack(ctx, v, seen);
  if (!status.ok()) return status;
  std::byte* shared = ctx.scratch + scratch.used;
  const int64_t slot_bytes = AttentionForward(at, nullptr).floats * 4, blocks = at.query_blocks();
  Slots slots(ctx.threads());
  return run_tiles(ctx, at.batch * at.kv_heads * blocks, q.size() * at.keys, [&](int64_t task) {
    const int slot = slots.take();
    const QueryBlock block(at, task / blocks / at.kv_heads, task / blocks % at.kv_heads, task % blocks);
    attention_forward_block(AttentionForward(at, shared + slot * slot_bytes), block, y, lse, q, v, keys, values, scale);
    slots.give_back(slot);
  });
}

int64_t attention_forward_scratch(int threads, Out, Out, In q, In k, In, In spans, i32 batch, i32 heads, i32 kv_heads, f32) {
  const AttentionShape at(q, k, spans, batch, heads, kv_heads);
  Scratch scratch;
  const PackedKeys keys(at, true, scratch), values(at, false, scratch);
  return scratch.used + Slots::count(threads) * AttentionForward(at, nullptr).floats * 4;
}
