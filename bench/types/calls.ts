/** @file A program of 1,000 op calls in which every shape is different: the worst that the types can be asked to check. */

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
export function program(library: string, calls = 1000): string {
  const names = "add, cast, crossEntropy, gelu, Linear, linear, loraLinear, matmul, mul, ones, relu, reshape, softmax, sum, transpose, zeros";
  const lines = Array.from({ length: calls }, (_, i) => `export const c${i} = ${(call[i % call.length] as (typeof call)[0])(Math.floor(i / call.length))};`);
  return `import { ${names} } from ${JSON.stringify(library)};\n${lines.join("\n")}\n`;
}
