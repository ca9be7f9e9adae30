/**
 * @file What the types cost: type instantiations for 1,000 op calls with different shapes, the number that `tsc --extendedDiagnostics`
 * reports. It is the same on every machine, so it may stand in a test.
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, it } from "vitest";

/** Measured; store a new number here when a change of the types is meant to cost more. */
const stored = 204_738;
const slack = 1.1;

const call: readonly ((i: number) => string)[] = [
  (i) => `linear(zeros([2, ${i + 8}, ${i + 768}]), zeros([${i + 3072}, ${i + 768}]), zeros([${i + 3072}]))`,
  (i) => `matmul(zeros([${i + 4}, ${i + 8}]), zeros([${i + 8}, ${i + 3}]))`,
  (i) => `loraLinear(zeros([4, ${i + 9}]), zeros([${i + 5}, ${i + 9}], { dtype: "bf16" }), zeros([8, ${i + 9}]), zeros([${i + 5}, 8]), { scale: 2 })`,
  (i) => `add(relu(zeros([${i + 2}, ${i + 6}])), gelu(ones([${i + 2}, ${i + 6}])))`,
  (i) => `crossEntropy(softmax(zeros([${i + 2}, 7])), zeros([${i + 2}], { dtype: "i32" }))`,
  (i) => `transpose(zeros([${i + 2}, ${i + 5}])).as([${i + 5}, "N"])`,
  (i) => `reshape(zeros([${i + 2}, 12]), [${i + 2}, 3, 4])`,
  (i) => `sum(mul(zeros([${i + 11}]), zeros([${i + 11}])))`,
  (i) => `cast(zeros([${i + 13}, 2]), "f16")`,
  (i) => `new Linear(${i + 14}, ${i + 15}).forward(zeros([3, ${i + 14}]))`,
];

/** The program's text; `library` is what it imports from. */
function program(library: string, calls = 1000): string {
  const names = "add, cast, crossEntropy, gelu, Linear, linear, loraLinear, matmul, mul, ones, relu, reshape, softmax, sum, transpose, zeros";
  const lines = Array.from(
    { length: calls },
    (_, i) => `export const c${i} = ${(call[i % call.length] as (typeof call)[0])(Math.floor(i / call.length))};`,
  );
  return `import { ${names} } from ${JSON.stringify(library)};\n${lines.join("\n")}\n`;
}

/** Checks the program against the library. Throws when it does not compile. */
function instantiations(): number {
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [], files: [] }, ts.sys, root);
  const file = join(root, "lib", "generated-calls.ts");
  const host = ts.createCompilerHost(options);
  const [read, exists] = [host.getSourceFile, host.fileExists];
  host.fileExists = (path) => path === file || exists(path);
  host.getSourceFile = (path, ...rest) =>
    path === file ? ts.createSourceFile(path, program("./index.js"), ts.ScriptTarget.ES2022) : read.call(host, path, ...rest);
  const compiled = ts.createProgram([file], { ...options, noEmit: true }, host);
  const errors = compiled.getSemanticDiagnostics(compiled.getSourceFile(file));
  if (errors.length > 0) throw new Error(ts.formatDiagnostics(errors.slice(0, 5), host));
  return compiled.getInstantiationCount();
}

it("1,000 op calls cost the compiler no more than a tenth above the stored number of instantiations", () => {
  const now = instantiations();
  expect(now).toBeLessThanOrEqual(stored * slack);
  expect(now, "far cheaper than stored: store the new number").toBeGreaterThan(stored / slack);
});
