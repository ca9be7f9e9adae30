/** @file Keys and values of the tokens that a decoder has seen, so that each further token costs one position. */
import { engine } from "../native/engine.js";
import { tensor } from "../tensor/create.js";
import { outsideScopes } from "../tensor/scope.js";
import { attentionSpans } from "../tensor/spans.js";
import { empty, type Tensor, viewOf } from "../tensor/tensor.js";
import type { DecoderBatch } from "./batch.js";
import type { ModelConfig } from "./config.js";

/** Capacities are this many positions times a power of two. */
const smallestCapacity = 256;

/** What one layer does with its new keys and values [1, T, G, K]: gives those of all positions so far, [1, S, G, K]. */
export type Extend = (k: Tensor, v: Tensor) => readonly [Tensor, Tensor];

interface Layer {
  k?: Tensor | undefined;
  v?: Tensor | undefined;
}

/**
 * Rotated keys, and values, of the first `length` tokens of one text: for each layer two tensors [1, capacity, G, K], f32. The capacity is 256,
 * 512, 1,024, … positions; a full cache is copied into one of twice the size, layer by layer. Belongs to who made it, not to a scope.
 */
export class KvCache {
  /** Positions that hold a token. */
  length = 0;
  /** Which rotary frequencies the keys were rotated by (`rotationOf`): keys of different ones do not fit together. */
  rotation = 0;
  #capacity = 0;
  readonly #layers: readonly Layer[];
  readonly #row: readonly [number, number];

  constructor({ layers, kvHeads, headDim }: Pick<ModelConfig, "layers" | "kvHeads" | "headDim">) {
    this.#layers = Array.from({ length: layers }, () => ({}));
    this.#row = [kvHeads, headDim];
  }

  /** Forgets all tokens; the memory stays. */
  clear(): void {
    this.length = 0;
  }

  /** Makes room for `count` further tokens. @throws LowrankError OUT_OF_MEMORY; the tokens so far stay then */
  reserve(count: number): void {
    let capacity = Math.max(this.#capacity, smallestCapacity);
    while (capacity < this.length + count) capacity *= 2;
    if (capacity === this.#capacity) return;
    for (const layer of this.#layers) {
      layer.k = this.#grown(layer.k, capacity);
      layer.v = this.#grown(layer.v, capacity);
    }
    this.#capacity = capacity;
  }

  /** How a layer puts the keys and values of the tokens behind `length` into the cache. Call `advance` when all layers have. */
  extend(layer: number): Extend {
    return (k, v) => {
      const own = this.#layers[layer] as Layer;
      return [this.#append(own.k as Tensor, k), this.#append(own.v as Tensor, v)];
    };
  }

  /** Counts tokens whose keys and values all layers have put in. */
  advance(count: number): void {
    this.length += count;
  }

  dispose(): void {
    for (const layer of this.#layers) {
      layer.k?.dispose();
      layer.v?.dispose();
      layer.k = undefined;
      layer.v = undefined;
    }
    this.#capacity = 0;
    this.length = 0;
  }

  #append(all: Tensor, added: Tensor): Tensor {
    const count = added.shape[1] as number;
    const to = this.#part(all, this.length, count);
    engine().kernels.copy(to, added);
    to.dispose();
    return this.#part(all, 0, this.length + count);
  }

  /** Positions `start` … `start + count` of a tensor of the cache. */
  #part(all: Tensor, start: number, count: number): Tensor {
    const [heads, size] = this.#row;
    return viewOf(all, [1, count, heads, size], { offset: start * heads * size, ld: size });
  }

  /** A larger tensor with the same tokens, in place of `before`, which is freed. */
  #grown(before: Tensor | undefined, capacity: number): Tensor {
    return outsideScopes(() => {
      const after = empty([1, capacity, ...this.#row], "f32");
      if (before !== undefined && this.length > 0) {
        const [to, from] = [this.#part(after, 0, this.length), this.#part(before, 0, this.length)];
        engine().kernels.copy(to, from);
        to.dispose();
        from.dispose();
      }
      before?.dispose();
      return after;
    });
  }
}

/**
 * Names the rotary frequencies of a text of `length` tokens: of a `dynamic` or `longrope` model they depend on it (see `ropeFrequencies`).
 */
export function rotationOf({ rope, maxPositions }: Pick<ModelConfig, "rope" | "maxPositions">, length: number): number {
  if (rope.type === "dynamic") return Math.max(length, maxPositions);
  return rope.type === "longrope" && length > rope.originalMaxPositions ? 1 : 0;
}

/** One row of tokens that stand behind `start` others, which a cache holds. The tensors belong to the scope of the caller. */
export function continuedBatch(ids: readonly number[], start: number, { windows }: Pick<ModelConfig, "windows">): DecoderBatch {
  const [count, length] = [ids.length, start + ids.length];
  const spansOf = (window: number | undefined): Tensor => tensor(attentionSpans(1, count, length, { causal: true, window }), [1, count, 2]);
  return {
    tokens: tensor(Int32Array.from(ids), [1, count]),
    positions: tensor(
      Int32Array.from(ids, (_, i) => start + i),
      [1, count],
    ),
    length,
    spans: new Map([...new Set(windows)].map((window) => [window, spansOf(window)])),
  };
}
