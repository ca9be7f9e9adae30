/**
 * @file config.json of a language model, as Hugging Face transformers writes it (4.x and 5.x). A key that changes the arithmetic is used or
 * refused by name; one that is not known is refused, because it might. Absent keys mean what they mean to transformers 5.
 */
import { describeNode, type JsonNode, type JsonValue, plainValue } from "../io/json-scanner.js";
import { nearest, quoted } from "../native/errors.js";
import type { FloatDType } from "../tensor/dtype.js";
import { ConfigFields } from "./config-fields.js";
import { keyRule, keyRules, type ModelType, modelTypes, type RefusedKey } from "./config-keys.js";
import type { RopeSettings } from "./rope.js";
import { maxPositionCount, readRope } from "./rope-config.js";
import { readWindows } from "./windows.js";

export type { ModelType } from "./config-keys.js";
export { type RopeFrequencies, type RopeSettings, ropeFrequencies } from "./rope.js";

/**
 * The shape and arithmetic of a model: plain data, every default filled in. Layers are RMSNorm, attention with rotary positions, RMSNorm and a
 * SwiGLU feed-forward layer, each with a residual; a last RMSNorm; the head.
 */
export interface ModelConfig {
  readonly modelType: ModelType;
  /** Rows of the embedding and of the head. */
  readonly vocabSize: number;
  readonly hiddenSize: number;
  /** Width of the feed-forward layers. */
  readonly intermediateSize: number;
  readonly layers: number;
  /** Heads of queries; a multiple of `kvHeads`: query head h reads kv head ⌊h / (heads / kvHeads)⌋. */
  readonly heads: number;
  readonly kvHeads: number;
  /** Dimensions of a head, even. `heads · headDim` need not be `hiddenSize`. */
  readonly headDim: number;
  /** Added to the mean square in every RMSNorm. */
  readonly normEps: number;
  /** See `ropeFrequencies`. */
  readonly rope: RopeSettings;
  /** Positions that the model was made for. Longer sequences are possible. */
  readonly maxPositions: number;
  /** Whether the head is the embedding. */
  readonly tieEmbeddings: boolean;
  /** Which projections of attention have a bias. */
  readonly attentionBias: { readonly q: boolean; readonly k: boolean; readonly v: boolean; readonly o: boolean };
  /** Whether gate, up and down projections have a bias. */
  readonly mlpBias: boolean;
  /** Whether queries and keys are normalized per head (RMSNorm over `headDim`, before the rotation). */
  readonly qkNorm: boolean;
  /** For each layer the number of last positions that a position sees, itself included; undefined: all. */
  readonly windows: readonly (number | undefined)[];
  readonly bosTokenId: number | undefined;
  /** Any of them ends a text; may be empty. */
  readonly eosTokenIds: readonly number[];
  readonly padTokenId: number | undefined;
  /** What the file says about the stored weights; the weight files decide. */
  readonly storedDtype: FloatDType | undefined;
  /** Sentences about what was read and does not count. */
  readonly warnings: readonly string[];
  /** The whole file; objects have no prototype, integers beyond 2^53 are `bigint`. */
  readonly raw: { readonly [key: string]: JsonValue };
}

/** In `architectures`; old files write other capitals. */
const classNames: Readonly<Record<ModelType, readonly string[]>> = {
  llama: ["LlamaForCausalLM"],
  mistral: ["MistralForCausalLM", "MinistralForCausalLM"],
  qwen2: ["Qwen2ForCausalLM"],
  qwen3: ["Qwen3ForCausalLM"],
};
const maxSize = 2 ** 20;
const maxWidth = 2 ** 24;
const maxHeads = 2 ** 16;
const maxLayers = 1024;
/** `num_key_value_heads` and sizes of a file that does not name them, from the configuration classes of transformers. */
const defaults: Readonly<
  Record<ModelType, { vocab: number; feedForward: number; kvHeads?: number; headDim?: number; positions: number; bos?: number; eos?: number }>
> = {
  llama: { vocab: 32_000, feedForward: 11_008, positions: 2048, bos: 1, eos: 2 },
  mistral: { vocab: 32_000, feedForward: 14_336, kvHeads: 8, positions: 131_072, bos: 1, eos: 2 },
  qwen2: { vocab: 151_936, feedForward: 22_016, kvHeads: 32, positions: 32_768 },
  qwen3: { vocab: 151_936, feedForward: 22_016, kvHeads: 32, headDim: 128, positions: 32_768 },
};

/**
 * Reads the config.json of a llama, mistral (Ministral included), qwen2 or qwen3 model, in the layout of transformers 5 or an older one.
 * @param bytes the whole file
 * @param fileName its path or name, for messages
 * @throws LowrankError with `details.key`, `details.expected` and `details.actual`: `CONFIG_TOO_LARGE`, `CONFIG_BAD_JSON`,
 *   `CONFIG_DUPLICATE_KEY` (the file itself), `MODEL_UNSUPPORTED_ARCH`, `MODEL_UNSUPPORTED_FEATURE`, `MODEL_CONFIG_UNKNOWN_KEY`,
 *   `MODEL_CONFIG_MISSING`, `MODEL_CONFIG_RANGE`, `MODEL_CONFIG_CONFLICT`
 */
