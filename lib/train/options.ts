/** @file The options of `train` and `evaluate`, checked. */
import { checkNames, LowrankError } from "../native/errors.js";
import type { Tensor } from "../tensor/tensor.js";
import type { BatchOptions, TrainingData } from "./data.js";
import { type Optimizer, optimizersByName } from "./optimizers.js";
import type { RecordableLoss } from "./recorded.js";
import { type Schedule, schedules } from "./schedule.js";

/** The mean loss of a batch; with its logits and labels, evaluation also counts right answers. */
export type LossResult = Tensor | { readonly loss: Tensor; readonly logits: Tensor; readonly labels: Tensor };

export interface EvaluateOptions<T> {
  /** The mean loss of one batch (synchronous). */
  readonly loss?: (batch: T) => LossResult;
  /** Further numbers, each the mean of a batch, averaged over the examples. */
  readonly metrics?: Readonly<Record<string, (batch: T) => Tensor>>;
  /** Examples in a batch; default: the first size of its first tensor. */
  readonly count?: (batch: T) => number;
  /** Whether the caller keeps the batches' tensors; default: true for arrays, false for everything else. */
  readonly keepBatches?: boolean;
  readonly signal?: AbortSignal;
  /** Language models without `loss`: examples in a batch; default 8. */
  readonly batchSize?: number;
}

export interface EvaluationPlan<T> {
  readonly data: TrainingData<T>;
  /** In steps; default: at the end of each epoch. */
  readonly every?: number;
  /** Stop after so many evaluations in a row without a new lowest loss. */
  readonly patience?: number;
  /** End with the weights of the lowest loss, instead of the last ones; default false. */
  readonly keepBest?: boolean;
  readonly metrics?: EvaluateOptions<T>["metrics"];
}

/** The options of `train`. */
export interface TrainOptions<T> {
  /** The mean loss of one batch (synchronous): a tensor with one element, alone or with logits and labels. */
  readonly loss?: (batch: T) => LossResult;
  /** A name, or what `adamw`, `adam` or `sgd` gives; default "adamw". */
  readonly optimizer?: Optimizer | "adamw" | "adam" | "sgd";
  /** Peak learning rate; default that of the optimizer (1e-3). */
  readonly learningRate?: number;
  /** Default "constant". */
  readonly schedule?: Schedule;
  /** Steps in which the learning rate rises from 0; default 0. */
  readonly warmupSteps?: number;
  /** Default that of the optimizer. Applies to tensors of two or more dimensions, unless `decayAll`. */
  readonly weightDecay?: number;
  readonly decayAll?: boolean;
  /** Clips the norm of the gradient over all trained tensors; default: no clipping. */
  readonly maxGradNorm?: number;
  /** Default 1, unless `maxSteps` is given. */
  readonly epochs?: number;
  readonly maxSteps?: number;
  /** Batches per optimizer step; default 1. Every example weighs the same, whatever the sizes of the batches. */
  readonly accumulate?: number;
  /** Order of indexed data by (seed, epoch); default true for indexed data. */
  readonly shuffle?: boolean;
  /** Decides order and dropout; default 0. */
  readonly seed?: number;
  readonly evaluate?: EvaluationPlan<T>;
  /** Examples in a batch; default: the first size of its first tensor. */
  readonly count?: (batch: T) => number;
  /** Whether the caller keeps the batches' tensors; default: true for arrays, false for everything else. */
  readonly keepBatches?: boolean;
  readonly signal?: AbortSignal;
  /** Language models without `loss`: examples in a batch; default 8. */
  readonly batchSize?: number;
  /** Language models without `loss`: compute layers again in the backward walk instead of keeping them. Less memory, about a third more time. */
  readonly gradientCheckpointing?: boolean;
}

const trainNames: readonly (keyof TrainOptions<unknown>)[] = [
  "loss",
  "optimizer",
  "learningRate",
  "schedule",
  "warmupSteps",
  "weightDecay",
  "decayAll",
  "maxGradNorm",
  "epochs",
  "maxSteps",
  "accumulate",
  "shuffle",
  "seed",
  "evaluate",
  "count",
  "keepBatches",
  "signal",
  "batchSize",
  "gradientCheckpointing",
];

