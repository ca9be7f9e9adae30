import { mulOp } from "./mul.js";
import { type Compose, defineOp } from "./op.js";
import { siluOp } from "./silu.js";

export const swigluOp = defineOp({
  name: "swiglu",
  signature: "gate[..., F], up[..., F] -> y[..., F]",
  formula: "y = silu(gate) ⊙ up",
  dtypes: { gate: ["f32"], up: ["f32"] },
  gradients: ["gate", "up"],
  keeps: ["gate", "up"],
  remake: true,
  defaults: {},
  forward: (k, { y, gate, up }) => k.swiglu_forward(y, gate, up),
  backward: (k, { dgate, dup, dy, gate, up }) => k.swiglu_backward(dgate, dup, dy, gate, up),
  composed: <T>(apply: Compose<T>, { gate, up }: Record<string, T | undefined>) => apply(mulOp, { a: apply(siluOp, { x: gate }), b: up }),
  tolerance: "flash",
});
