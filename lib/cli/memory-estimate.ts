/** @file About how much memory the training of an adapter takes. */
import type { ModelConfig } from "../models/index.js";

export interface MemoryEstimate {
  readonly rank: number;
  /** Rows of a batch, and tokens of a row. */
  readonly rows: number;
  readonly length: number;
  readonly checkpointing: boolean;
  readonly trainedNumbers: number;
  /** Bytes, as the weights are stored. */
  readonly weights: number;
  /** Bytes of values, gradients and the two moments of AdamW. */
  readonly adapter: number;
  /** Bytes of one batch. */
  readonly activations: number;
  readonly total: number;
}

export interface EstimateOptions extends Pick<MemoryEstimate, "rank" | "rows" | "length" | "checkpointing"> {
  readonly weightBytes: number;
}

/** Rows of logits that exist at the same time where the head is frozen: loss_chunk_rows of native/kernels/loss_chunk.h. */
const logitRows = (tokens: number, vocabulary: number): number => Math.min(tokens, 128, Math.max(8, Math.floor(2 ** 24 / vocabulary / 8) * 8));

/**
 * Adds up what the backward walk needs: of each layer its two residual sums [D], the turned queries and the output of attention, keys and
 * values, gate and up [F], x·Aᵀ of each adapted layer [R]; and what exists once, what is computed again among it. With checkpointing only the
 * input of each layer is kept, and one layer whole. Compared with the engine's counter in test/cli/commands.test.ts.
 */
export function trainingMemory(
  {
    hiddenSize: d,
    intermediateSize: f,
    heads,
    kvHeads,
    headDim,
    layers,
    vocabSize,
  }: Pick<ModelConfig, "hiddenSize" | "intermediateSize" | "heads" | "kvHeads" | "headDim" | "layers" | "vocabSize">,
  adapted: readonly (readonly [outputs: number, inputs: number])[],
  { rank, rows, length, checkpointing, weightBytes }: EstimateOptions,
): MemoryEstimate {
  const tokens = rows * length;
  const trainedNumbers = adapted.reduce((sum, [outputs, inputs]) => sum + rank * (outputs + inputs), 0);
  const layer = 2 * d + 2 * (heads + kvHeads) * headDim + 2 * f + heads + 2 + (rank * adapted.length) / layers;
  const kept = checkpointing ? layers * d + layer : layers * layer;
  const logits = logitRows(tokens, vocabSize) * vocabSize;
  const activations = 4 * (tokens * (kept + 4 * d + 3 * f) + logits);
  const adapter = 16 * trainedNumbers;
  return {
    rank,
    rows,
    length,
    checkpointing,
    trainedNumbers,
    weights: weightBytes,
    adapter,
    activations,
    total: weightBytes + adapter + activations,
  };
}
