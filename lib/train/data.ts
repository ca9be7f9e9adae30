/** @file Where batches come from, and who frees them. */
import { LowrankError } from "../native/errors.js";
import { tensorsIn } from "../tensor/scope.js";
import { Tensor } from "../tensor/tensor.js";
import { permutation } from "./permutation.js";

/** Data with a known length. `at` may be asynchronous, and may use the epoch (from 0) to shuffle or augment. */
export interface IndexedData<T> {
  readonly length: number;
  /** Undefined, which arrays give for an index that they do not have, is an error. */
  at(index: number, epoch: number): T | undefined | Promise<T | undefined>;
}

/** What `train` and `evaluate` take: an array of batches, indexed data, or anything that can be iterated. */
export type TrainingData<T> = IndexedData<T> | Iterable<T> | AsyncIterable<T>;

export interface Batch<T> {
  readonly item: T;
  /** The weight of its mean loss: examples, or trained labels. */
  readonly count: number;
  readonly examples: number;
  /** Tokens of a language model's batch. */
  readonly tokens: number | undefined;
  /** Frees its tensors, unless the caller keeps them. */
  dispose(): void;
}

export interface BatchOptions<T> {
  readonly shuffle: boolean;
  readonly seed: number;
  readonly keepBatches: boolean | undefined;
  readonly count: ((item: T) => number) | undefined;
  /** What an item holds beside its weight, where the two differ. */
  readonly sizes?: ((item: T) => { readonly examples: number; readonly tokens: number }) | undefined;
}

export class BatchSource<T> {
  /** Batches per epoch, where known. */
  readonly length: number | undefined;
  readonly #keep: boolean;

  constructor(
    readonly data: TrainingData<T>,
    readonly options: BatchOptions<T>,
  ) {
    checkData(data);
    this.length = isIndexed(data) ? data.length : undefined;
    if (this.length === 0) throw empty();
    this.#keep = options.keepBatches ?? Array.isArray(data);
  }

  /** The batches of an epoch, in order. */
  async *epoch(epoch: number): AsyncGenerator<Batch<T>, void> {
    let count = 0;
    for await (const item of this.#items(epoch)) {
      yield this.#batch(item, count++);
    }
    if (count === 0) throw empty(epoch);
  }

  async *#items(epoch: number): AsyncGenerator<T, void> {
    const { data, options } = this;
    try {
      if (isIndexed<T>(data)) {
        const order = options.shuffle ? permutation(data.length, options.seed, epoch) : (i: number) => i;
        for (let i = 0; i < data.length; i++) yield defined(await data.at(order(i), epoch), order(i));
      } else {
        yield* data as AsyncIterable<T>;
      }
    } catch (error) {
      if (error instanceof LowrankError) throw error;
      throw new LowrankError(
        "DATA_SOURCE_ERROR",
        `The data source failed in epoch ${epoch}: ${String((error as Error | undefined)?.message ?? error)}`,
        {},
        error,
      );
    }
  }

  #batch(item: T, index: number): Batch<T> {
    const tensors = tensorsIn(item);
    const dispose = (): void => {
      if (!this.#keep) for (const tensor of tensors) tensor.dispose();
    };
    const count = this.options.count?.(item) ?? tensors[0]?.shape[0] ?? 1;
    const { examples = count, tokens } = this.options.sizes?.(item) ?? {};
    if (Number.isFinite(count) && count > 0) return { item, count, examples, tokens, dispose };
    dispose();
    throw new LowrankError("DATA_BAD_ITEM", `Batch ${index} holds ${String(count)} examples; expected at least one. Leave empty batches out.`, {
      actual: count,
    });
  }
}

function defined<T>(item: T | undefined, index: number): T {
  if (item !== undefined) return item;
  throw new LowrankError("DATA_BAD_ITEM", `data.at(${index}) gave undefined; expected a batch for every index below data.length.`, { offset: index });
}

/** @throws LowrankError BAD_ARGUMENT when these are no data. */
export function checkData(data: unknown): void {
  const indexed = isIndexed(data);
  if (!indexed && !isIterable(data)) {
    const found = data === null ? "null" : typeof data;
    throw new LowrankError("BAD_ARGUMENT", `The data must be an array, have { length, at(i) }, or be iterable; found ${found}`);
  }
  if (indexed && !(Number.isSafeInteger(data.length) && data.length >= 0)) {
    throw new LowrankError("BAD_ARGUMENT", `The length of the data is a natural number, found ${String(data.length)}`);
  }
}

export const isIndexed = <T>(data: unknown): data is IndexedData<T> =>
  typeof data === "object" && data !== null && "length" in data && typeof (data as { at?: unknown }).at === "function";

const isIterable = (data: unknown): boolean =>
  typeof data === "object" && data !== null && !(data instanceof Tensor) && (Symbol.iterator in data || Symbol.asyncIterator in data);

const empty = (epoch = 0): LowrankError =>
  new LowrankError(
    "DATA_EMPTY",
    epoch === 0
      ? "The data holds no batch."
      : `The data held no batch in epoch ${epoch}. An iterator can be read only once: give an array, { length, at(i) }, or an object whose [Symbol.iterator] starts anew.`,
  );
