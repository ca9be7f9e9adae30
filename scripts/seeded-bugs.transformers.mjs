/** @file Bugs in the ops and models of the Llama family; see seeded-bugs.list.mjs. */

import { op } from "./seeded-bugs.tests.mjs";

/** @typedef {import("./seeded-bugs.list.mjs").Bug} Bug */

const goldenModels = ["test/models/golden.backends.test.ts"];

/** @type {readonly Bug[]} */
export const transformers = [
  {
    name: "wrong RoPE pairing",
    file: "native/kernels/scalar/transformer.cpp",
    find: "a = in[i], b = in[i + half];",
    replace: "a = in[2 * i], b = in[2 * i + 1];",
    tests: op("rope"),
  },
  {
    name: "eps outside the root of rmsNorm",
    file: "native/kernels/scalar/transformer.cpp",
    find: "1.0f / std::sqrt(squares / static_cast<float>(x.cols) + eps);",
    replace: "1.0f / (std::sqrt(squares / static_cast<float>(x.cols)) + eps);",
    tests: op("rmsNorm"),
  },
  {
    name: "query heads dealt to kv heads in turn",
    file: "native/kernels/scalar/attention.cpp",
    find: "const int64_t token = r / at.heads, kv = r % at.heads / at.group, keys = token / at.queries * at.keys;\n    const auto key",
    replace: "const int64_t token = r / at.heads, kv = r % at.heads % at.kv_heads, keys = token / at.queries * at.keys;\n    const auto key",
    tests: op("attention"),
  },
  {
    name: "causal mask off by one",
    file: "lib/tensor/spans.ts",
    find: "causal ? position + 1 :",
    replace: "causal ? position + 2 :",
    tests: ["test/ops/attention.test.ts"],
  },
  {
    name: "sliding window one too wide",
    file: "lib/tensor/spans.ts",
    find: "position - window + 1",
    replace: "position - window",
    tests: goldenModels,
  },
  {
    name: "packed texts see each other",
    file: "lib/tensor/spans.ts",
    find: "begins?.[query] ?? 0",
    replace: "0",
    tests: ["test/models/invariants.backends.test.ts"],
  },
  {
    name: "token mean and sequence mean swapped",
    file: "lib/train/train.ts",
    find: "    count: trainedLabels,",
    replace: "    count: (batch) => batch.tokens.length,",
    tests: ["test/models/invariants.backends.test.ts"],
  },
  {
    name: "tied-embedding gradient missing",
    file: "lib/ops/linear-cross-entropy.ts",
    find: "if (dw !== undefined) k.mul_forward(dw, gw, dloss);",
    replace: "if (dw !== undefined) k.fill(dw, 0);",
    tests: goldenModels,
  },
  {
    name: "labels not shifted",
    file: "lib/models/batch.ts",
    find: "if (t > 0) shifted[r * length + t - 1] = label;",
    replace: "shifted[r * length + t] = label;",
    tests: goldenModels,
  },
  {
    name: "chunks of the loss overwrite each other's dw",
    file: "native/kernels/simd/linear_cross_entropy.inl",
    find: "dw.accumulate = accumulate;",
    replace: "dw.accumulate = false;",
    tests: ["test/ops/linear-cross-entropy.test.ts"],
    backend: "avx2",
  },
  {
    name: "second panel of a wide head read from the first",
    file: "native/kernels/simd/attention.inl",
    find: "b.data + j / kWideCols * b.stride",
    replace: "b.data",
    tests: ["test/ops/attention.test.ts"],
    backend: "avx512_emulated",
  },
  {
    name: "earlier keys not scaled to the new maximum",
    file: "native/kernels/simd/attention.inl",
    find: "    *total *= factor;",
    replace: "",
    tests: op("attention"),
    backend: "avx2",
  },
  {
    name: "hidden keys get a gradient",
    file: "native/kernels/simd/attention_backward.inl",
    find: "    if (!all_see) {",
    replace: "    if (false) {",
    tests: op("attention"),
    backend: "avx2",
  },
  {
    name: "scale missing in the gradients of queries and keys",
    file: "native/kernels/simd/attention_backward.inl",
    find: "Vec slope = mul(mul(weight, broadcast(scale)), sub(",
    replace: "Vec slope = mul(weight, sub(",
    tests: op("attention"),
    backend: "avx2",
  },
  {
    name: "half of the queries missing in the gradients of keys",
    file: "native/kernels/simd/attention_backward.inl",
    find: "  if (!gradient || g.parts == 1) return {};",
    replace: "  if (!gradient || g.parts >= 1) return {};",
    tests: ["test/ops/attention.test.ts"],
    backend: "avx2",
  },
  {
    name: "rope's gradient turns the same way",
    file: "lib/ops/rope.ts",
    find: "heads ?? 0, true)",
    replace: "heads ?? 0, false)",
    tests: op("rope"),
  },
];
