/** @file Gradient checkpointing: keep the inputs of a part, and compute it again in the backward walk. */
import { LowrankError } from "../native/errors.js";
import { outsideScopes, runScope } from "../tensor/scope.js";
import { checkTensor, Tensor, viewOf } from "../tensor/tensor.js";
import { currentTape, withTape } from "./apply.js";
import { Tape, type TapeNode, type Target } from "./tape.js";

type Part = (...inputs: Tensor[]) => Tensor;

/**
 * `fn(...inputs)`, whose intermediate results are not kept for the gradient but computed again when it is needed. Dropout draws the same
 * masks again. `fn` must depend on nothing but its inputs, parameters and constants.
 * @returns the result of `fn`, one tensor.
 */
export function checkpoint<T extends Tensor>(fn: (...inputs: never[]) => T, ...inputs: Tensor[]): T {
  const part = fn as unknown as Part;
  inputs.forEach((input, i) => {
    checkTensor(`checkpoint: input ${i}`, input);
  });
  const outer = currentTape();
  if (outer === undefined) return runScope("checkpoint", () => part(...inputs)) as T;
  const probe = new Tape(outer.wanted);
  for (const input of inputs) if (outer.targetOf(input) !== undefined) probe.addLeaf(input);
  try {
    const output = runScope("checkpoint", () => withTape(probe, () => part(...inputs)));
    if (!(output instanceof Tensor)) throw new LowrankError("BAD_ARGUMENT", "checkpoint: the function must return one tensor");
    if (probe.targetOf(output) !== undefined) outer.push(new RecomputedNode(part, inputs, outer, output.id));
    return output as T;
  } finally {
    probe.release();
  }
}

class RecomputedNode implements TapeNode {
  readonly #inputs: readonly Tensor[];
  readonly #targets: readonly (Target | undefined)[];

  constructor(
    readonly part: Part,
    inputs: readonly Tensor[],
    readonly outer: Tape,
    readonly output: number,
  ) {
    this.#targets = inputs.map((input) => outer.targetOf(input));
    this.#inputs = outsideScopes(() => inputs.map((input) => viewOf(input, input.shape, input)));
  }

  backward(dy: Tensor, give: (target: Target, gradient: Tensor) => void): void {
    const tape = new Tape(this.outer.wanted);
    this.#inputs.forEach((input, i) => {
      if (this.#targets[i] !== undefined) tape.addLeaf(input);
    });
    try {
      const output = outsideScopes(() => runScope("checkpoint", () => withTape(tape, () => this.part(...this.#inputs))));
      const seed = outsideScopes(() => viewOf(dy, dy.shape, dy));
      const gradients = tape.walk(output.id, seed);
      output.dispose();
      this.#inputs.forEach((input, i) => {
        const gradient = gradients.get(input.id);
        const target = this.#targets[i];
        if (gradient !== undefined && target !== undefined) give(target, gradient);
      });
    } finally {
      tape.release();
    }
  }

  release(): void {
    for (const input of this.#inputs) input.dispose();
  }
}
