/**
 * @file PEFT's adapter_config.json (`LoraConfig`, PEFT 0.21). A field that PEFT knows and that changes the result is either honoured or an
 * error. Names and patterns of a file are inert text here: nothing is opened, imported or matched.
 */
import { describeNode, type JsonNode } from "../io/json-scanner.js";
import { fileError, quoted } from "../native/errors.js";
import { PeftFields } from "./peft-fields.js";
import type { TargetModule } from "./targets.js";

/** The fields of an adapter_config.json that lowrank honours; the comments name PEFT's defaults. */
export interface PeftConfig {
  /** Rank, 1 to 1,024; 8. */
  readonly r: number;
  /** The product is scaled by `loraAlpha / r`, with `useRslora` by `loraAlpha / sqrt(r)`; 8. */
  readonly loraAlpha: number;
  readonly useRslora: boolean;
  /** Probability, 0 to less than 1. */
  readonly loraDropout: number;
  /** `null` in a file: PEFT's choice for the architecture. The tensors beside the file say which modules are adapted. */
  readonly targetModules: readonly string[] | string | null;
  readonly excludeModules: readonly string[] | string | null;
  readonly layersToTransform: number | readonly number[] | null;
  readonly layersPattern: readonly string[] | string | null;
  /** Ranks and alphas of single modules; the first pattern that matches decides, so the order counts. */
  readonly rankPattern: ReadonlyMap<string, number>;
  readonly alphaPattern: ReadonlyMap<string, number>;
  /** Whether the base weights are `[I, O]` (GPT-2's Conv1D). */
  readonly fanInFanOut: boolean;
  /** How the factors were drawn, of the ways that leave the base as it is; true. */
  readonly initLoraWeights: boolean | "gaussian" | "orthogonal";
  readonly ensureWeightTying: boolean;
  readonly taskType: string | null;
  readonly baseModelNameOrPath: string | null;
  readonly revision: string | null;
  readonly peftVersion: string | null;
  readonly autoMapping: { readonly baseModelClass: string; readonly parentLibrary: string } | null;
  /** lowrank's own facts about the adapter, under the key `lowrank`, which other readers skip; without a prototype when read. */
  readonly lowrank: LowrankFacts | null;
}

/** A flat record of plain values. */
export type LowrankFacts = Readonly<Record<string, string | number | boolean | null>>;

/** What PEFT means by a field that is not there. */
export const defaultPeftConfig: PeftConfig = {
  r: 8,
  loraAlpha: 8,
  useRslora: false,
  loraDropout: 0,
  targetModules: null,
  excludeModules: null,
  layersToTransform: null,
  layersPattern: null,
  rankPattern: new Map(),
  alphaPattern: new Map(),
  fanInFanOut: false,
  initLoraWeights: true,
  ensureWeightTying: false,
  taskType: null,
  baseModelNameOrPath: null,
  revision: null,
  peftVersion: null,
  autoMapping: null,
  lowrank: null,
};

/** The largest rank that a file may have. */
export const maxRank = 1024;

/** Fields that must be empty, false or absent, and what they would do. */
const changesResult: ReadonlyArray<readonly [name: string, neutral: "null" | "empty" | "false", effect: string]> = [
  ["use_dora", "false", "DoRA scales the adapted weights by a magnitude vector"],
  ["lora_bias", "false", "B has a bias"],
  ["use_qalora", "false", "the inputs of A are pooled"],
  ["modules_to_save", "empty", "whole modules were trained beside the adapter"],
  ["layer_replication", "empty", "layers of the base are repeated"],
  ["trainable_token_indices", "empty", "rows of the embedding were trained beside the adapter"],
  ["target_parameters", "empty", "parameters that are no modules are adapted"],
  ["alora_invocation_tokens", "null", "the adapter is active only after certain tokens"],
  ["megatron_config", "null", "the adapter belongs to layers of Megatron"],
  ["use_bdlora", "null", "the factors are block-diagonal"],
  ["arrow_config", "null", "adapters are mixed by routing"],
  ["kasa_config", "null", "the weights of the base are truncated and a diagonal stands between the factors"],
  ["velora_config", "null", "the backward pass is another one"],
  ["monteclora_config", "null", "the adapter is sampled"],
];

