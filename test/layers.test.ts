import { readFileSync } from "node:fs";
import { relative } from "node:path";
import { describe, expect, test } from "vitest";
import { errorCodes } from "../lib/native/error-codes.js";
import { filesUnder, root } from "../scripts/files.mjs";
import { layerViolations, sourceListViolations } from "./layers.js";

const paths = filesUnder(["native", "lib", "test", "bench", "examples", "scripts"], [".cpp", ".h", ".inl", ".cu", ".def", ".ts", ".mjs"]);
const sources = new Map(paths.map((path) => [relative(root, path).replaceAll("\\", "/"), readFileSync(path, "utf8")]));
const nativeFiles = [...sources.keys()].filter((path) => /^native\/.*\.cpp$/.test(path) && !path.startsWith("native/kernels/cuda/"));
const sourceList = readFileSync(`${root}/native/sources.txt`, "utf8");

test("every file keeps to its room", () => {
  expect(sources.size).toBeGreaterThan(20);
  expect(layerViolations(sources)).toEqual([]);
});

test("native/sources.txt names every C++ file, once", () => {
  expect(nativeFiles.length).toBeGreaterThan(5);
  expect(sourceListViolations(sourceList, nativeFiles)).toEqual([]);
});

test("every error code is used", () => {
  const texts = [...sources].filter(([path]) => /^(lib|examples)\//.test(path) && path !== "lib/native/error-codes.ts").map(([, text]) => text);
  const unused = Object.keys(errorCodes).filter((code) => !texts.some((text) => text.includes(`"${code}"`)));
  expect(unused).toEqual([]);
});

describe("the rules see what they forbid", () => {
  const cases: [path: string, text: string, complaint: RegExp][] = [
    ["native/core/a.cpp", "#include <napi.h>\n", /napi\.h/],
    ["native/addon.cpp", '#include "core/stream.h"\n', /may not include core/],
    ["native/core/a.cpp", '#include "kernels/kernel_table.h"\n', /may not include kernels/],
    ["native/kernels/scalar/a.cpp", "  #  include <immintrin.h>\n", /immintrin\.h/],
    ["native/kernels/avx2/a.cpp", "#include <arm_neon.h>\n", /arm_neon\.h/],
    ["native/kernels/avx2/a.cpp", '#include "kernels/avx512/vec.h"\n', /may not include kernels\/avx512/],
    ["native/kernels/simd/a.inl", '#include "kernels/avx2/vec.h"\n', /may not include kernels\/avx2/],
    ["native/bind/a.cpp", "#include <cuda_runtime.h>\n", /cuda_runtime\.h/],
    ["lib/tensor/a.ts", 'import { add } from "../ops/add.js";\n', /lib\/tensor may not import lib\/ops/],
    ["lib/models/a.ts", 'import type { Adapter } from "../lora/adapter.js";\n', /lib\/models may not import lib\/lora/],
    ["lib/io/a.ts", 'export * from "../nn/module.js";\n', /lib\/io may not import lib\/nn/],
    ["lib/ops/a.ts", 'const later = () => import("../functions.js");\n', /lib\/ops may not import lib\/functions/],
    ["lib/nn/a.ts", 'type A = import("../train/train.js").A;\n', /lib\/nn may not import lib\/train/],
    ["lib/nn/a.ts", 'import { x } from "../../test/x.js";\n', /outside lib/],
    ["lib/novel/a.ts", "export {};\n", /not in the table of rooms/],
    ["lib/io/a.ts", 'const f = require("../../build/Release/lowrank.node");\n', /\.node file/],
    ["lib/io/a.ts", "export const a = await Promise.resolve(1);\n", /top-level await/],
    ["lib/io/a.ts", "for await (const x of []) void x;\n", /top-level await/],
    ["lib/io/a.ts", "export const a = (s: string) => new RegExp(s);\n", /must be a literal/],
    ["scripts/a.ts", "//\n".repeat(451), /451 lines/],
  ];
  test.each(cases)("%s: %j", (path, text, complaint) => {
    expect(layerViolations(new Map([[path, text]]))).toEqual([expect.stringMatching(complaint)]);
  });

  const allowed: [path: string, text: string][] = [
    ["native/bind/a.cpp", '#include <napi.h>\n#include "core/stream.h"\n#include "kernels/command.h"\n'],
    ["native/kernels/avx2/a.cpp", '#include <immintrin.h>\n#include "kernels/simd/gemm.inl"\n#include "core/view.h"\n'],
    ["lib/nn/module.ts", 'import { save } from "../io/safetensors.js";\nconst f = async () => await save();\nconst r = new RegExp("a");\n'],
    ["lib/index.ts", 'export { train } from "./train/train.js";\n'],
    ["lib/native/load.ts", 'const path = "../../build/Release/lowrank.node";\n'],
    ["scripts/a.ts", "//\n".repeat(450)],
  ];
  test.each(allowed)("and nothing else: %s %j", (path, text) => {
    expect(layerViolations(new Map([[path, text]]))).toEqual([]);
  });

  test("in native/sources.txt", () => {
    const list = "# comment\nnative/a.cpp\nnative/a.cpp\nnative/gone.cpp\nnative/kernels/avx2/b.cpp\n";
    expect(sourceListViolations(list, ["native/a.cpp", "native/kernels/avx2/b.cpp", "native/new.cpp"])).toEqual([
      "native/sources.txt lacks native/new.cpp",
      "native/sources.txt names native/gone.cpp, which does not exist",
      "native/sources.txt names native/a.cpp twice",
      'native/sources.txt: the conditions of native/kernels/avx2/b.cpp must be "x64"',
    ]);
  });
});
