/** @file Shapes of real models with random weights, for benchmarks: real sizes without a download. */
import { CausalLm, type ModelConfig, parseModelConfig } from "lowrank";

const llama = { model_type: "llama", architectures: ["LlamaForCausalLM"], rms_norm_eps: 1e-5, torch_dtype: "bfloat16" };

const shapes = {
  "SmolLM2-135M": {
    ...llama,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    vocab_size: 49_152,
    max_position_embeddings: 8192,
    rope_theta: 100_000,
    tie_word_embeddings: true,
  },
  "Llama-3.2-1B": {
    ...llama,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 64,
    vocab_size: 128_256,
    max_position_embeddings: 131_072,
    rope_theta: 500_000,
    rope_scaling: { rope_type: "llama3", factor: 32, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 },
    tie_word_embeddings: true,
  },
  "Llama-2-7B": {
    ...llama,
    hidden_size: 4096,
    intermediate_size: 11_008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    vocab_size: 32_000,
    max_position_embeddings: 4096,
    rope_theta: 10_000,
    tie_word_embeddings: false,
  },
} as const;

export type ShapeName = keyof typeof shapes;

/** config.json of a shape. */
export const configText = (name: ShapeName, layers: number = shapes[name].num_hidden_layers): string =>
  JSON.stringify({ ...shapes[name], num_hidden_layers: layers });

export const shapeConfig = (name: ShapeName, layers?: number): ModelConfig =>
  parseModelConfig(new TextEncoder().encode(configText(name, layers)), "config.json");

/** SmolLM2-135M with random weights, stored as `dtype`. */
export const randomModel = (layers?: number, dtype: "f32" | "bf16" | "f16" = "bf16"): CausalLm =>
  new CausalLm(shapeConfig("SmolLM2-135M", layers), { dtype }).initialize(1);

/** Rows of arbitrary tokens, all of them trained. */
export function randomExamples(count: number, length: number, vocabSize = 49_152): { tokens: number[]; labels: number[] }[] {
  return Array.from({ length: count }, (_, i) => {
    const tokens = Array.from({ length }, (_, t) => (t * 7919 + i * 104_729 + 17) % vocabSize);
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