/** Settings of PEFT that mean nothing once an adapter is trained (with the values that the other checks let through). */
const inert = ["inference_mode", "megatron_core", "qalora_group_size"];
const inertWhenSet = ["loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config"];
const honoured = [
  ...["peft_type", "r", "lora_alpha", "use_rslora", "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"],
  ...["rank_pattern", "alpha_pattern", "fan_in_fan_out", "init_lora_weights", "ensure_weight_tying", "bias", "task_type"],
  ...["base_model_name_or_path", "revision", "peft_version", "auto_mapping", "lowrank"],
];
const known = new Set([...honoured, ...inert, ...inertWhenSet, ...changesResult.map(([name]) => name)]);

/**
 * Reads an adapter_config.json.
 * @param bytes the whole file
 * @param file its path or name, for messages
 * @returns the configuration and sentences about what was ignored
 * @throws LowrankError `CONFIG_TOO_LARGE`, `ADAPTER_BAD_JSON`, `ADAPTER_DUPLICATE_KEY`, `ADAPTER_MISSING_FIELD`, `ADAPTER_UNSUPPORTED_TYPE`,
 *   `ADAPTER_BAD_VALUE`, `ADAPTER_UNSUPPORTED_FEATURE`
 */
export const readPeftConfig = (bytes: Uint8Array, file: string): { config: PeftConfig; warnings: string[] } =>
  peftConfigOf(new PeftFields(bytes, file));

/** As {@link readPeftConfig}, of fields. */
export function peftConfigOf(fields: PeftFields): { config: PeftConfig; warnings: string[] } {
  const type = fields.node("peft_type");
  if (type === undefined) throw fields.missing("peft_type", '"LORA"');
  if (type.kind !== "string" || type.value !== "LORA") {
    throw fields.error("ADAPTER_UNSUPPORTED_TYPE", type, `"peft_type" is ${describeNode(type)}; only "LORA" can be read`);
  }
  checkFeatures(fields);
  const config: PeftConfig = {
    r: fields.integer("r", 1, maxRank, defaultPeftConfig.r),
    loraAlpha: fields.number("lora_alpha", undefined, defaultPeftConfig.loraAlpha),
    useRslora: fields.boolean("use_rslora"),
    loraDropout: fields.number("lora_dropout", 1, defaultPeftConfig.loraDropout),
    targetModules: fields.texts("target_modules"),
    excludeModules: fields.texts("exclude_modules"),
    layersToTransform: fields.integers("layers_to_transform", 0, 1_000_000),
    layersPattern: fields.texts("layers_pattern"),
    rankPattern: fields.integerMap("rank_pattern", 1, maxRank),
    alphaPattern: fields.numberMap("alpha_pattern"),
    fanInFanOut: fields.boolean("fan_in_fan_out"),
    initLoraWeights: initOf(fields),
    ensureWeightTying: fields.boolean("ensure_weight_tying"),
    taskType: fields.text("task_type"),
    baseModelNameOrPath: fields.text("base_model_name_or_path"),
    revision: fields.text("revision"),
    peftVersion: fields.text("peft_version"),
    autoMapping: autoMappingOf(fields.node("auto_mapping")),
    lowrank: factsOf(fields),
  };
  checkTogether(fields, config);
  return { config, warnings: warningsOf(fields, config) };
}

/**
 * Writes an adapter_config.json as PEFT 0.21 does: every field, keys sorted, two spaces, ASCII. Patterns keep their order, because it
 * decides what they mean.
 * @param config absent fields get PEFT's defaults
 * @throws LowrankError `ADAPTER_BAD_VALUE` and the other codes of {@link readPeftConfig}: what could not be read is not written
 */
