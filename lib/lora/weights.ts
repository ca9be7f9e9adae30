/**
 * @file What adapters share about the weights under them: which are frozen, what was merged into them in which order, and whether they
 * still hold what they held.
 */
import type { Parameter } from "../autograd/parameter.js";
import type { Tensor } from "../tensor/tensor.js";

const frozen = new WeakMap<Parameter, { holders: number; readonly trainable: boolean }>();

/** Makes parameters untrainable until `unfreeze` was called as often. */
export function freeze(parameters: Iterable<Parameter>): void {
  for (const parameter of parameters) {
    const entry = frozen.get(parameter) ?? { holders: 0, trainable: parameter.trainable };
    entry.holders++;
    frozen.set(parameter, entry);
    parameter.trainable = false;
  }
}

export function unfreeze(parameters: Iterable<Parameter>): void {
  for (const parameter of parameters) {
    const entry = frozen.get(parameter);
    if (entry === undefined || --entry.holders > 0) continue;
    frozen.delete(parameter);
    parameter.trainable = entry.trainable;
  }
}

/** Names one state of a weight's elements. */
export type ContentId = number;

const contents = new WeakMap<Parameter, { readonly tensor: Tensor; readonly version: number; readonly id: ContentId }>();
let nextContent = 1;

/** The name of what a weight holds now: another one after every write, load or assignment. */
export function contentOf(weight: Parameter): ContentId {
  const tensor = weight.value;
  const known = contents.get(weight);
  if (known?.tensor === tensor && known.version === tensor.storage.version) return known.id;
  return nameContent(weight, nextContent++);
}

/** Says that a weight holds the named content now, because exactly its bytes were put back. */
export function nameContent(weight: Parameter, id: ContentId): ContentId {
  contents.set(weight, { tensor: weight.value, version: weight.value.storage.version, id });
  return id;
}

/** One merge into a weight. */
export interface Merge {
  readonly weight: Parameter;
  /** The adapter, for messages. */
  readonly by: string;
  /** The weight's bytes before. */
  readonly original: Tensor;
  readonly before: ContentId;
  readonly after: ContentId;
}

const merges = new WeakMap<Parameter, Merge[]>();

/** The merges into a weight that can still be undone, in order. */
export function mergesOf(weight: Parameter): Merge[] {
  const found = merges.get(weight) ?? [];
  merges.set(weight, found);
  return found;
}

/** The weight as it was before all merges. */
export const unmergedWeight = (weight: Parameter): Tensor => mergesOf(weight)[0]?.original ?? weight.value;

/** The name of what the weight held before all merges. */
export const unmergedContent = (weight: Parameter): ContentId => mergesOf(weight)[0]?.before ?? contentOf(weight);
