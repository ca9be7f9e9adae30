/**
 * @file Bugs that the tests must catch. Each is one replacement in one file; `find` must stand there exactly once. `tests`: the files
 * that `npm run seeded-bugs` runs with the bug, and words of test names. To add one, add a line.
 */

/**
 * @typedef {object} Bug
 * @property {string} name
 * @property {string} file relative to the root
 * @property {string} find
 * @property {string} replace
 * @property {readonly string[]} tests test files, then perhaps "-t" and a pattern of test names
 * @property {string} [backend] default: scalar
 */

import { quantized } from "./seeded-bugs.quantized.mjs";
import { recordings } from "./seeded-bugs.recordings.mjs";
import { simd } from "./seeded-bugs.simd.mjs";
import { invariants, op } from "./seeded-bugs.tests.mjs";
import { transformers } from "./seeded-bugs.transformers.mjs";

const trainingKernels = ["test/ops/training-kernels.test.ts"];
const golden = ["test/train/golden.backends.test.ts"];
const products = "native/kernels/scalar/products.cpp";
const lora = "native/kernels/scalar/lora.cpp";
const softmax = "native/kernels/scalar/softmax.cpp";
const optimizer = "native/kernels/scalar/optimizer.cpp";

/** @type {readonly Bug[]} */
const scalar = [
  {
    name: "bf16 accumulator",
    file: products,
    find: "chain[j] += a[i + j] * b[i + j];",
    replace: "chain[j] = widen(narrow_bf16(chain[j] + a[i + j] * b[i + j]));",
    tests: op("linear f32"),
  },
  {
    name: "last K element dropped",
    file: products,
    find: "for (int64_t j = 0; i < n; ++i, ++j)",
    replace: "for (int64_t j = 0; i + 1 < n; ++i, ++j)",
    tests: op("linear f32"),
  },
  {
    name: "last row dropped",
    file: products,
    find: "std::min(kTileRows, rows - r)",
    replace: "std::min(kTileRows, rows - r - 1)",
    tests: op("linear f32"),
  },
  {
    name: "two columns swapped",
    file: products,
    find: "out[j] + factor * tile[i][j] : factor * tile[i][j];",
    replace: "out[j] + factor * tile[i][j] : factor * tile[i][cols > 1 && j < 2 ? 1 - j : j];",
    tests: op("matmul"),
  },
  {
    name: "missing max-subtraction",
    file: softmax,
    find: "out[c] = std::exp(in[c] - max);",
    replace: "out[c] = std::exp(in[c]);",
    tests: invariants,
  },
  {
    name: "NaN lost by relu",
    file: "native/kernels/scalar/elementwise.cpp",
    find: "return v <= 0 ? 0.0f : v;",
    replace: "return v > 0 ? v : 0.0f;",
    tests: invariants,
  },
  {
    name: "wrong constant in gelu",
    file: "native/kernels/scalar/elementwise.cpp",
    find: "kCubic = 0.044715;",
    replace: "kCubic = 0.044714;",
    tests: op("gelu"),
  },
  {
    name: "gradient of a broadcast vector not summed over the last row",
    file: "native/kernels/scalar/elementwise.cpp",
    find: "return column_sums(ctx, db, whole.rows, 1.0f, term);",
    replace: "return column_sums(ctx, db, whole.rows - 1, 1.0f, term);",
    tests: op("(add|mul) f32"),
  },
  {
    name: "alpha / r wrong by 2x",
    file: lora,
    find: "product_nt(ctx, y, t.hm, b, View{}, scale, true)",
    replace: "product_nt(ctx, y, t.hm, b, View{}, 2 * scale, true)",
    tests: op("loraLinear f32"),
  },
  {
    name: "alpha / r missing in db",
    file: lora,
    find: "product_tn(ctx, db, dy, t.hm, scale, false)",
    replace: "product_tn(ctx, db, dy, t.hm, 1.0f, false)",
    tests: op("loraLinear f32"),
  },
  {
    name: "middle factor not transposed in backward",
    file: lora,
    find: "times_middle(ctx, t.dhm, t.dh, m, true)",
    replace: "times_middle(ctx, t.dhm, t.dh, m, false)",
    tests: op("loraLinear f32"),
  },
  {
    name: "dropout missing in da",
    file: lora,
    find: "product_tn(ctx, da, t.dhm, t.dropped, 1.0f, false)",
    replace: "product_tn(ctx, da, t.dhm, x, 1.0f, false)",
    tests: op("loraLinear f32"),
  },
  {
    name: "dropout scale missing",
    file: "native/kernels/scalar/random.cpp",
    find: "const float kept = 1.0f / (1.0f - p);",
    replace: "const float kept = 1.0f;",
    tests: op("dropout"),
  },
  {
    name: "bias gradient missing",
    file: "native/kernels/scalar/linear.cpp",
    find: "[&](int64_t r, int64_t c) { return dy.row<const float>(r)[c]; }",
    replace: "[&](int64_t, int64_t) { return 0.0f; }",
    tests: op("linear f32"),
  },
  {
    name: "ignored labels counted in the mean",
    file: "native/kernels/checks.h",
    find: "if (label == ignore) continue;",
    replace: "if (label == ignore && ++counted) continue;",
    tests: op("crossEntropy"),
  },
  {
    name: "padding counted in the loss",
    file: softmax,
    find: "row_loss[i] = label == ignore ? 0.0f :",
    replace: "row_loss[i] = label == ignore ? row.log_sum :",
    tests: op("crossEntropy"),
  },
  {
    name: "gradient of the mean not divided",
    file: softmax,
    find: "const float factor = mean ?",
    replace: "const float factor = mean && count.rows > 1 ?",
    tests: op("crossEntropy"),
  },
  {
    name: "accumulation not divided",
    file: optimizer,
    find: "step.clip_factor = static_cast<float>(clip / divisor);",
    replace: "step.clip_factor = static_cast<float>(clip);",
    tests: trainingKernels,
  },
  {
    name: "Adam decay coupled and decoupled swapped",
    file: optimizer,
    find: "StepRecord& step = record_of(record);\n  if (step.halted) return {};\n  const double rate",
    replace: "decoupled = !decoupled;\n  StepRecord& step = record_of(record);\n  if (step.halted) return {};\n  const double rate",
    tests: trainingKernels,
  },
  { name: "beta2 wrong", file: optimizer, find: "second[i] += rate2 *", replace: "second[i] += rate1 *", tests: trainingKernels },
  {
    name: "eps inside the root",
    file: optimizer,
    find: "(std::sqrt(second[i]) / root + eps)",
    replace: "(std::sqrt(second[i] / (root * root) + eps))",
    tests: trainingKernels,
  },
  {
    name: "weights change after a gradient that is not finite",
    file: optimizer,
    find: "if (total.first_bad != Squares::kNone) halt(",
    replace: "if (total.first_bad == -1) halt(",
    tests: trainingKernels,
  },
];

