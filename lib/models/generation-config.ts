/** @file generation_config.json: how the makers of a model sample from it. */
import { ConfigFields } from "./config-fields.js";

/** What a model's generation_config.json says; what is absent stands in neither the file nor here. */
export interface GenerationDefaults {
  /** 0 when the file says `do_sample: false`. */
  readonly temperature?: number | undefined;
  readonly topK?: number | undefined;
  readonly topP?: number | undefined;
  /** Any of them ends a text, beside those of the model's configuration. */
  readonly eosTokenIds?: readonly number[];
}

/**
 * Reads a generation_config.json. Keys other than `do_sample`, `temperature`, `top_k`, `top_p` and `eos_token_id` are not used.
 * @param bytes the whole file
 * @param fileName its path or name, for messages
 * @throws LowrankError CONFIG_TOO_LARGE, CONFIG_BAD_JSON, CONFIG_DUPLICATE_KEY, MODEL_CONFIG_RANGE
 */
export function parseGenerationConfig(bytes: Uint8Array, fileName: string, vocabSize: number): GenerationDefaults {
  const fields = ConfigFields.read(bytes, fileName);
  const samples = fields.isNull("do_sample") || fields.boolean("do_sample", true);
  const temperature = fields.numberOrNull("temperature", { least: 0 }, undefined);
  const topK = fields.integerOrNull("top_k", 0, Number.MAX_SAFE_INTEGER, undefined);
  return {
    temperature: samples ? temperature : 0,
    // 0 means none there.
    topK: topK === 0 ? undefined : topK,
    topP: fields.numberOrNull("top_p", { above: 0, most: 1 }, undefined),
    eosTokenIds: eosOf(fields, vocabSize),
  };
}

/** One id or several. */
function eosOf(fields: ConfigFields, vocabSize: number): readonly number[] {
  const key = "eos_token_id";
  const node = fields.get(key);
  if (node === undefined || node.kind === "null") return [];
  return (node.kind === "array" ? node.items : [node]).map((item) => fields.integerOf(key, item, 0, vocabSize - 1));
}
