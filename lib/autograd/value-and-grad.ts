/** @file Gradients: record a function, walk back from its result. */
import { LowrankError } from "../native/errors.js";
import { fill } from "../tensor/create.js";
import { outsideScopes, runScope } from "../tensor/scope.js";
import { shapeText } from "../tensor/shape.js";
import { empty, Tensor } from "../tensor/tensor.js";
import { currentTape, withTape } from "./apply.js";
import type { Parameter } from "./parameter.js";
import { nextDraw } from "./randomness.js";
import { Tape } from "./tape.js";

export interface GradientOptions {
  /** Only these parameters get a gradient; default: every trainable parameter that the function uses. */
  readonly parameters?: Iterable<Parameter>;
}

/**
 * Runs `fn` (synchronous) with recording on, and adds the gradient of its result to `grad` of every trainable parameter it depends on.
 * Everything made inside is freed, except the result. When the walk back throws, the parameters it depends on have no gradient afterwards.
 * @returns the loss, a tensor with one element.
 * @throws LowrankError NOT_SCALAR, NO_GRADIENT, ASYNC_IN_SCOPE, MODIFIED_BEFORE_BACKWARD.
 */
export function valueAndGrad<T extends Tensor>(fn: () => T, options: GradientOptions = {}): T {
  if (currentTape() !== undefined)
    throw new LowrankError("BAD_ARGUMENT", "valueAndGrad: cannot be called inside of another valueAndGrad (first-order gradients only)");
  nextDraw();
  const tape = new Tape(options.parameters === undefined ? undefined : new Set(options.parameters));
  try {
    return runScope("valueAndGrad", fn, (run) => {
      const loss = withTape(tape, run);
      checkLoss(loss, tape);
      const seed = outsideScopes(() => empty(loss.shape, "f32"));
      fill(seed, 1);
      tape.walk(loss.id, seed);
      return loss;
    });
  } finally {
    tape.release();
  }
}

function checkLoss(loss: unknown, tape: Tape): void {
  if (!(loss instanceof Tensor) || loss.size !== 1) {
    const found = loss instanceof Tensor ? `a tensor ${shapeText(loss.shape)}` : String(loss);
    throw new LowrankError("NOT_SCALAR", `valueAndGrad: the function must return a tensor with one element, found ${found}`);
  }
  if (tape.targetOf(loss) === undefined) {
    throw new LowrankError(
      "NO_GRADIENT",
      "valueAndGrad: the result does not depend on any trainable parameter. Was the module frozen, or its output not used?",
    );
  }
}
