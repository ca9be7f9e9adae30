// Products with few columns (low ranks, a head of ten classes): vectors lie along K, so that no lane is idle and an element of A is loaded
// with its neighbours, not one by one. Rows of A are read in place.

constexpr int64_t kDotRows = kMostRows[kWideVecs], kDotsAcross = kWideVecs;  // sums of a tile: as many as the widest one has vectors

/// Whether one product, of f32, has few columns, and K is so long that adding up lanes hardly counts.
bool is_few_columns(const Product& p) {
  const Segment& s = p.segments[0];
  if (p.batch > 1 || p.n > kLowRank || p.m <= kFewRows || p.segments[1].k > 0 || s.k < 8 * kWidth) return false;
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

int64_t few_columns_scratch(const Product& p) {
  const Segment& s = p.segments[0];
  return s.b.k_contiguous ? 0 : Scratch::bytes(p.n * round_up(s.k, kWidth));
}

/// The columns where they lie, or packed: a vector of each, then the next one.
DotColumns dot_columns(const Product& p, float* packed) {
  const Segment& s = p.segments[0];
  if (s.b.k_contiguous) return {element(s.b, 0, 0, 0), s.b.ld, kWidth};
  for (int64_t k = 0; k < s.k; k += kWidth)
    pack_rows<kWidth>(plain_rows<float>(s.b, 0, k, 0), 0, lesser(kWidth, s.k - k), p.n, packed + k * p.n);
  return {packed, kWidth, kWidth * p.n};
}

void few_columns_task(const Product& p, const DotColumns& b, int64_t begin, int64_t end) {
  const Segment& s = p.segments[0];
  const int64_t across = divide_up(p.n, kDotsAcross);
  for (int64_t row = begin; row < end; row += kDotRows) {
    for (int64_t i = 0; i < across; ++i) {
      const int64_t first = part_begin(p.n, 1, across, i), columns = part_begin(p.n, 1, across, i + 1) - first;
      DotCall call;
      call.a = element(s.a, 0, row, 0), call.lda = s.a.ld, call.k = s.k;
      call.b = {b.at + first * b.column_step, b.column_step, b.k_step};
      call.c = p.c + row * p.ldc + first, call.ldc = p.ldc;
      call.bias = p.bias ? p.bias + first : nullptr, call.accumulate = p.accumulate;
      kDots.of[lesser(kDotRows, end - row) - 1][columns - 1](call);
    }
  }
}

Status few_columns(Context& ctx, const Product& p, std::byte* scratch) {
  constexpr int64_t kTaskRows = 8 * kDotRows;
  const DotColumns b = dot_columns(p, reinterpret_cast<float*>(scratch));
  return run_tiles(ctx, divide_up(p.m, kTaskRows), 2 * p.m * p.n * p.segments[0].k, [&](int64_t task) {
    const int64_t begin = task * kTaskRows;
    few_columns_task(p, b, begin, lesser(p.m, begin + kTaskRows));
  });
}