export interface TrainPlan<T> {
  readonly loss: (batch: T) => LossResult;
  readonly optimizer: Optimizer;
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly decayAll: boolean;
  readonly schedule: Schedule;
  readonly warmupSteps: number;
  readonly maxGradNorm: number;
  readonly epochs: number;
  readonly maxSteps: number | undefined;
  readonly accumulate: number;
  readonly shuffle: boolean;
  readonly seed: number;
  readonly evaluate: EvaluationPlan<T> | undefined;
  readonly count: ((batch: T) => number) | undefined;
  readonly sizes?: BatchOptions<T>["sizes"];
  /** Of a language model: how its loss is recorded. */
  readonly recordable?: RecordableLoss<T>;
  readonly keepBatches: boolean | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Checks all options. @throws LowrankError UNKNOWN_OPTION with the nearest name, BAD_ARGUMENT. */
export function checkTrainOptions<T>(options: TrainOptions<T>): TrainPlan<T> {
  checkNames("train", options, trainNames);
  const optimizer = optimizerOf(options);
  const number = (name: keyof TrainOptions<T>, fallback: number, low: number, integer = true): number =>
    checkNumber("train", name, (options[name] as number | undefined) ?? fallback, low, integer);
  const schedule = options.schedule ?? "constant";
  if (!schedules.includes(schedule))
    throw new LowrankError("BAD_ARGUMENT", `train: schedule is one of ${schedules.join(", ")}; found ${String(schedule)}`);
  if (options.evaluate !== undefined) {
    checkNames("train: evaluate", options.evaluate, ["data", "every", "metrics", "patience", "keepBest"]);
    for (const name of ["every", "patience"] as const) {
      const value = options.evaluate[name];
      if (value !== undefined) checkNumber("train: evaluate", name, value, 1);
    }
  }
  return {
    loss: checkLoss("train", options.loss),
    optimizer,
    learningRate: number("learningRate", optimizer.learningRate, 0, false),
    weightDecay: number("weightDecay", optimizer.weightDecay, 0, false),
    decayAll: options.decayAll ?? false,
    schedule,
    warmupSteps: number("warmupSteps", 0, 0),
    maxGradNorm: number("maxGradNorm", 0, 0, false),
    epochs: options.epochs === undefined && options.maxSteps !== undefined ? Number.POSITIVE_INFINITY : number("epochs", 1, 1),
    maxSteps: options.maxSteps === undefined ? undefined : number("maxSteps", 1, 1),
    accumulate: number("accumulate", 1, 1),
    shuffle: options.shuffle ?? true,
    seed: number("seed", 0, 0),
    evaluate: options.evaluate,
    count: options.count,
    keepBatches: options.keepBatches,
    signal: options.signal,
  };
}

/** Checks the options of `evaluate`. */
export function checkEvaluateOptions<T>(options: EvaluateOptions<T>): (batch: T) => LossResult {
  checkNames("evaluate", options, ["loss", "metrics", "count", "keepBatches", "signal", "batchSize"]);
  return checkLoss("evaluate", options.loss);
}

export const checkBatchSize = (what: string, size: number): number => checkNumber(what, "batchSize", size, 1);

function checkLoss<T>(what: string, loss: ((batch: T) => LossResult) | undefined): (batch: T) => LossResult {
  if (typeof loss === "function") return loss;
  throw new LowrankError("BAD_ARGUMENT", `${what}: the option loss is a function from a batch to its mean loss, found ${typeof loss}`);
}

function optimizerOf<T>({ optimizer = "adamw", learningRate, weightDecay }: TrainOptions<T>): Optimizer {
  if (typeof optimizer !== "string") {
    if (typeof optimizer?.submit === "function") return optimizer;
    throw new LowrankError("BAD_ARGUMENT", "train: optimizer is a name or what adamw(), adam() or sgd() gives");
  }
  const make = Object.hasOwn(optimizersByName, optimizer) ? optimizersByName[optimizer] : undefined;
  if (make !== undefined)
    return make({ ...(learningRate === undefined ? {} : { learningRate }), ...(weightDecay === undefined ? {} : { weightDecay }) });
  throw new LowrankError(
    "BAD_ARGUMENT",
    `train: there is no optimizer ${JSON.stringify(optimizer)}; known: ${Object.keys(optimizersByName).join(", ")}`,
  );
}

function checkNumber(what: string, name: string, value: number, low: number, integer = true): number {
  if (typeof value === "number" && value >= low && (integer ? Number.isSafeInteger(value) : Number.isFinite(value))) return value;
  throw new LowrankError("BAD_ARGUMENT", `${what}: ${name} is ${integer ? "an integer" : "a number"} from ${low} on, found ${String(value)}`, {
    expected: `>= ${low}`,
    actual: value,
  });
}
