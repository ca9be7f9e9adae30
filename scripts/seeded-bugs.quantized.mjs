/** @file Bugs in quantised weights; see seeded-bugs.list.mjs. */

/** @typedef {import("./seeded-bugs.list.mjs").Bug} Bug */

const kernels = ["test/ops/quantize.test.ts"];
const models = ["test/models/quantized.backends.test.ts"];
const quantize = "native/kernels/scalar/quantize.cpp";
const rows = "native/kernels/simd/rows.inl";

/** @type {readonly Bug[]} */
export const quantized = [
  {
    name: "nf4: halves of a byte swapped",
    file: "native/kernels/scalar/rows.h",
    find: "pair >> 4 : pair & 15",
    replace: "pair & 15 : pair >> 4",
    tests: kernels,
  },
  { name: "nf4: ties go up", file: quantize, find: "midpoint < scaled[i]", replace: "midpoint <= scaled[i]", tests: kernels },
  { name: "nf4: scales not centred", file: quantize, find: "*quantized.offset = offset;", replace: "*quantized.offset = 0;", tests: kernels },
  {
    name: "nf4: scale codes not the nearest",
    file: quantize,
    find: "(table[middle] + table[middle + 1]) / 2 < x",
    replace: "table[middle] < x",
    tests: kernels,
  },
  {
    name: "nf4: groups of another size",
    file: "native/core/quantized.h",
    find: "group_scales[block / kNf4Group]",
    replace: "group_scales[block / 255]",
    tests: kernels,
  },
  { name: "int8: rounded towards zero", file: quantize, find: "(x + kShift) - kShift", replace: "x", tests: kernels },
  {
    name: "int8: the scale of the first row for all",
    file: "native/kernels/scalar/rows.h",
    find: "w.scales[r]",
    replace: "w.scales[0]",
    tests: kernels,
  },
  {
    name: "quantised: infinity passes",
    file: quantize,
    find: "return largest <= kLargest ? largest : NAN;",
    replace: "return largest;",
    tests: kernels,
  },
  {
    name: "quantised: rows of a piece put first",
    file: quantize,
    find: "quantize_nf4_row(nf4_weight(w), all, x, r, first + r)",
    replace: "quantize_nf4_row(nf4_weight(w), all, x, r, r)",
    tests: kernels,
  },
  {
    name: "nf4 avx2: one half of the table for all",
    file: "native/kernels/avx2/vec.h",
    find: "kNf4Values + 8",
    replace: "kNf4Values",
    tests: kernels,
    backend: "avx2",
  },
  {
    name: "nf4: the scale of the row's first block",
    file: rows,
    find: "row.weight.scale(static_cast<uint64_t>(row.first + i) / kNf4Block)",
    replace: "row.weight.scale(static_cast<uint64_t>(row.first) / kNf4Block)",
    tests: kernels,
    backend: "avx2",
  },
  {
    name: "nf4 avx2: bytes of two numbers mixed",
    file: "native/kernels/avx2/vec.h",
    find: "_mm256_unpackhi_epi8(bytes[2], bytes[3])",
    replace: "_mm256_unpackhi_epi8(bytes[2], bytes[2])",
    tests: kernels,
    backend: "avx2",
  },
  {
    name: "nf4 avx512: the sum of a dot in the order of its codes",
    file: rows,
    find: "return from_nf4_dot(sum);",
    replace: "return sum;",
    tests: kernels,
    backend: "avx512",
  },
  {
    name: "nf4 avx512: a dot with the other factor as it lies",
    file: rows,
    find: "return to_nf4_dot(x);",
    replace: "return x;",
    tests: kernels,
    backend: "avx512",
  },
  {
    name: "int8: the scale of the tile's first row",
    file: rows,
    find: "weight.scales + first + r}",
    replace: "weight.scales + first}",
    tests: kernels,
    backend: "avx2",
  },
  {
    name: "nf4: columns of a packed window forgotten",
    file: rows,
    find: "{weight, (first + r) * cols + column}",
    replace: "{weight, (first + r) * cols}",
    tests: kernels,
    backend: "avx2",
  },
  {
    name: "nf4: K cut inside of a vector",
    file: "native/kernels/simd/gemm.inl",
    find: "part_begin(k, greater(8, kWidth), k_blocks, block)",
    replace: "part_begin(k, 8, k_blocks, block)",
    tests: kernels,
    backend: "avx512_emulated",
  },
  {
    name: "nf4: pieces of a file quantised into its first rows",
    file: "lib/io/tensors.ts",
    find: "quantizer.add(part, first);",
    replace: "quantizer.add(part, 0);",
    tests: models,
  },
  { name: "nf4: a merge rounds the weight", file: "lib/lora/adapter.ts", find: "    this.#requirePlainWeights();\n", replace: "", tests: models },
];
