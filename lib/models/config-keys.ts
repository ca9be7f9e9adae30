/**
 * @file What is known of every key of config.json: it is used, it cannot change what training computes, or it is refused unless its value
 * asks for nothing special. The keys are those of transformers' configuration classes, old and new, and those that published models carry.
 */

/** The `model_type` values that can be loaded. */
export type ModelType = "llama" | "mistral" | "qwen2" | "qwen3";

/** {@link ModelType}, as a list. */
export const modelTypes: readonly ModelType[] = ["llama", "mistral", "qwen2", "qwen3"];

/** A key that is refused, unless its value is one of `neutral`. An empty list or object is neutral where null is. */
export interface RefusedKey {
  readonly key: string;
  readonly neutral: readonly (string | number | boolean | null)[];
  /** What another value would do. */
  readonly effect: string;
  /** The families this row is about; all when absent. */
  readonly families?: readonly ModelType[];
}

/** What is known of a key: `harmless` says why it has no effect. */
export type KeyRule = { readonly kind: "used" } | { readonly kind: "harmless"; readonly why: string } | ({ readonly kind: "refused" } & RefusedKey);

const usedByAll = [
  ...["model_type", "architectures", "auto_map", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"],
  ...["num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "layer_types"],
  ...["rope_parameters", "rope_scaling", "rope_theta", "original_max_position_embeddings"],
  ...["bos_token_id", "eos_token_id", "pad_token_id", "dtype", "torch_dtype"],
];
const usedBy: Readonly<Record<ModelType, readonly string[]>> = {
  llama: ["attention_bias", "mlp_bias"],
  mistral: ["sliding_window", "use_sliding_window"],
  qwen2: ["sliding_window", "use_sliding_window", "max_window_layers"],
  qwen3: ["attention_bias", "sliding_window", "use_sliding_window", "max_window_layers"],
};

const harmless: Readonly<Record<string, readonly string[]>> = {
  "weights are loaded, not drawn": ["initializer_range", "initializer_factor", "init_std"],
  "a note about where the model comes from": [
    ...["transformers_version", "name_or_path", "finetuning_task", "is_llama_config", "transformers.js_config", "license", "language", "model_name"],
  ],
  "a choice of implementation, not of arithmetic": [
    ...["use_cache", "attn_implementation", "experts_implementation", "use_flash_attention", "use_flash_attention_2", "use_flash_attn"],
    ...["gradient_checkpointing", "torchscript", "use_bfloat16", "tf_legacy_loss", "chunk_size_feed_forward", "onnx"],
    ...["base_model_tp_plan", "base_model_pp_plan", "base_model_ep_plan", "base_model_fsdp_plan", "device_map", "trust_remote_code"],
  ],
  "about what a call returns": ["return_dict", "use_return_dict", "output_hidden_states", "output_attentions", "tie_last_hidden_states"],
  "for generation, which has its own file": [
    ...["assistant_confidence_threshold", "assistant_lookbehind", "bad_words_ids", "begin_suppress_tokens", "diversity_penalty", "do_sample"],
    ...["early_stopping", "encoder_no_repeat_ngram_size", "encoder_repetition_penalty", "epsilon_cutoff", "eta_cutoff"],
    ...["exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id", "length_penalty", "max_length", "min_length"],
    ...["max_new_tokens", "no_repeat_ngram_size", "num_assistant_tokens", "num_assistant_tokens_schedule", "num_beam_groups", "num_beams"],
    ...["num_return_sequences", "output_scores", "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "suppress_tokens"],
    ...["target_lookbehind", "temperature", "top_k", "top_p", "typical_p"],
  ],
  "for a classification head, which is not built": ["id2label", "label2id", "num_labels", "problem_type", "classifier_dropout"],
  "for encoders and decoders in pairs": ["decoder_start_token_id", "tie_encoder_decoder", "cross_attention_hidden_size", "is_decoder"],
  "for pipelines": ["task_specific_params", "prefix"],
  "for the tokenizer, which has its own files": [
    ...["tokenizer_class", "sep_token_id", "cls_token_id", "unk_token_id", "mask_token_id", "model_max_length", "max_sequence_length"],
  ],
};

/** Keys that begin so are private notes of transformers and Unsloth. */
const harmlessPrefixes: ReadonlyMap<string, string> = new Map([
  ["_", "a private note of the program that wrote the file"],
  ["unsloth_", "a note of Unsloth"],
]);

const off = [null, false];
const on = [null, true];
const zero = [null, 0];
const one = [null, 1];
const none = [null];
const refused: readonly RefusedKey[] = [
  { key: "hidden_act", neutral: ["silu", "swish"], effect: "the feed-forward layers use another activation" },
  { key: "hidden_activation", neutral: [null, "silu", "swish"], effect: "the feed-forward layers use another activation" },
  { key: "pretraining_tp", neutral: one, effect: "matrix products are computed in slices" },
  { key: "attention_dropout", neutral: zero, effect: "attention weights are dropped at random in training" },
  { key: "attention_probs_dropout_prob", neutral: zero, effect: "attention weights are dropped at random in training" },
  { key: "hidden_dropout", neutral: zero, effect: "activations are dropped at random in training" },
  { key: "hidden_dropout_prob", neutral: zero, effect: "activations are dropped at random in training" },
  { key: "embd_pdrop", neutral: zero, effect: "embeddings are dropped at random in training" },
  { key: "resid_pdrop", neutral: zero, effect: "activations are dropped at random in training" },
  { key: "attention_bias", neutral: off, effect: "q, k, v and o have biases", families: ["mistral"] },
  { key: "attention_bias", neutral: on, effect: "q, k and v of this family always have biases", families: ["qwen2"] },
  { key: "qkv_bias", neutral: off, effect: "q, k and v have biases", families: ["llama", "mistral", "qwen3"] },
  { key: "qkv_bias", neutral: on, effect: "q, k and v of this family always have biases", families: ["qwen2"] },
  { key: "bias", neutral: off, effect: "layers have biases" },
  { key: "mlp_bias", neutral: off, effect: "the feed-forward layers have biases", families: ["mistral", "qwen2", "qwen3"] },
  { key: "qk_norm", neutral: off, effect: "queries and keys are normalized", families: ["llama", "mistral", "qwen2"] },
  { key: "qk_norm", neutral: on, effect: "queries and keys of this family are always normalized", families: ["qwen3"] },
  { key: "use_qk_norm", neutral: off, effect: "queries and keys are normalized", families: ["llama", "mistral", "qwen2"] },
  { key: "use_qk_norm", neutral: on, effect: "queries and keys of this family are always normalized", families: ["qwen3"] },
  { key: "sliding_window", neutral: none, effect: "attention is limited to a window, which this family does not have", families: ["llama"] },
  { key: "use_sliding_window", neutral: off, effect: "attention is limited to a window, which this family does not have", families: ["llama"] },
  { key: "max_window_layers", neutral: none, effect: "layers differ in their window", families: ["llama", "mistral"] },
  { key: "sliding_window_pattern", neutral: none, effect: "layers differ in their window" },
  { key: "attention_chunk_size", neutral: none, effect: "attention is limited to chunks" },
  { key: "is_causal", neutral: on, effect: "tokens see later tokens" },
  { key: "use_bidirectional_attention", neutral: off, effect: "tokens see later tokens" },
  { key: "partial_rotary_factor", neutral: one, effect: "only a part of each head is rotated" },
  { key: "rope_interleaved", neutral: off, effect: "neighbouring dimensions are rotated together" },
  { key: "use_mrope", neutral: off, effect: "positions have several axes" },
  { key: "mrope_section", neutral: none, effect: "positions have several axes" },
  { key: "no_rope_layers", neutral: none, effect: "some layers have no positions" },
  { key: "no_rope_layer_interval", neutral: none, effect: "some layers have no positions" },
  { key: "alibi", neutral: off, effect: "positions are a bias on attention" },
  { key: "attn_logit_softcapping", neutral: none, effect: "attention scores are capped" },
  { key: "final_logit_softcapping", neutral: none, effect: "logits are capped" },
  { key: "logit_softcapping", neutral: none, effect: "logits are capped" },
  { key: "query_pre_attn_scalar", neutral: none, effect: "attention has another scale" },
  { key: "attention_multiplier", neutral: none, effect: "attention has another scale" },
  { key: "embedding_multiplier", neutral: one, effect: "embeddings are scaled" },
  { key: "residual_multiplier", neutral: one, effect: "residuals are scaled" },
  { key: "logits_scaling", neutral: one, effect: "logits are scaled" },
  { key: "logit_scale", neutral: one, effect: "logits are scaled" },
  { key: "scale_emb", neutral: one, effect: "embeddings are scaled" },
  { key: "scale_depth", neutral: none, effect: "residuals are scaled" },
  { key: "num_experts", neutral: zero, effect: "feed-forward layers are mixtures of experts" },
  { key: "num_local_experts", neutral: zero, effect: "feed-forward layers are mixtures of experts" },
  { key: "num_nextn_predict_layers", neutral: zero, effect: "several tokens are predicted at once" },
  { key: "use_parallel_residual", neutral: off, effect: "attention and feed-forward run side by side" },
  { key: "per_layer_config", neutral: none, effect: "layers differ from each other" },
  { key: "pruned_heads", neutral: none, effect: "heads of attention are removed" },
  { key: "is_encoder_decoder", neutral: off, effect: "the model has an encoder" },
  { key: "add_cross_attention", neutral: off, effect: "the model attends to an encoder" },
  { key: "quantization_config", neutral: none, effect: "the weights are quantized; the same model in bf16, f16 or f32 can be loaded" },
  { key: "quantization", neutral: none, effect: "the weights are quantized; the same model in bf16, f16 or f32 can be loaded" },
  { key: "compression_config", neutral: none, effect: "the weights are compressed" },
];

const rules = new Map(modelTypes.map((family) => [family, rulesOf(family)]));

function rulesOf(family: ModelType): ReadonlyMap<string, KeyRule> {
  const table = new Map<string, KeyRule>();
  for (const key of [...usedByAll, ...usedBy[family]]) table.set(key, { kind: "used" });
  for (const [why, keys] of Object.entries(harmless)) for (const key of keys) table.set(key, { kind: "harmless", why });
  for (const row of refused) if (row.families?.includes(family) ?? true) table.set(row.key, { kind: "refused", ...row });
  return table;
}

/** Every key that is known by its full name, and what is known of it. */
export function keyRules(family: ModelType): ReadonlyMap<string, KeyRule> {
  return rules.get(family) as ReadonlyMap<string, KeyRule>;
}

/** What is known of a key; undefined when nothing is. */
export function keyRule(family: ModelType, key: string): KeyRule | undefined {
  const rule = keyRules(family).get(key);
  if (rule !== undefined) return rule;
  const note = [...harmlessPrefixes].find(([prefix]) => key.startsWith(prefix));
  return note === undefined ? undefined : { kind: "harmless", why: note[1] };
}
