/** @file A random model of the SmolLM2-135M shape, for benchmarks: real sizes without a download. */
import { CausalLm, type ModelConfig, parseModelConfig } from "lowrank";

/** config.json of the shape. */
export const configText = (layers = 30): string =>
  JSON.stringify({
    model_type: "llama",
    architectures: ["LlamaForCausalLM"],
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: layers,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    vocab_size: 49_152,
    max_position_embeddings: 8192,
    rope_theta: 100_000,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    torch_dtype: "bfloat16",
  });

export const smolLm2Config = (layers?: number): ModelConfig => parseModelConfig(new TextEncoder().encode(configText(layers)), "config.json");

/** Random weights, stored as `dtype`. */
export const randomModel = (layers?: number, dtype: "f32" | "bf16" | "f16" = "bf16"): CausalLm =>
  new CausalLm(smolLm2Config(layers), { dtype }).initialize(1);

/** Rows of arbitrary tokens, all of them trained. */
export function randomExamples(count: number, length: number): { tokens: number[]; labels: number[] }[] {
  return Array.from({ length: count }, (_, i) => {
    const tokens = Array.from({ length }, (_, t) => (t * 7919 + i * 104_729 + 17) % 49_152);
    return { tokens, labels: tokens };
  });
}

/** FLOPs of a token of LoRA training, counted once for everybody: 4·P + 6·r·Σ(I + O) + 14·K·H·L·(T + 1)/2; recomputation is not counted. */
export function flopsPerToken(
  { hiddenSize: d, intermediateSize: f, heads, kvHeads, headDim: k, vocabSize, layers }: ModelConfig,
  rank: number,
  length: number,
): number {
  const linears = [
    [d, heads * k],
    [d, kvHeads * k],
    [d, kvHeads * k],
    [heads * k, d],
    [d, f],
    [d, f],
    [f, d],
  ] as const;
  const weights = layers * linears.reduce((sum, [i, o]) => sum + i * o, 0) + d * vocabSize;
  const sides = layers * linears.reduce((sum, [i, o]) => sum + i + o, 0);
  return 4 * weights + 6 * rank * sides + (14 * k * heads * layers * (length + 1)) / 2;
}
