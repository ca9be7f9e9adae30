// The gradients of attention, in one pass: a block of queries of one head against a block of keys gives its part of dq, dk and dv.

/// Where few kv heads would leave threads idle, a pass is cut into two parts: part p takes every second block of queries, and the second
/// one adds up dk and dv of its own. Their number depends on the shape alone, and so does every sum.
int64_t attention_parts(const AttentionShape& at) {
  constexpr int64_t kTasks = 12;
  return at.queries > kQueryRows && at.batch * at.kv_heads < kTasks ? 2 : 1;
}

/// delta[row of q] = sum(dy * y)
Status attention_delta(Context& ctx, float* delta, const View& dy, const View& y) {
  return for_each_row(ctx, y.rows, y.cols, [&](int64_t r) {
    delta[r] = tree_sum(Terms{dy.row<const float>(r), y.row<const float>(r)}, y.cols);
  });
}

/// dk or dv of one row of the batch and one kv head: a row for each key, `ld` apart. Null: not wanted.
struct KeySums {
  float* data;
  int64_t ld;

  float* of(int64_t key) const { return data + key * ld; }
};

/// The views of one call, and its scratch.
struct AttentionGradients {
  const AttentionShape& at;
  const View &dq, &dy, &q, &k, &v, &lse;
  float scale;
  int64_t parts, part_floats;  // floats of dk, or of dv, of one part
  float *delta, *part_dk, *part_dv;
  PackedKeys keys;

  AttentionGradients(const AttentionShape& shape, const View& to_q, const View& from_y, const View& query, const View& key,
                     const View& value, const View& log_sums, float factor, Scratch& scratch)
      : at(shape),
        dq(to_q),
        dy(from_y),
        q(query),
        k(key),
        v(value),
        lse(log_sums),
        scale(factor),
        parts(attention_parts(shape)),
        part_floats(shape.batch * shape.kv_heads * shape.keys * shape.width),
        delta(scratch.take(query.rows)),
        part_dk(scratch.take((parts - 1) * part_floats)),
        part_dv(scratch.take((parts - 1) * part_floats)),
        keys(shape, false, scratch) {}

  /// Where a part adds up dk or dv of one row of the batch and one kv head.
  KeySums sums(const View& gradient, float* of_parts, int64_t part, int64_t row, int64_t kv) const {
    if (!gradient) return {nullptr, 0};
    if (part > 0) return {of_parts + (part - 1) * part_floats + (row * at.kv_heads + kv) * at.keys * at.width, at.width};
    return {gradient.row<float>(row * at.keys * at.kv_heads + kv), gradient.ld * at.kv_heads};
  }
};

/// Scratch of one task: some queries of one head, packed for the products, and their weights and slopes, a row for each key.
struct GradientBlock {
  static constexpr int64_t kRows = kQueryRows, kLd = round_up(kRows, kWideCols);
  static constexpr int64_t kDown = kWideCols * kRows;  // from panel to panel of packed queries that are rows of the right factor
  float *weights, *slopes, *q, *q_across, *dy, *dy_across, *lse, *delta, *low, *high;
  int64_t floats;

  GradientBlock(const AttentionShape& at, std::byte* base) {
    const int64_t width = round_up(at.width, kWideCols);
    Scratch scratch{base};
    weights = scratch.take(kKeys * kLd), slopes = scratch.take(kKeys * kLd);
    q = scratch.take(kRows * width), q_across = scratch.take(kLd * width);
    dy = scratch.take(kRows * width), dy_across = scratch.take(kLd * width);
    lse = scratch.take(kLd), delta = scratch.take(kLd), low = scratch.take(kLd), high = scratch.take(kLd);
    floats = scratch.used / 4;
  }
};

/// For one key: its scores with n queries become weights exp(scale * score - lse), and the weights' gradients slopes of the scores,
/// scale * weight * (slope - delta). Queries that do not see it, those without low <= key < high, get 0.
void slope_row(const GradientBlock& f, float* weights, float* slopes, int64_t n, float key, bool all_see, float scale) {
  for (int64_t i = 0; i < n; i += kWidth) {
    Vec weight = exp(fms(broadcast(scale), load(weights + i), load(f.lse + i)));
    Vec slope = mul(mul(weight, broadcast(scale)), sub(load(slopes + i), load(f.delta + i)));
    if (!all_see) {
      const Mask begun = at_least(broadcast(key), load(f.low + i)), not_over = less(broadcast(key), load(f.high + i));
      weight = select(begun, select(not_over, weight, zero()), zero());
      slope = select(begun, select(not_over, slope, zero()), zero());
    }
    store(weights + i, weight);
    store(slopes + i, slope);
  }
}

