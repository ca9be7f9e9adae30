import { defineOp } from "./op.js";
import { erfc, map } from "./reference.js";

/** "none": the exact form; "tanh": the approximation. The words of torch.nn.functional.gelu. */
export interface GeluParams {
  readonly approximate: "none" | "tanh";
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

// ½(1 + erf(z)) = ½·erfc(−z) and ½(1 + tanh(u)) = sigmoid(2u): without the cancellation that the left forms have for negative x.
const exact = (x: number): number => (x * erfc(-x / Math.SQRT2)) / 2;
const tanhForm = (x: number): number => x * sigmoid(2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3));

export const geluOp = defineOp({
  name: "gelu",
  signature: "x[...] -> y[...]",
  formula: "y = x·Φ(x), or ½x·(1 + tanh(√(2/π)·(x + 0.044715x³)))",
  dtypes: { x: ["f32"] },
  gradients: ["x"],
  keeps: ["x"],
  defaults: { approximate: "none" } as GeluParams,
  forward: (k, { y, x }, { approximate }) => k.gelu_forward(y, x, approximate === "tanh"),
  backward: (k, { dx, dy, x }, { approximate }) => k.gelu_backward(dx, dy, x, approximate === "tanh"),
  reference: ({ x }, { approximate }) => map(x, approximate === "tanh" ? tanhForm : exact),
  tolerance: "ulp",
  cases: [{ approximate: "tanh" }],
});