export function parseModelConfig(bytes: Uint8Array, fileName: string): ModelConfig {
  const fields = ConfigFields.read(bytes, fileName);
  const modelType = modelTypeOf(fields);
  const warnings: string[] = [];
  checkKeys(fields, modelType);
  checkArchitectures(fields, modelType, warnings);
  const absent = defaults[modelType];
  const vocabSize = fields.integer("vocab_size", 1, maxWidth, absent.vocab);
  const layers = fields.integer("num_hidden_layers", 1, maxLayers, 32);
  const sizes = headSizes(fields, modelType);
  const maxPositions = fields.integer("max_position_embeddings", 1, maxPositionCount, absent.positions);
  const bias = modelType === "qwen2" || (hasAttentionBias(modelType) && fields.boolean("attention_bias", false));
  return {
    modelType,
    vocabSize,
    ...sizes,
    intermediateSize: fields.integer("intermediate_size", 1, maxWidth, absent.feedForward),
    layers,
    normEps: fields.number("rms_norm_eps", { above: 0, most: 1 }, 1e-6),
    rope: readRope(fields, { headDim: sizes.headDim, maxPositions }),
    maxPositions,
    tieEmbeddings: fields.boolean("tie_word_embeddings", false),
    attentionBias: { q: bias, k: bias, v: bias, o: bias && modelType !== "qwen2" },
    mlpBias: modelType === "llama" && fields.boolean("mlp_bias", false),
    qkNorm: modelType === "qwen3",
    windows: readWindows(fields, modelType, layers),
    bosTokenId: fields.has("bos_token_id") ? fields.integerOrNull("bos_token_id", 0, vocabSize - 1, undefined) : absent.bos,
    eosTokenIds: eosOf(fields, vocabSize, absent.eos),
    padTokenId: padOf(fields, vocabSize, warnings),
    storedDtype: storedDtypeOf(fields, warnings),
    warnings,
    raw: plainValue(fields.node) as { readonly [key: string]: JsonValue },
  };
}

function hasAttentionBias(modelType: ModelType): boolean {
  return modelType === "llama" || modelType === "qwen3";
}

function modelTypeOf(fields: ConfigFields): ModelType {
  const node = fields.get("model_type");
  const found = node?.kind === "string" ? modelTypes.find((type) => type === node.value) : undefined;
  if (found !== undefined) return found;
  const expected = modelTypes.join(", ");
  const near = node?.kind === "string" ? nearest(node.value, modelTypes, 1).map((name) => `; the nearest is ${quoted(name)}`) : [];
  const problem = node === undefined ? '"model_type" is missing' : `"model_type" is ${describeNode(node)}`;
  throw fields.error("MODEL_UNSUPPORTED_ARCH", "model_type", `${problem}; supported are ${expected}${near.join("")}`, expected, node);
}

/** Every key is known, and none that is not used asks for anything. */
function checkKeys(fields: ConfigFields, modelType: ModelType): void {
  for (const key of fields.keys()) {
    const rule = keyRule(modelType, key);
    if (rule === undefined) throw unknownKey(fields, modelType, key);
    if (rule.kind === "refused" && !isNeutral(fields.get(key) as JsonNode, rule)) {
      throw fields.unsupported(key, rule.effect, rule.neutral.map((value) => JSON.stringify(value)).join(" or "));
    }
  }
}

function unknownKey(fields: ConfigFields, modelType: ModelType, key: string): Error {
  const near = nearest(key, keyRules(modelType).keys()).map(quoted);
  const advice = near.length > 0 ? `The nearest that are known: ${near.join(", ")}` : "No known key is like it";
  const problem = `the key ${quoted(key)} is not known for a ${modelType}, and might change the arithmetic. ${advice}`;
  return fields.error("MODEL_CONFIG_UNKNOWN_KEY", key, problem, near.length > 0 ? near.join(", ") : "no such key", fields.get(key));
}

function isNeutral(node: JsonNode, { neutral }: RefusedKey): boolean {
  if (node.kind === "object") return neutral.includes(null) && node.members.size === 0;
  if (node.kind === "array") return neutral.includes(null) && node.items.length === 0;
  if (node.kind === "number") return neutral.includes(Number(node.text));
  return neutral.includes(node.kind === "null" ? null : node.value);
}

