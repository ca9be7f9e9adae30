// How rows of a factor are read, whatever its type: `row(r)` of a source is a row, load_at(row, i) its kWidth elements from i on as floats,
// load_first_at(row, i, n) the first n of them. i is a multiple of kWidth. A dot reads part_at(row, i), where element i of the factor's row
// is a multiple of kPart: elements with one scale, which is made once. load_vecs(part, i, w) gives some of them in an order of their own,
// into which ordered(part, x) brings the other factor; restored(part, sum) brings the sum out of it. Of a source a dot makes kVecs vectors
// at once and, with one row of the other factor, goes along kColumns rows side by side.

constexpr int64_t kPart = kNf4Block;

/// f32, bf16 and f16.
template <class T>
struct PlainRows {
  static constexpr int kVecs = 1, kColumns = 8;
  const T* first;
  int64_t ld;

  LOWRANK_INLINE_MEMBER const T* row(int64_t r) const { return first + r * ld; }
};

template <class T>
LOWRANK_INLINE Vec load_at(const T* row, int64_t i) {
  return load(row + i);
}
template <class T>
LOWRANK_INLINE Vec load_first_at(const T* row, int64_t i, int64_t n) {
  return load_first(row + i, n);
}

template <class T>
LOWRANK_INLINE const T* part_at(const T* row, int64_t i) {
  return row + i;
}

template <class Part>
LOWRANK_INLINE void load_vecs(const Part& part, int64_t i, Vec (&w)[1]) {
  w[0] = load_at(part, i);
}

/// Asks for what a row has at i. Plain rows are found by the processor itself.
template <class Row>
LOWRANK_INLINE void ask_at(const Row&, int64_t) {}

template <class Part>
LOWRANK_INLINE Vec ordered(const Part&, Vec x) {
  return x;
}
template <class Part>
LOWRANK_INLINE Vec restored(const Part&, Vec sum) {
  return sum;
}

struct Int8Row {
  const int8_t* codes;
  const float* scale;
};

struct Int8Rows {
  static constexpr int kVecs = 1, kColumns = 4;
  Int8Weight weight;
  int64_t cols, first, column;

  LOWRANK_INLINE_MEMBER Int8Row row(int64_t r) const { return {weight.codes + (first + r) * cols + column, weight.scales + first + r}; }
};

struct Int8Part {
  const int8_t* codes;
  Vec scale;
};

LOWRANK_INLINE void ask_at(const Int8Row& row, int64_t i) { prefetch(row.codes + i); }
LOWRANK_INLINE Int8Part part_at(const Int8Row& row, int64_t i) { return {row.codes + i, broadcast(*row.scale)}; }
LOWRANK_INLINE Vec load_at(const Int8Part& part, int64_t i) { return mul(load(part.codes + i), part.scale); }
LOWRANK_INLINE Vec load_at(const Int8Row& row, int64_t i) { return load_at(part_at(row, i), 0); }
LOWRANK_INLINE Vec load_first_at(const Int8Row& row, int64_t i, int64_t n) {
  return mul(load_first(row.codes + i, n), broadcast(*row.scale));
}

struct Nf4Row {
  Nf4Weight weight;
  int64_t first;  // element of the weight
};

/// Rows have a multiple of 64 elements, and `column` is one of kWidth: no vector reaches over the end of a block or of a row.
struct Nf4Rows {
  static constexpr int kVecs = kNf4Vecs, kColumns = 4;
  Nf4Weight weight;
  int64_t cols, first, column;

  LOWRANK_INLINE_MEMBER Nf4Row row(int64_t r) const { return {weight, (first + r) * cols + column}; }
};

struct Nf4Part {
  const uint8_t* codes;
  Vec table;
};

LOWRANK_INLINE const uint8_t* nf4_codes(const Nf4Row& row, int64_t i) {
  return row.weight.codes + static_cast<uint64_t>(row.first + i) / 2;
}
LOWRANK_INLINE float nf4_scale(const Nf4Row& row, int64_t i) { return row.weight.scale(static_cast<uint64_t>(row.first + i) / kNf4Block); }

LOWRANK_INLINE void ask_at(const Nf4Row& row, int64_t i) { prefetch(nf4_codes(row, i)); }
LOWRANK_INLINE Nf4Part part_at(const Nf4Row& row, int64_t i) { return {nf4_codes(row, i), nf4_table(nf4_scale(row, i))}; }
LOWRANK_INLINE void load_vecs(const Nf4Part& part, int64_t i, Vec (&w)[kNf4Vecs]) { load_nf4_dot(part.codes + i / 2, part.table, w); }
LOWRANK_INLINE Vec ordered(const Nf4Part&, Vec x) { return to_nf4_dot(x); }
LOWRANK_INLINE Vec restored(const Nf4Part&, Vec sum) { return from_nf4_dot(sum); }

LOWRANK_INLINE Vec load_at(const Nf4Row& row, int64_t i) { return mul(load_nf4(nf4_codes(row, i)), broadcast(nf4_scale(row, i))); }
LOWRANK_INLINE Vec load_first_at(const Nf4Row& row, int64_t i, int64_t n) { return n <= 0 ? zero() : load_at(row, i); }
