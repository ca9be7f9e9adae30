/** @file Rows of tokens as the tensors that a decoder reads. */
import { LowrankError } from "../native/errors.js";
import { tensor } from "../tensor/create.js";
import { ignoredLabel } from "../tensor/labels.js";
import { attentionSpans } from "../tensor/spans.js";
import type { Tensor } from "../tensor/tensor.js";
import type { ModelConfig } from "./config.js";

/** Labels of a row that count: those that are not ignored and have a token of the same text before them. */
export function countTrained(labels: readonly number[], starts: readonly number[] = []): number {
  const first = new Set([0, ...starts]);
  return labels.reduce((count, label, t) => count + (label !== ignoredLabel && !first.has(t) ? 1 : 0), 0);
}

/** What one forward pass reads. Rows are padded on the right; causal attention never looks there. */
export interface DecoderBatch {
  /** i32 [B, T] */
  readonly tokens: Tensor;
  /** i32 [B, T]: the position of each token in its text. */
  readonly positions: Tensor;
  /** T */
  readonly length: number;
  /** By window (undefined: none): i32 [B, T, 2], the keys that each query sees. */
  readonly spans: ReadonlyMap<number | undefined, Tensor>;
}

/** Checks rows of token ids. */
function checkRows(what: string, rows: unknown, vocabSize: number): asserts rows is readonly (readonly number[])[] {
  if (!Array.isArray(rows) || rows.length === 0)
    throw new LowrankError("BAD_ARGUMENT", `${what}: tokens is an array of at least one row of token ids`);
  rows.forEach((row: unknown, r) => {
    if (!Array.isArray(row) && !ArrayBuffer.isView(row))
      throw new LowrankError("BAD_ARGUMENT", `${what}: row ${r} of the tokens is an array of token ids, found ${typeof row}`);
    (row as readonly number[]).forEach((id, t) => {
      if (Number.isInteger(id) && id >= 0 && id < vocabSize) return;
      throw new LowrankError("INDEX_OUT_OF_RANGE", `${what}: token ${t} of row ${r} is ${String(id)}; ids go from 0 to ${vocabSize - 1}`, {
        offset: t,
        actual: id,
        expected: vocabSize,
      });
    });
  });
}

/** For each token of the padded rows, where its text begins. */
function textStarts(
  what: string,
  rows: readonly (readonly number[])[],
  starts: readonly (readonly number[])[] | undefined,
  length: number,
): Int32Array {
  const begins = new Int32Array(rows.length * length);
  if (starts === undefined) return begins;
  if (starts.length !== rows.length)
    throw new LowrankError("BAD_ARGUMENT", `${what}: there are ${rows.length} rows of tokens and ${starts.length} of starts`);
  starts.forEach((own, r) => {
    const size = rows[r]?.length as number;
    own.forEach((start, i) => {
      const before = i === 0 ? -1 : (own[i - 1] as number);
      if (!Number.isInteger(start) || start <= before || start >= Math.max(1, size) || (i === 0 && start !== 0))
        throw new LowrankError("BAD_ARGUMENT", `${what}: start ${i} of row ${r} is ${String(start)}; starts rise from 0 and stay below ${size}`);
      begins.fill(start, r * length + start, (r + 1) * length);
    });
  });
  return begins;
}

/** Pads rows on the right to the longest. The tensors belong to the scope of the caller. `starts`: where texts begin in packed rows. */
export function decoderBatch(
  what: string,
  rows: readonly (readonly number[])[],
  { vocabSize, padTokenId = 0, windows }: Pick<ModelConfig, "vocabSize" | "padTokenId" | "windows">,
  starts?: readonly (readonly number[])[],
): DecoderBatch {
  checkRows(what, rows, vocabSize);
  const length = Math.max(...rows.map((row) => row.length));
  if (length === 0) throw new LowrankError("BAD_ARGUMENT", `${what}: every row is empty; a row holds at least one token`);
  const tokens = new Int32Array(rows.length * length).fill(padTokenId);
  rows.forEach((row, r) => {
    tokens.set(row, r * length);
  });
  const begins = textStarts(what, rows, starts, length);
  const shape = [rows.length, length] as const;
  return {
    tokens: tensor(tokens, shape),
    positions: tensor(
      begins.map((begin, i) => (i % length) - begin),
      shape,
    ),
    length,
    spans: new Map(
      [...new Set(windows)].map((window) => [
        window,
        tensor(attentionSpans(rows.length, length, length, { causal: true, window }, begins), [...shape, 2]),
      ]),
    ),
  };
}

/**
 * Labels [B, T] aligned with the tokens, moved so that position t holds what it predicts: the label of t + 1. The first token of a packed text
 * is predicted by nothing.
 */
export function shiftedLabels(
  what: string,
  rows: readonly (readonly number[])[],
  labels: readonly (readonly number[])[],
  length: number,
  starts?: readonly (readonly number[])[],
): Tensor {
  if (!Array.isArray(labels) || labels.length !== rows.length)
    throw new LowrankError("BAD_ARGUMENT", `${what}: there are ${rows.length} rows of tokens and ${String(labels?.length)} of labels`);
  const shifted = new Int32Array(rows.length * length).fill(ignoredLabel);
  labels.forEach((row, r) => {
    const expected = (rows[r] as readonly number[]).length;
    if (row?.length !== expected)
      throw new LowrankError("BAD_ARGUMENT", `${what}: row ${r} has ${expected} tokens and ${String(row?.length)} labels; they are aligned`);
    row.forEach((label: number, t: number) => {
      if (!Number.isInteger(label)) throw new LowrankError("BAD_ARGUMENT", `${what}: label ${t} of row ${r} is ${String(label)}, not an integer`);
      if (t > 0) shifted[r * length + t - 1] = label;
    });
    for (const start of starts?.[r] ?? []) if (start > 0) shifted[r * length + start - 1] = ignoredLabel;
  });
  return tensor(shifted, [rows.length, length]);
}
