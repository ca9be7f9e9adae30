/** @file Evaluation: means over examples, without gradients. */
import { argmax } from "../functions.js";
import type { CausalLm, TokenBatch } from "../models/index.js";
import { abortable } from "../native/abort.js";
import { engine, type OwnerId } from "../native/engine.js";
import { LowrankError } from "../native/errors.js";
import { runScope } from "../tensor/scope.js";
import { checkTensor, Tensor, viewOf } from "../tensor/tensor.js";
import { type Batch, BatchSource, type TrainingData } from "./data.js";
import { type LanguageExample, languageBatches, languageModelOf, languageSizes, recordableLoss, refuseOwnLoss, trainedLabels } from "./language.js";
import { checkBatchSize, checkEvaluateOptions, type EvaluateOptions, type LossResult } from "./options.js";
import { RecordedLoss } from "./recorded.js";

export interface EvaluationResult {
  /** Mean over all examples. */
  readonly loss: number;
  readonly examples: number;
  /** Language models: labels that counted; the loss is their mean. */
  readonly tokens?: number;
  /** Language models: exp(loss). */
  readonly perplexity?: number;
  /** Share of examples whose largest logit is at the label, where `loss` returns logits and labels. */
  readonly accuracy?: number;
  readonly metrics?: Readonly<Record<string, number>>;
}

type Metrics<T> = Readonly<Record<string, (batch: T) => Tensor>>;

/** What one batch gives: its mean loss, and what else is asked for. */
interface BatchResult {
  readonly loss: Tensor;
  readonly predictions: Tensor | undefined;
  readonly labels: Tensor | undefined;
  readonly metrics: readonly Tensor[];
}

/**
 * The mean loss over all examples of `data`, with accuracy where `options.loss` returns `{ loss, logits, labels }`. `target` is what the
 * loss depends on (a module or an adapter); it is not changed.
 * @throws LowrankError DATA_EMPTY, DATA_SOURCE_ERROR, DATA_BAD_ITEM, ABORTED; what the loss throws.
 */
export async function evaluate<T>(target: object, data: TrainingData<T>, options: EvaluateOptions<T> = {}): Promise<EvaluationResult> {
  const model = options?.loss === undefined ? languageModelOf(target) : undefined;
  if (model !== undefined) return evaluateLanguage(model, data as TrainingData<LanguageExample>, options as EvaluateOptions<TokenBatch>);
  if (options?.batchSize !== undefined)
    throw new LowrankError("BAD_ARGUMENT", "evaluate: batchSize is for language models without a loss of their own");
  const source = (count: EvaluateOptions<T>["count"]) => new BatchSource(data, { shuffle: false, seed: 0, keepBatches: options.keepBatches, count });
  return guarded(options, source);
}

async function evaluateLanguage(
  model: CausalLm,
  data: TrainingData<LanguageExample>,
  options: EvaluateOptions<TokenBatch>,
): Promise<EvaluationResult> {
  refuseOwnLoss("evaluate", options);
  const { batchSize = 8, ...others } = options;
  checkBatchSize("evaluate", batchSize);
  const batches = languageBatches(data, { batchSize, shuffle: false, seed: 0 });
  const source = (): BatchSource<TokenBatch> =>
    new BatchSource(batches, { shuffle: false, seed: 0, keepBatches: true, count: trainedLabels, sizes: languageSizes });
  const recorded = new RecordedLoss(recordableLoss(model, false));
  try {
    return await guarded({ ...others, loss: recorded.of }, source);
  } finally {
    recorded.dispose();
  }
}

async function guarded<T>(options: EvaluateOptions<T>, sourceOf: (count: EvaluateOptions<T>["count"]) => BatchSource<T>): Promise<EvaluationResult> {
  const loss = checkEvaluateOptions(options);
  const source = sourceOf(options.count);
  const guard = abortable(options.signal);
  try {
    return await evaluateBatches(source, loss, options.metrics ?? {}, guard.owner);
  } catch (error) {
    throw guard.explain(error);
  } finally {
    guard.release();
  }
}

/** As `evaluate`, on a source; the commands belong to `owner`. */
export async function evaluateBatches<T>(
  source: BatchSource<T>,
  loss: (batch: T) => LossResult,
  metrics: Metrics<T>,
  owner: OwnerId,
): Promise<EvaluationResult> {
  const names = Object.keys(metrics);
  const sums = new Float64Array(names.length);
  let total = 0;
  let weight = 0;
  let examples = 0;
  let tokens: number | undefined;
  let right = 0;
  let labelled = 0;
  for await (const batch of source.epoch(0)) {
    const result = engine().as(owner, () => submitBatch(batch, loss, metrics));
    try {
      const read = await engine().as(owner, () =>
        Promise.all([result.loss.item(), countRight(result), ...result.metrics.map((value) => value.item())]),
      );
      const [value, { correct, counted }, ...others] = read;
      total += value * batch.count;
      weight += batch.count;
      examples += batch.examples;
      if (batch.tokens !== undefined) tokens = (tokens ?? 0) + batch.count;
      right += correct;
      labelled += counted;
      others.forEach((other, i) => {
        sums[i] = (sums[i] as number) + other * batch.count;
      });
    } finally {
      for (const tensor of [result.loss, result.predictions, result.labels, ...result.metrics]) tensor?.dispose();
    }
  }
  return {
    loss: total / weight,
    examples,
    ...(tokens === undefined ? {} : { tokens, perplexity: Math.exp(total / weight) }),
    ...(labelled > 0 ? { accuracy: right / labelled } : {}),
    ...(names.length > 0 ? { metrics: Object.fromEntries(names.map((name, i) => [name, (sums[i] as number) / weight])) } : {}),
  };
}

function submitBatch<T>(batch: Batch<T>, loss: (batch: T) => LossResult, metrics: Metrics<T>): BatchResult {
  try {
    return runScope("evaluate", () => {
      const given = loss(batch.item);
      const logits = given instanceof Tensor ? undefined : given?.logits;
      return {
        loss: checkTensor("evaluate: loss", given instanceof Tensor ? given : given?.loss),
        predictions: logits === undefined ? undefined : argmax(logits),
        // A copy of the handle: the batch may be freed before the labels are read.
        labels: given instanceof Tensor || given.labels === undefined ? undefined : viewOf(given.labels, given.labels.shape, given.labels),
        metrics: Object.values(metrics).map((metric) => checkTensor("evaluate: metric", metric(batch.item))),
      };
    });
  } finally {
    batch.dispose();
  }
}

async function countRight({ predictions, labels }: BatchResult): Promise<{ correct: number; counted: number }> {
  if (predictions === undefined || labels === undefined) return { correct: 0, counted: 0 };
  const [predicted, expected] = await Promise.all([predictions.data(), labels.data()]);
  if (predicted.length !== expected.length) {
    throw new LowrankError("BAD_SHAPE", `evaluate: there are ${predicted.length} predictions but ${expected.length} labels`);
  }
  let correct = 0;
  let counted = 0;
  expected.forEach((label: number, i: number) => {
    if (label < 0) return; // ignored by the loss
    counted++;
    if (predicted[i] === label) correct++;
  });
  return { correct, counted };
}
