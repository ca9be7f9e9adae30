/** @file What the tests of config.json share. */
import { readFileSync } from "node:fs";
import { type ModelConfig, type ModelType, parseModelConfig } from "../../lib/models/config.js";
import { LowrankError } from "../../lib/native/errors.js";

export const path = "/somewhere/private/config.json";

export type Json = { readonly [key: string]: unknown };

export const families: readonly ModelType[] = ["llama", "mistral", "qwen2", "qwen3"];

export const parseText = (text: string): ModelConfig => parseModelConfig(new TextEncoder().encode(text), path);
export const parse = (file: Json): ModelConfig => parseText(JSON.stringify(file));

/** All of a configuration but the copy of the file. */
export function meaning(config: ModelConfig): Omit<ModelConfig, "raw"> {
  const { raw: _raw, ...rest } = config;
  return rest;
}

/** A small file of a family in the older layout, with the keys that all of them have. */
export function tiny(family: ModelType, changes: Json = {}): Json {
  return {
    model_type: family,
    architectures: [`${family[0]?.toUpperCase()}${family.slice(1)}ForCausalLM`],
    vocab_size: 300,
    hidden_size: 64,
    intermediate_size: 96,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 16,
    hidden_act: "silu",
    max_position_embeddings: 512,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: false,
    bos_token_id: 1,
    eos_token_id: 2,
    pad_token_id: 3,
    rope_theta: 10000,
    torch_dtype: "bfloat16",
    ...changes,
  };
}

export function errorOf(fn: () => unknown): LowrankError {
  try {
    fn();
  } catch (error) {
    if (error instanceof LowrankError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

export const fixture = (name: string): Buffer => readFileSync(new URL(`../fixtures/config/${name}.json`, import.meta.url));

/** What scripts/make-config-fixture.py wrote. */
export interface TransformersFixture {
  readonly versions: { readonly [name: string]: string };
  readonly keys: { readonly [family in ModelType]: readonly string[] };
  readonly defaults: { readonly [family in ModelType]: Facts };
  readonly files: { readonly [name: string]: { readonly file: Json; readonly facts: Facts } };
  readonly ropes: readonly {
    readonly file: Json;
    readonly tokens: number | null;
    readonly inverse: readonly number[];
    readonly attentionFactor: number;
  }[];
}

/** Fields of ModelConfig with null for undefined, and the rotary parameters in transformers' words. */
export type Facts = { readonly [key: string]: unknown } & { readonly rope_parameters: { readonly [key: string]: unknown } };

export const transformersFixture = JSON.parse(fixture("transformers").toString()) as TransformersFixture;

const dtypeNames = { f32: "float32", bf16: "bfloat16", f16: "float16" };

/** Our reading in the words of the fixture; `rope_parameters` without those whose value is the default of the type. */
export function factsOf(config: ModelConfig): Json {
  const orNull = (value: unknown): unknown => value ?? null;
  const { rope } = config;
  return {
    vocabSize: config.vocabSize,
    hiddenSize: config.hiddenSize,
    intermediateSize: config.intermediateSize,
    layers: config.layers,
    heads: config.heads,
    kvHeads: config.kvHeads,
    headDim: config.headDim,
    normEps: config.normEps,
    maxPositions: config.maxPositions,
    tieEmbeddings: config.tieEmbeddings,
    attentionBias: config.attentionBias,
    mlpBias: config.mlpBias,
    qkNorm: config.qkNorm,
    windows: config.windows.map(orNull),
    bosTokenId: orNull(config.bosTokenId),
    eosTokenIds: config.eosTokenIds,
    padTokenId: orNull(config.padTokenId),
    storedDtype: config.storedDtype === undefined ? null : dtypeNames[config.storedDtype],
    rope_parameters: {
      rope_type: rope.type,
      rope_theta: rope.theta,
      ...("factor" in rope ? { factor: rope.factor } : {}),
      ...("originalMaxPositions" in rope ? { original_max_position_embeddings: rope.originalMaxPositions } : {}),
      ...(rope.type === "llama3" ? { low_freq_factor: rope.lowFreqFactor, high_freq_factor: rope.highFreqFactor } : {}),
    },
  };
}