/// All keys that `tokens` queries from `token0` on see, for one head.
void gradient_block(const AttentionGradients& g, const GradientBlock& f, const KeySums& dk, const KeySums& dv, int64_t row, int64_t head,
                    int64_t token0, int64_t tokens) {
  const AttentionShape& at = g.at;
  const int64_t width = at.width, kv = head / at.group, token = row * at.queries + token0, place = token * at.heads + head;
  int64_t first = at.keys, end = 0, all_from = 0, all_to = at.keys;  // seen by some; seen by all
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t from = at.first(token + t), to = at.end(token + t);
    if (from < to) first = lesser(first, from), end = greater(end, to);
    all_from = greater(all_from, from), all_to = lesser(all_to, to);
    f.low[t] = static_cast<float>(from), f.high[t] = static_cast<float>(to);
    f.lse[t] = *g.lse.row<const float>(place + t * at.heads), f.delta[t] = g.delta[place + t * at.heads];
  }
  const int64_t q_ld = g.q.ld * at.heads, dy_ld = g.dy.ld * at.heads;
  const float *q = g.q.row<const float>(place), *dy = g.dy.row<const float>(place);
  const Panels q_rows = pack_straight(f.q, q, q_ld, tokens, width, f.kDown),
               dy_rows = pack_straight(f.dy, dy, dy_ld, tokens, width, f.kDown);
  const Panels q_columns = pack_across(f.q_across, q, q_ld, tokens, width), dy_columns = pack_across(f.dy_across, dy, dy_ld, tokens, width);
  bool begun = false;
  for (int64_t b = first / kKeys; b * kKeys < end; ++b) {
    const int64_t from = b * kKeys, n = lesser(kKeys, end - from);
    const KeyRows keys(at, g.k, row, kv, from), values(at, g.v, row, kv, from);
    multiply_panels(f.weights, f.kLd, {keys.data, keys.ld}, q_columns, n, tokens, width, false);
    multiply_panels(f.slopes, f.kLd, {values.data, values.ld}, dy_columns, n, tokens, width, false);
    const bool all_see = all_from <= from && from + n <= all_to;
    for (int64_t s = 0; s < n; ++s)
      slope_row(f, f.weights + s * f.kLd, f.slopes + s * f.kLd, tokens, static_cast<float>(from + s), all_see, g.scale);
    if (dv.data) multiply_panels(dv.of(from), dv.ld, {f.weights, f.kLd}, dy_rows, n, width, tokens, true);
    if (dk.data) multiply_panels(dk.of(from), dk.ld, {f.slopes, f.kLd}, q_rows, n, width, tokens, true);
    if (g.dq)
      multiply_panels(g.dq.row<float>(place), g.dq.ld * at.heads, {f.slopes, f.kLd, true}, g.keys.of(row, kv, b), tokens, width, n, begun);
    begun = true;
  }
  for (int64_t t = 0; t < tokens && g.dq && !begun; ++t) fill_span(g.dq.row<float>(place + t * at.heads), 0.0f, width);
}

/// One part of one row of the batch and one kv head.
void gradient_part(const AttentionGradients& g, const GradientBlock& f, const KeySums& dk, const KeySums& dv, int64_t row, int64_t kv,
                   int64_t part) {
  const AttentionShape& at = g.at;
  for (const KeySums& sums : {dk, dv}) {
    for (int64_t s = 0; s < at.keys && sums.data; ++s) fill_span(sums.of(s), 0.0f, at.width);
  }
  for (int64_t head = kv * at.group; head < (kv + 1) * at.group; ++head) {
    for (int64_t token = part * f.kRows; token < at.queries; token += g.parts * f.kRows)
      gradient_block(g, f, dk, dv, row, head, token, lesser(f.kRows, at.queries - token));
  }
}

/// Adds what the later parts found, in their order.
Status add_parts(Context& ctx, const AttentionGradients& g, const View& gradient, float* of_parts) {
  const AttentionShape& at = g.at;
  if (!gradient || g.parts == 1) return {};
  return for_each_row(ctx, at.batch * at.kv_heads * at.keys, at.width * g.parts, [&](int64_t i) {
    const int64_t row = i / at.keys / at.kv_heads, kv = i / at.keys % at.kv_heads, key = i % at.keys;
    float* sum = g.sums(gradient, of_parts, 0, row, kv).of(key);
    for (int64_t part = 1; part < g.parts; ++part)
      map_span(sum, sum, g.sums(gradient, of_parts, part, row, kv).of(key), 1, at.width, Sum{});
  });
}

Status attention_backward(Context& ctx, Out dq, Out dk, Out dv, In dy, In q, In k, In v, In y, In lse, In spans, i32 batch, i32 heads,
                          i32 kv_heads, f32 scale) {
  const AttentionShape at(q, k, spans, batch, heads, kv_heads);
  Scratch scratch{ctx.scratch};
  const AttentionGradients g(at, dq, dy, q, k, v, lse, scale, scratch);
  std::byte* shared = ctx.scratch + scratch.used;
  const int64_t slot_bytes = GradientBlock(at, nullptr).floats * 4, tasks = at.batch * at.kv_heads * g.parts;
  Status status = attention_delta(ctx, g.delta, dy, y);
  if (status.ok()) status = g.keys.pack(ctx, k, SeenBlocks(at));
  if (!status.ok()) return status;
  Slots slots(ctx.threads());
  status = run_tiles(ctx, tasks, greater(1, q.size()) * greater(1, at.keys), [&](int64_t task) {
    const int64_t part = task % g.parts, row = task / g.parts / at.kv_heads, kv = task / g.parts % at.kv_heads;
    const int slot = slots.take();
    gradient_part(g, GradientBlock(at, shared + slot * slot_bytes), g.sums(dk, g.part_dk, part, row, kv),
                  g.sums(dv, g.part_dv, part, row, kv), row, kv, part);
    slots.give_back(slot);
  });
  if (status.ok()) status = add_parts(ctx, g, dk, g.part_dk);
  return status.ok() ? add_parts(ctx, g, dv, g.part_dv) : status;
}

int64_t attention_backward_scratch(int threads, Out dq, Out, Out, In dy, In q, In k, In v, In, In lse, In spans, i32 batch, i32 heads,
                                   i32 kv_heads, f32 scale) {
  const AttentionShape at(q, k, spans, batch, heads, kv_heads);
  Scratch scratch;
  const AttentionGradients g(at, dq, dy, q, k, v, lse, scale, scratch);
  return scratch.used + Slots::count(threads) * GradientBlock(at, nullptr).floats * 4;
}