export function writePeftConfig(config: Partial<PeftConfig> & { readonly targetModules: readonly string[] | string }): string {
  const full: PeftConfig = { ...defaultPeftConfig, ...config };
  const fields = Object.entries(fileFields(full)).sort(([a], [b]) => (a < b ? -1 : 1));
  const lines = fields.map(
    ([name, value]) => `  ${JSON.stringify(name)}: ${name === "lora_dropout" ? floatText(full.loraDropout) : nestedText(value)}`,
  );
  const text = asciiOnly(`{\n${lines.join(",\n")}\n}`);
  readPeftConfig(new TextEncoder().encode(text), "adapter_config.json");
  return text;
}

/**
 * Checks `fan_in_fan_out` against the modules that an adapter goes to.
 * @throws LowrankError `ADAPTER_BAD_VALUE` when the file says that weights are `[I, O]` and none of the modules has such a weight
 */
export function checkFanInFanOut(config: PeftConfig, adapted: readonly TargetModule[], file: string): void {
  if (!config.fanInFanOut || adapted.length === 0 || adapted.some(({ kind }) => kind === "conv1d")) return;
  const example = quoted(adapted[0]?.path ?? "");
  const message = `"fan_in_fan_out" is true, but no adapted module has a weight of shape [in, out] (${example} is of kind ${adapted[0]?.kind}). The adapter belongs to another model, or set the field to false.`;
  throw fileError("ADAPTER_BAD_VALUE", file, message, { expected: false, actual: true });
}

function checkFeatures(fields: PeftFields): void {
  for (const [name, neutral, effect] of changesResult) {
    const isOff =
      neutral === "false" ? fields.isNull(name) || !fields.boolean(name) : neutral === "empty" ? fields.isEmpty(name) : fields.isNull(name);
    if (!isOff) throw fields.unsupported(name, effect);
  }
  const bias = fields.node("bias");
  if (bias === undefined || (bias.kind === "string" && bias.value === "none")) return;
  if (bias.kind === "string" && (bias.value === "all" || bias.value === "lora_only"))
    throw fields.unsupported("bias", "biases of the base were trained");
  throw fields.bad("bias", bias, '"none"');
}

function initOf(fields: PeftFields): PeftConfig["initLoraWeights"] {
  const node = fields.node("init_lora_weights");
  if (node === undefined) return true;
  if (node.kind === "boolean") return node.value;
  if (node.kind !== "string") throw fields.bad("init_lora_weights", node, "true, false or a name");
  const name = node.value.toLowerCase();
  if (name === "gaussian" || name === "orthogonal") return name;
  throw fields.unsupported(
    "init_lora_weights",
    "an initialization that may have changed the weights of the base (PEFT can convert such an adapter to plain LoRA)",
  );
}

function autoMappingOf(node: JsonNode | undefined): PeftConfig["autoMapping"] {
  if (node?.kind !== "object") return null;
  const baseModelClass = node.members.get("base_model_class");
  const parentLibrary = node.members.get("parent_library");
  if (baseModelClass?.kind !== "string" || parentLibrary?.kind !== "string") return null;
  return { baseModelClass: baseModelClass.value, parentLibrary: parentLibrary.value };
}

function factsOf(fields: PeftFields): LowrankFacts | null {
  const node = fields.node("lowrank");
  if (node === undefined || node.kind === "null") return null;
  if (node.kind !== "object") throw fields.bad("lowrank", node, "an object");
  const facts = Object.create(null) as Record<string, string | number | boolean | null>;
  for (const [key, value] of node.members) {
    if (value.kind === "object" || value.kind === "array") throw fields.bad(`lowrank.${key}`, value, "a plain value");
    const number = value.kind === "number" ? Number(value.text) : 0;
    if (!Number.isFinite(number)) throw fields.bad(`lowrank.${key}`, value, "a finite number");
    facts[key] = value.kind === "number" ? number : value.kind === "null" ? null : value.value;
  }
  return facts;
}

