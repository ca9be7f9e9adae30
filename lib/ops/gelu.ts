import { defineOp } from "./op.js";
import { erf, map } from "./reference.js";

/** "none": the exact form; "tanh": the approximation. The words of torch.nn.functional.gelu. */
export interface GeluParams {
  readonly approximate: "none" | "tanh";
}

const exact = (x: number): number => (x * (1 + erf(x / Math.SQRT2))) / 2;
const tanhForm = (x: number): number => (x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))) / 2;

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
