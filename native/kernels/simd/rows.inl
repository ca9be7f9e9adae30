// How rows of a factor are read, whatever its type: `row(r)` of a source is a row, load_at(row, i) its kWidth elements from i on as floats,
// load_first_at(row, i, n) the first n of them. i is a multiple of kWidth. part_at(row, i), where element i of the factor's row is a
// multiple of kPart, is read in the same way: elements with one scale, which is made once.

constexpr int64_t kPart = kNf4Block;

/// f32, bf16 and f16.
template <class T>
struct PlainRows {
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

struct Int8Row {
  const int8_t* codes;
  const float* scale;
};

struct Int8Rows {
  Int8Weight weight;
  int64_t cols, first, column;

  LOWRANK_INLINE_MEMBER Int8Row row(int64_t r) const { return {weight.codes + (first + r) * cols + column, weight.scales + first + r}; }
};

struct Int8Part {
  const int8_t* codes;
  Vec scale;
};

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
  Nf4Weight weight;
  int64_t cols, first, column;

  LOWRANK_INLINE_MEMBER Nf4Row row(int64_t r) const { return {weight, (first + r) * cols + column}; }
};

struct Nf4Part {
  const uint8_t* codes;
  Vec scale;
};

LOWRANK_INLINE Nf4Part part_at(const Nf4Row& row, int64_t i) {
  const int64_t element = row.first + i;
  return {row.weight.codes + element / 2, broadcast(row.weight.scale(element / kNf4Block))};
}
LOWRANK_INLINE Vec load_at(const Nf4Part& part, int64_t i) { return mul(load_nf4(part.codes + i / 2), part.scale); }
LOWRANK_INLINE Vec load_at(const Nf4Row& row, int64_t i) { return load_at(part_at(row, i), 0); }
LOWRANK_INLINE Vec load_first_at(const Nf4Row& row, int64_t i, int64_t n) { return n <= 0 ? zero() : load_at(row, i); }
