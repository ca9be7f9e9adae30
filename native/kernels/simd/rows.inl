// How rows of a factor are read, whatever its type: `row(r)` of a source is a row, load_at(row, i) its kWidth elements from i on as floats,
// load_first_at(row, i, n) the first n of them. i is a multiple of kWidth.

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

struct Int8Row {
  const int8_t* codes;
  const float* scale;
};

struct Int8Rows {
  Int8Weight weight;
  int64_t cols, first, column;

  LOWRANK_INLINE_MEMBER Int8Row row(int64_t r) const { return {weight.codes + (first + r) * cols + column, weight.scales + first + r}; }
};

LOWRANK_INLINE Vec load_at(const Int8Row& row, int64_t i) { return mul(load(row.codes + i), broadcast(*row.scale)); }
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

LOWRANK_INLINE Vec load_at(const Nf4Row& row, int64_t i) {
  const int64_t element = row.first + i;
  return mul(load_nf4(row.weight.codes + element / 2), broadcast(row.weight.scale(element / kNf4Block)));
}
LOWRANK_INLINE Vec load_first_at(const Nf4Row& row, int64_t i, int64_t n) { return n <= 0 ? zero() : load_at(row, i); }