/** The class must be the language model of the family: another class has another head, or another arithmetic. */
function checkArchitectures(fields: ConfigFields, modelType: ModelType, warnings: string[]): void {
  const expected = classNames[modelType];
  for (const item of fields.list("architectures") ?? []) {
    if (item.kind !== "string") throw fields.range("architectures", item, "names of classes only in its list");
    if (expected.some((name) => name.toLowerCase() === item.value.toLowerCase())) continue;
    const problem = `"architectures" names ${quoted(item.value)}, expected ${expected.join(" or ")} for "model_type" ${quoted(modelType)}: other classes have another head or compute something else`;
    throw fields.error("MODEL_UNSUPPORTED_FEATURE", "architectures", problem, expected.join(" or "), item);
  }
  if (!fields.isNull("auto_map")) {
    warnings.push(`"auto_map" is ignored: it names Python code beside the model, which is never run. The model is read as a plain ${modelType}.`);
  }
}

/** The sizes that belong together. */
function headSizes(fields: ConfigFields, modelType: ModelType): Pick<ModelConfig, "hiddenSize" | "heads" | "kvHeads" | "headDim"> {
  const hiddenSize = fields.integer("hidden_size", 1, maxSize, 4096);
  const heads = fields.integer("num_attention_heads", 1, maxHeads, 32);
  const kvHeads = kvHeadsOf(fields, modelType, heads);
  if (heads % kvHeads !== 0) {
    const without = fields.has("num_key_value_heads") ? "" : `, which a ${modelType} file means when it does not say`;
    const problem = `"num_key_value_heads" is ${kvHeads}${without}, and does not divide "num_attention_heads", ${heads}`;
    throw fields.unfit("num_key_value_heads", problem, `a divisor of ${heads}`);
  }
  return { hiddenSize, heads, kvHeads, headDim: headDimOf(fields, modelType, hiddenSize, heads) };
}

/** Absent means what the family says, null one kv head per head (except in a mistral, where null is an error to transformers). */
function kvHeadsOf(fields: ConfigFields, modelType: ModelType, heads: number): number {
  const key = "num_key_value_heads";
  const absent = defaults[modelType].kvHeads ?? heads;
  if (modelType === "mistral" || !fields.has(key)) return fields.integer(key, 1, maxHeads, absent);
  return fields.integerOrNull(key, 1, maxHeads, heads);
}

function headDimOf(fields: ConfigFields, modelType: ModelType, hiddenSize: number, heads: number): number {
  const fixed = defaults[modelType].headDim;
  const given = fixed === undefined ? fields.integerOrNull("head_dim", 1, maxHeads, undefined) : fields.integer("head_dim", 1, maxHeads, fixed);
  if (given === undefined && hiddenSize % heads !== 0) {
    const problem = `"hidden_size", ${hiddenSize}, is not a multiple of "num_attention_heads", ${heads}, and there is no "head_dim"`;
    throw fields.unfit("hidden_size", problem, `a multiple of ${heads}`);
  }
  const headDim = given ?? hiddenSize / heads;
  if (headDim % 2 === 0) return headDim;
  throw fields.unfit("head_dim", `the dimension of a head is ${headDim}; rotary positions need an even one`, "an even number");
}

/** One id or several. */
function eosOf(fields: ConfigFields, vocabSize: number, absent: number | undefined): readonly number[] {
  const key = "eos_token_id";
  const node = fields.get(key);
  if (node === undefined) return absent === undefined ? [] : [absent];
  if (node.kind === "null") return [];
  const items = node.kind === "array" ? node.items : [node];
  return items.map((item) => fields.integerOf(key, item, 0, vocabSize - 1));
}

/** Padding is masked by length, so an id outside the vocabulary (-1 in older files) stands for none. */
function padOf(fields: ConfigFields, vocabSize: number, warnings: string[]): number | undefined {
  const id = fields.integerOrNull("pad_token_id", -1, maxWidth, undefined);
  if (id === undefined || (id >= 0 && id < vocabSize)) return id;
  warnings.push(`"pad_token_id" is ${id}, which is not in the vocabulary of ${vocabSize}; it is not used.`);
  return undefined;
}

const dtypeNames: ReadonlyMap<string, FloatDType> = new Map([
  ["float32", "f32"],
  ["bfloat16", "bf16"],
  ["float16", "f16"],
]);

/** `dtype`, in older files `torch_dtype`. */
function storedDtypeOf(fields: ConfigFields, warnings: string[]): FloatDType | undefined {
  const read = (key: string): FloatDType | undefined => {
    const name = fields.text(key);
    const dtype = name === undefined ? undefined : dtypeNames.get(name.replace(/^torch\./, ""));
    if (name === undefined || dtype !== undefined) return dtype;
    throw fields.unsupported(key, "weights of this type cannot be read", [...dtypeNames.keys()].join(", "));
  };
  const [dtype, older] = [read("dtype"), read("torch_dtype")];
  if (dtype !== undefined && older !== undefined && dtype !== older)
    warnings.push(`"dtype" is ${dtype} and "torch_dtype" ${older}; the weight files decide.`);
  return dtype ?? older;
}
