/** @file LoRA (Hu et al., arXiv 2106.09685): y = W·x + s·B·(A·x) with A [R, I] and B [O, R] trained. */
import { siteOf } from "../autograd/randomness.js";
import { engine } from "../native/engine.js";
import { kaimingUniform } from "../nn/init.js";
import type { Method } from "./method.js";

/** PEFT's. */
export const defaultRank = 8;

/** PEFT's initial values: A is kaiming-uniform (±1/√I), a pure function of the seed and the tensor's name; B is zero. */
export const lora: Method = {
  name: "lora",
  roles: ["a", "b"],
  trains: ["a", "b"],
  rankOf: (_, wanted) => (wanted === Number.POSITIVE_INFINITY ? defaultRank : wanted),
  tensorName: (path, role) => `base_model.model.${path}.lora_${role === "a" ? "A" : "B"}.weight`,
  initialize({ path, linear }, { a, b }, seed) {
    kaimingUniform(a, linear.inFeatures, { seed, site: siteOf(lora.tensorName(path, "a")) });
    engine().kernels.fill(b.target(), 0);
  },
};

/** The s of the formula: alpha / r, or alpha / √r (rsLoRA, Kalajdzievski, arXiv 2312.03732). */
export const loraScale = (alpha: number, rank: number, useRslora: boolean): number => alpha / (useRslora ? Math.sqrt(rank) : rank);
