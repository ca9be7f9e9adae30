/** @file What a training tells while it runs: plain data. */
import type { TrainingMemory } from "./memory.js";

export interface StepEvent {
  readonly type: "step";
  /** Optimizer steps done, from 1. */
  readonly step: number;
  /** All steps of the training, where known. */
  readonly totalSteps: number | undefined;
  /** Epochs done, with fraction, where the length of the data is known; else the number of the running epoch. */
  readonly epoch: number;
  /** Mean over what was counted in the step, before its update. */
  readonly loss: number;
  readonly learningRate: number;
  /** Norm of the mean gradient over all trained tensors, before clipping. */
  readonly gradNorm: number;
  /** Examples in the step. */
  readonly examples: number;
  readonly examplesPerSecond: number;
  /** Tokens of the step's texts, padding left out, of a language model. */
  readonly tokens?: number;
  readonly tokensPerSecond?: number;
  /** Undefined where the number of steps is not known. */
  readonly secondsLeft: number | undefined;
}

export interface EvalEvent {
  readonly type: "eval";
  readonly step: number;
  readonly epoch: number;
  readonly loss: number;
  readonly examples: number;
  /** Language models: labels that counted, and exp(loss). */
  readonly tokens?: number;
  readonly perplexity?: number;
  /** Share of examples whose largest logit is at the label, where `loss` returns logits and labels. */
  readonly accuracy?: number;
  readonly metrics?: Readonly<Record<string, number>>;
  /** Whether this is the lowest loss so far. */
  readonly best: boolean;
}

export interface WarningEvent {
  readonly type: "warning";
  readonly step: number;
  readonly message: string;
}

export interface DoneEvent {
  readonly type: "done";
  readonly steps: number;
  /** Loss of the last step. */
  readonly loss: number;
  readonly seconds: number;
  /** The best evaluation, if there was one. */
  readonly best?: { readonly step: number; readonly loss: number };
  /** Language models without a loss of their own: memory where it was most. */
  readonly memory?: TrainingMemory;
}

export type TrainingEvent = StepEvent | EvalEvent | WarningEvent | DoneEvent;

/** What `await training.finished` gives. */
export interface TrainingResult {
  readonly steps: number;
  readonly loss: number;
  readonly best?: { readonly step: number; readonly loss: number };
  /** Language models without a loss of their own: memory where it was most. */
  readonly memory?: TrainingMemory;
}