/** @type {readonly Bug[]} */
const typescript = [
  {
    name: "bias correction off by one step",
    file: "lib/train/optimizers.ts",
    find: "biasCorrection1: 1 - beta1 ** (step + 1)",
    replace: "biasCorrection1: 1 - beta1 ** (step + 2)",
    tests: golden,
  },
  {
    name: "learning rate one step late",
    file: "lib/train/train.ts",
    find: "scheduleFactor(schedule, step, ",
    replace: "scheduleFactor(schedule, Math.max(0, step - 1), ",
    tests: ["test/train"],
  },
  {
    name: "accumulation not divided, in train",
    file: "lib/train/train.ts",
    find: "gradientDivisor: weight",
    replace: "gradientDivisor: 1",
    tests: ["test/train"],
  },
  {
    name: "every micro-batch draws the first one's masks",
    file: "lib/train/train.ts",
    find: "if (micro > 0) record.setMicro(micro);",
    replace: "",
    tests: ["test/train"],
  },
  { name: "rslora ignored", file: "lib/lora/lora.ts", find: "useRslora ? Math.sqrt(rank) : rank", replace: "rank", tests: ["test/lora"] },
  {
    name: "gradient of a tensor that is used twice overwritten",
    file: "lib/autograd/tape.ts",
    find: "engine().kernels.accumulate(before, gradient);",
    replace: "",
    tests: ["test/misuse.test.ts", "-t", "used twice"],
  },
  {
    name: "gradients of a parameter overwritten",
    file: "lib/autograd/parameter.ts",
    find: "engine().kernels.accumulate(this.grad, gradient);",
    replace: "",
    tests: ["test/misuse.test.ts"],
  },
  {
    name: "change before backward unseen",
    file: "lib/autograd/tape.ts",
    find: "if (this.#storage.version === this.#version) return this.#view;",
    replace: "if (this.#version >= 0) return this.#view;",
    tests: ["test/misuse.test.ts"],
  },
  {
    name: "saved tensors never freed",
    file: "lib/autograd/tape.ts",
    find: "for (const kept of this.#kept) kept.release();",
    replace: "",
    tests: op("softmax"),
  },
  {
    name: "transposed forms of the product's gradients swapped",
    file: "lib/ops/matmul.ts",
    find: "k.matmul(db, a, dc, batch, TN)",
    replace: "k.matmul(db, a, dc, batch, NN)",
    tests: op("matmul"),
  },
  {
    name: "gradient of concat given to the wrong input",
    file: "lib/ops/concat.ts",
    find: "start += size;",
    replace: "start += 0 * size;",
    tests: op("concat"),
  },
  {
    name: "view of rows that lie apart",
    file: "lib/ops/reshape.ts",
    find: "x.packed || lastOf(shape) === x.cols ?",
    replace: "x.cols >= 0 ?",
    tests: op("reshape f32"),
  },
  {
    name: "slice forgets where its input starts",
    file: "lib/ops/slice.ts",
    find: "{ offset: x.offset + start, ld: x.ld }",
    replace: "{ offset: start, ld: x.ld }",
    tests: op("slice f32"),
  },
  {
    name: "mean counts all elements",
    file: "lib/ops/sum.ts",
    find: "shape.reduce((product, size) => product * size, 1) : (shape[axis] as number);",
    replace: "shape.reduce((product, size) => product * size, 1) : shape.reduce((product, size) => product * size, 1);",
    tests: op("mean"),
  },
  {
    name: "declared dtype that no kernel reads",
    file: "lib/ops/linear.ts",
    find: 'w: weightDTypes, bias: ["f32"]',
    replace: 'w: weightDTypes, bias: ["f32", "bf16"]',
    tests: op("linear"),
  },
  {
    name: "sizes not compared",
    file: "lib/ops/signature.ts",
    find: "if (bound !== undefined && bound !== size) {",
    replace: "if (bound === -1) {",
    tests: ["test/ops/refusals.test.ts"],
  },
];

export const bugs = [...scalar, ...simd, ...typescript, ...transformers, ...quantized, ...recordings];
