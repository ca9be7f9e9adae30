/** @file Language models in the trainer: examples of tokens and labels, put together to batches, weighed by the labels that count. */
import { Adapter } from "../lora/index.js";
import { countTrained } from "../models/batch.js";
import { CausalLm, type TokenBatch } from "../models/index.js";
import { LowrankError } from "../native/errors.js";
import { checkData, type IndexedData, isIndexed, type TrainingData } from "./data.js";
import { permutation } from "./permutation.js";
import type { RecordableLoss } from "./recorded.js";

/** One row for a language model. Labels are aligned with the tokens; −100 is not trained. */
export interface LanguageExample {
  readonly tokens: readonly number[];
  readonly labels: readonly number[];
  /** Where each text begins, when several are packed in the row: they do not see each other. */
  readonly starts?: readonly number[];
}

export interface LanguageOptions {
  /** Examples in a batch. */
  readonly batchSize: number;
  readonly shuffle: boolean;
  readonly seed: number;
}

/** The language model that a target belongs to: itself, or what its adapters are attached to. */
export function languageModelOf(target: unknown): CausalLm | undefined {
  const targets: readonly unknown[] = Array.isArray(target) ? target : [target];
  const models = new Set(targets.map((one) => (one instanceof Adapter ? one.module : one)));
  const [model] = models;
  return models.size === 1 && model instanceof CausalLm ? model : undefined;
}

/** Adapters carry the chat template by which the data were rendered, if there is one: their prompts must be rendered by the same. */
export function rememberTemplate(target: unknown, data: unknown): void {
  const { template } = data as { readonly template?: unknown };
  if (typeof template !== "string") return;
  for (const one of Array.isArray(target) ? target : [target]) if (one instanceof Adapter) one.chatTemplate = template;
}

function withCheckpointing<R>(model: CausalLm, checkpointing: boolean, fn: () => R): R {
  const before = model.gradientCheckpointing;
  model.gradientCheckpointing = checkpointing || before;
  try {
    return fn();
  } finally {
    model.gradientCheckpointing = before;
  }
}

/** The loss of a batch, with the layers computed again in the backward walk when `checkpointing`. */
export const recordableLoss = (model: CausalLm, checkpointing: boolean): RecordableLoss<TokenBatch> => ({
  inputs: (batch) => model.lossInputs(batch),
  loss: (inputs) => withCheckpointing(model, checkpointing, () => model.lossOf(inputs)),
  key: () => String(checkpointing || model.gradientCheckpointing),
  weights: () => model.parameters().values(),
});

/** Labels of a batch that count. */
export const trainedLabels = ({ labels, starts }: TokenBatch): number => labels.reduce((sum, row, r) => sum + countTrained(row, starts?.[r]), 0);

/** Options that say something of the batches of a loss of one's own. @throws LowrankError BAD_ARGUMENT */
export function refuseOwnLoss(what: string, options: object): void {
  for (const name of ["count", "keepBatches"]) {
    if ((options as Readonly<Record<string, unknown>>)[name] === undefined) continue;
    throw new LowrankError("BAD_ARGUMENT", `${what}: ${name} goes with a loss of your own; a language model counts the labels that are trained`);
  }
}

/** Rows and tokens of a batch. */
export const languageSizes = ({ tokens }: TokenBatch): { examples: number; tokens: number } => ({
  examples: tokens.length,
  tokens: tokens.reduce((sum, row) => sum + row.length, 0),
});

/** The examples in batches: indexed data in an order by (seed, epoch), other data as it comes. @throws LowrankError BAD_ARGUMENT */
export function languageBatches(data: TrainingData<LanguageExample>, options: LanguageOptions): TrainingData<TokenBatch> {
  checkData(data);
  return isIndexed<LanguageExample>(data) ? indexedBatches(data, options) : iterated(data, options.batchSize);
}

function indexedBatches(data: IndexedData<LanguageExample>, { batchSize, shuffle, seed }: LanguageOptions): IndexedData<TokenBatch> {
  return {
    length: Math.ceil(data.length / batchSize),
    async at(batch, epoch) {
      const order = shuffle ? permutation(data.length, seed, epoch) : (i: number): number => i;
      const first = batch * batchSize;
      const places = Array.from({ length: Math.min(batchSize, data.length - first) }, (_, i) => order(first + i));
      return collate(await Promise.all(places.map(async (i) => checked(await data.at(i, epoch), i))));
    },
  };
}

function iterated(data: Iterable<LanguageExample> | AsyncIterable<LanguageExample>, size: number): AsyncIterable<TokenBatch> {
  return {
    async *[Symbol.asyncIterator]() {
      let row = 0;
      let group: LanguageExample[] = [];
      for await (const example of data) {
        group.push(checked(example, row++));
        if (group.length < size) continue;
        yield collate(group);
        group = [];
      }
      if (group.length > 0) yield collate(group);
    },
  };
}

const collate = (examples: readonly LanguageExample[]): TokenBatch => ({
  tokens: examples.map(({ tokens }) => tokens),
  labels: examples.map(({ labels }) => labels),
  ...(examples.some(({ starts }) => starts !== undefined) ? { starts: examples.map(({ starts }) => starts ?? [0]) } : {}),
});

function checked(example: LanguageExample | undefined, i: number): LanguageExample {
  const { tokens, labels, starts } = example ?? {};
  const what =
    !Array.isArray(tokens) || !Array.isArray(labels)
      ? "is no { tokens: number[], labels: number[] }"
      : tokens.length !== labels.length
        ? `has ${tokens.length} tokens and ${labels.length} labels`
        : countTrained(labels, starts) === 0
          ? "trains nothing: no label counts"
          : undefined;
  if (what === undefined) return example as LanguageExample;
  throw new LowrankError("DATA_BAD_ITEM", `Example ${i} ${what}. Without the option loss, the data of a language model are such examples.`, {
    offset: i,
  });
}
