// Products with few columns (low ranks, a head of ten classes): vectors lie along K, so that no lane is idle and an element of A is loaded
// with its neighbours, not one by one. Rows of A are read in place.

constexpr int64_t kDotRows = kMostRows[kWideVecs], kDotsAcross = kWideVecs;  // sums of a tile: as many as the widest one has vectors

/// Whether a product has few columns, and K is so long that adding up lanes hardly counts.
bool is_few_columns(const Product& p) {
  const Segment& s = p.segments[0];
  if (p.n > kLowRank || p.m <= kFewRows || p.segments[1].k > 0 || s.k < 8 * kWidth) return false;
  const bool plain = s.a.dtype == DType::f32 && !s.a.dropout && s.b.dtype == DType::f32 && !s.b.dropout;
  return plain && s.a.k_contiguous && s.a.ld % kWidth == 0;  // else most vectors would lie across two lines
}

/// The sum of each vector.
template <int Columns>
LOWRANK_INLINE void reduce_add(const Vec (&x)[Columns], float (&sums)[Columns]) {
  LOWRANK_UNROLL(4) for (int j = 0; j < Columns; ++j) sums[j] = reduce_add(x[j]);
}

/// B: element (k, column) at at[column * column_step + k / kWidth * k_step + k % kWidth].
struct DotColumns {
  const float* at;
  int64_t column_step, k_step;
};

struct DotCall {
  const float* a;
  int64_t lda;
  DotColumns b;
  int64_t k;
  float* c;
  int64_t ldc;
  const float* bias;  // null: none
  bool accumulate;
};

/// C[Rows, Columns] (+)= A B. Each element is the sum of kWidth chains of fused multiply-adds.
template <int Rows, int Columns>
LOWRANK_NOINLINE void multiply_dots(const DotCall& t) {
  Vec sum[Rows][Columns];
  LOWRANK_UNROLL(16) for (int r = 0; r < Rows; ++r) { LOWRANK_UNROLL(4) for (int j = 0; j < Columns; ++j) sum[r][j] = zero(); }
  const float *a = t.a, *b = t.b.at;
  int64_t k = t.k;
  for (; k >= kWidth; k -= kWidth, a += kWidth, b += t.b.k_step) {
    Vec column[Columns];
    LOWRANK_UNROLL(4) for (int j = 0; j < Columns; ++j) column[j] = load(b + j * t.b.column_step);
    LOWRANK_UNROLL(16) for (int r = 0; r < Rows; ++r) {
      const Vec row = load(a + r * t.lda);
      LOWRANK_UNROLL(4) for (int j = 0; j < Columns; ++j) sum[r][j] = fma(row, column[j], sum[r][j]);
    }
  }
  if (k > 0) {
    LOWRANK_UNROLL(4) for (int j = 0; j < Columns; ++j) {
      const Vec column = load_first(b + j * t.b.column_step, k);
      LOWRANK_UNROLL(16) for (int r = 0; r < Rows; ++r) sum[r][j] = fma(load_first(a + r * t.lda, k), column, sum[r][j]);
    }
  }
  LOWRANK_UNROLL(16) for (int r = 0; r < Rows; ++r) {
    float sums[Columns], *c = t.c + r * t.ldc;
    reduce_add(sum[r], sums);
    for (int j = 0; j < Columns; ++j) c[j] = sums[j] + (t.accumulate ? c[j] : t.bias ? t.bias[j] : 0.0f);
  }
}

using DotFunction = void (*)(const DotCall&);

struct DotTable {
  DotFunction of[kDotRows][kDotsAcross];  // [rows - 1][columns - 1]
};

template <int Rows, int Columns>
constexpr void fill_dots(DotTable& table) {
  table.of[Rows - 1][Columns - 1] = multiply_dots<Rows, Columns>;
  if constexpr (Columns > 1) {
    fill_dots<Rows, Columns - 1>(table);
  } else if constexpr (Rows > 1) {
    fill_dots<Rows - 1, kDotsAcross>(table);
  }
}

constexpr DotTable make_dot_table() {
  DotTable table{};
  fill_dots<kDotRows, kDotsAcross>(table);
  return table;
}

constexpr DotTable kDots = make_dot_table();

/// Floats of the packed columns of one matrix.
int64_t dot_floats(const Product& p) { return p.segments[0].b.k_contiguous ? 0 : p.n * round_up(p.segments[0].k, kWidth); }

int64_t few_columns_scratch(const Product& p) { return Scratch::bytes(p.batch * dot_floats(p)); }

/// Where the columns of a matrix lie, packed if need be: a vector of each, then the next one.
DotColumns dot_columns(const Product& p, int64_t batch, float* packed) {
  const Segment& s = p.segments[0];
  if (s.b.k_contiguous) return {element(s.b, batch, 0, 0), s.b.ld, kWidth};
  return {packed + batch * dot_floats(p), kWidth, kWidth * p.n};
}

void pack_dots(const Product& p, int64_t batch, float* packed) {
  const Segment& s = p.segments[0];
  float* to = packed + batch * dot_floats(p);
  for (int64_t k = 0; k < s.k; k += kWidth, to += kWidth * p.n)
    pack_rows<kWidth>(plain_rows<float>(s.b, batch, k, 0), 0, lesser(kWidth, s.k - k), p.n, to);
}

void few_columns_task(const Product& p, float* packed, int64_t batch, int64_t begin, int64_t end) {
  const Segment& s = p.segments[0];
  const DotColumns b = dot_columns(p, batch, packed);
  const int64_t across = divide_up(p.n, kDotsAcross);
  for (int64_t row = begin; row < end; row += kDotRows) {
    for (int64_t i = 0; i < across; ++i) {
      const int64_t first = part_begin(p.n, 1, across, i), columns = part_begin(p.n, 1, across, i + 1) - first;
      const DotCall call{element(s.a, batch, row, 0),
                         s.a.ld,
                         {b.at + first * b.column_step, b.column_step, b.k_step},
                         s.k,
                         p.c + batch * p.c_batch_stride + row * p.ldc + first,
                         p.ldc,
                         p.bias ? p.bias + first : nullptr,
                         p.accumulate};
      kDots.of[lesser(kDotRows, end - row) - 1][columns - 1](call);
    }
  }
}

Status few_columns(Context& ctx, const Product& p, std::byte* scratch) {
  constexpr int64_t kTaskRows = 8 * kDotRows;
  float* packed = reinterpret_cast<float*>(scratch);
  const int64_t down = divide_up(p.m, kTaskRows);
  Status status;
  if (!p.segments[0].b.k_contiguous)
    status = run_tiles(ctx, p.batch, p.batch * dot_floats(p), [&](int64_t batch) { pack_dots(p, batch, packed); });
  if (!status.ok()) return status;
  return run_tiles(ctx, p.batch * down, 2 * p.batch * p.m * p.n * p.segments[0].k, [&](int64_t task) {
    const int64_t begin = task % down * kTaskRows;
    few_columns_task(p, packed, task / down, begin, lesser(p.m, begin + kTaskRows));
  });
}