/** Combinations that PEFT itself refuses to load. */
function checkTogether(fields: PeftFields, { targetModules, layersToTransform, layersPattern }: PeftConfig): void {
  for (const name of ["layers_to_transform", "layers_pattern"]) {
    const node = fields.node(name);
    if (node === undefined || node.kind === "null") continue;
    if (typeof targetModules === "string") throw fields.bad(name, node, 'null, because "target_modules" is a string');
    if (layersToTransform === null && layersPattern?.length !== 0) throw fields.bad(name, node, 'null, because "layers_to_transform" is not set');
  }
}

function warningsOf(fields: PeftFields, config: PeftConfig): string[] {
  const warnings: string[] = [];
  const unknown = fields.names().filter((name) => !known.has(name));
  if (unknown.length > 0) warnings.push(`Unknown fields of adapter_config.json are ignored: ${listed(unknown)}.`);
  const unused = inertWhenSet.filter((name) => !fields.isEmpty(name));
  if (unused.length > 0) warnings.push(`Fields of adapter_config.json that have no effect on a trained adapter are ignored: ${listed(unused)}.`);
  if (config.loraAlpha === 0) warnings.push("lora_alpha is 0: without an alpha_pattern the adapter has no effect.");
  if (config.targetModules?.length === 0) warnings.push("target_modules is empty: the tensors of the adapter decide which modules are adapted.");
  return warnings;
}

function listed(names: readonly string[]): string {
  const rest = names.length > 10 ? ` and ${names.length - 10} more` : "";
  return names.slice(0, 10).map(quoted).join(", ") + rest;
}

function fileFields(config: PeftConfig): Record<string, unknown> {
  const { autoMapping, lowrank } = config;
  return {
    alora_invocation_tokens: null,
    alpha_pattern: config.alphaPattern,
    arrow_config: null,
    auto_mapping: autoMapping && { base_model_class: autoMapping.baseModelClass, parent_library: autoMapping.parentLibrary },
    base_model_name_or_path: config.baseModelNameOrPath,
    bias: "none",
    corda_config: null,
    ensure_weight_tying: config.ensureWeightTying,
    eva_config: null,
    exclude_modules: config.excludeModules,
    fan_in_fan_out: config.fanInFanOut,
    inference_mode: true,
    init_lora_weights: config.initLoraWeights,
    kasa_config: null,
    layer_replication: null,
    layers_pattern: config.layersPattern,
    layers_to_transform: config.layersToTransform,
    loftq_config: {},
    lora_alpha: config.loraAlpha,
    lora_bias: false,
    lora_dropout: config.loraDropout,
    lora_ga_config: null,
    ...(lowrank === null ? {} : { lowrank: new Map(Object.entries(lowrank)) }),
    megatron_config: null,
    megatron_core: "megatron.core",
    modules_to_save: null,
    monteclora_config: null,
    peft_type: "LORA",
    peft_version: config.peftVersion,
    qalora_group_size: 16,
    r: config.r,
    rank_pattern: config.rankPattern,
    revision: config.revision,
    target_modules: config.targetModules,
    target_parameters: null,
    task_type: config.taskType,
    trainable_token_indices: null,
    use_bdlora: null,
    use_dora: false,
    use_qalora: false,
    use_rslora: config.useRslora,
    velora_config: null,
  };
}

/** A value of the top level. Maps are written here because an object would move keys like "0" to the front and lose "__proto__". */
function nestedText(value: unknown): string {
  if (!(value instanceof Map)) return JSON.stringify(value, null, 2).replaceAll("\n", "\n  ");
  if (value.size === 0) return "{}";
  const lines = [...(value as Map<string, unknown>)].map(([key, item]) => `    ${JSON.stringify(key)}: ${JSON.stringify(item)}`);
  return `{\n${lines.join(",\n")}\n  }`;
}

/** A number as Python writes a float. */
function floatText(value: number): string {
  return Number.isInteger(value) ? value.toFixed(1) : JSON.stringify(value);
}

/** PEFT opens the file in the encoding of the system, so no character may depend on it. */
function asciiOnly(text: string): string {
  return text.replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
