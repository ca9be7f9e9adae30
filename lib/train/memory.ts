/** @file What a training of a language model holds in memory, planned before it runs. */
import type { Parameter } from "../autograd/parameter.js";
import { engine } from "../native/engine.js";
import { LowrankError } from "../native/errors.js";
import { storageBytes } from "../tensor/dtype.js";

/** Bytes in the native memory of this environment, where they were most. */
export interface TrainingMemory {
  /** Weights that are not trained. */
  readonly weightBytes: number;
  /** Trained values, their gradients, and what the optimizer and `keepBest` keep. */
  readonly trainedBytes: number;
  /** Everything between a batch and its gradients: the arena, as it was planned for the largest step or batch of an evaluation. */
  readonly activationBytes: number;
  /** Everything else: rows of tokens, tables of angles, other adapters, tensors of your own. */
  readonly otherBytes: number;
  /** The sum. */
  readonly plannedBytes: number;
  /** As it was measured: `memory().cpu.peakBytes` at the end, which counts from the last `resetPeakMemory()` on. */
  readonly peakBytes: number;
}

type Plan = Omit<TrainingMemory, "peakBytes">;

/** Bytes of the values of parameters. */
export const valueBytes = (parameters: Iterable<Parameter>): number =>
  [...parameters].reduce((sum, { shape, dtype }) => sum + storageBytes(shape, dtype), 0);

export class MemoryPlan {
  #largest: Plan | undefined;

  /** @param trainedBytes those of now */
  constructor(
    readonly weightBytes: number,
    readonly trainedBytes: () => number,
  ) {}

  /** Takes the arena for what runs next. @throws LowrankError OUT_OF_MEMORY, with what is in memory beside it */
  readonly reserve = (bytes: number): void => {
    const plan = this.#planned(bytes);
    try {
      engine().reserveArena(bytes);
    } catch (error) {
      throw explained(error, plan);
    }
    if (plan.plannedBytes > (this.#largest?.plannedBytes ?? 0)) this.#largest = plan;
  };

  /** Undefined before the first reservation. */
  get largest(): TrainingMemory | undefined {
    return this.#largest && { ...this.#largest, peakBytes: engine().memory().peakBytes };
  }

  #planned(bytes: number): Plan {
    const { weightBytes } = this;
    const trainedBytes = this.trainedBytes();
    const { bytes: used, arenaBytes } = engine().memory();
    const activationBytes = Math.max(bytes, arenaBytes);
    const otherBytes = used - arenaBytes - weightBytes - trainedBytes;
    return { weightBytes, trainedBytes, activationBytes, otherBytes, plannedBytes: used - arenaBytes + activationBytes };
  }
}

function explained(error: unknown, plan: Plan): unknown {
  if (!(error instanceof LowrankError && error.code === "OUT_OF_MEMORY")) return error;
  const { weightBytes, trainedBytes, activationBytes, otherBytes } = plan;
  const { processBytes, budgetBytes } = error.details;
  return new LowrankError(
    "OUT_OF_MEMORY",
    `The activations of the next batches are planned to take ${activationBytes} bytes, which do not fit. In memory are weights of ${weightBytes} bytes, ` +
      `trained values with gradients and optimizer of ${trainedBytes}, and ${otherBytes} others; the process holds ${processBytes} of its budget of ` +
      `${budgetBytes} bytes. None of them has run. Use a smaller batchSize, shorter rows (maxLength) or gradientCheckpointing, or raise the budget ` +
      "(memoryBudget of loadModel, LOWRANK_MEMORY_BUDGET).",
    { ...error.details, ...plan },
    error,
  );
}
