/** @file What a model's folder says about it: config.json, the headers of its weights, its tokenizer. */
import { openWeights, type Weights } from "../io/weights.js";
import { targetModules } from "../lora/attach.js";
import { matchTargets, type TargetOptions } from "../lora/targets.js";
import { CausalLm, type ModelConfig } from "../models/index.js";
import { readModelConfig, unlessAbsent } from "../models/load-model.js";
import type { Linear } from "../nn/index.js";
import { memory } from "../tensor/device.js";
import { isQuantized, type QuantizedDType, storageBytes } from "../tensor/dtype.js";
import { elementsOf } from "../tensor/shape.js";
import { loadTokenizer, type Tokenizer } from "../text/index.js";
import { bytesText, countText, plural } from "./format.js";
import { type MemoryEstimate, trainingMemory } from "./memory-estimate.js";
import type { Arguments } from "./parse.js";
import { asUsage } from "./usage.js";

export interface InspectedModel {
  readonly folder: string;
  readonly config: Omit<ModelConfig, "raw" | "warnings">;
  /** Numbers of the parts; a head that is the embedding counts once. */
  readonly parameters: { readonly [part in Part]: number } & { readonly total: number };
  /** Stored types and their bytes. */
  readonly stored: { readonly [dtype: string]: number };
  readonly bytes: number;
  readonly files: readonly string[];
  /** With --quantize: what the layers are held as, and the bytes of the whole model then. */
  readonly quantized: { readonly dtype: QuantizedDType; readonly bytes: number } | null;
  readonly tokenizer: { readonly vocabSize: number; readonly templates: readonly string[]; readonly templateHash: string | null } | null;
  readonly trainingMemory: MemoryEstimate;
  readonly warnings: readonly string[];
}

type Part = "embedding" | "attention" | "feedForward" | "norms" | "head";

/**
 * @throws LowrankError CONFIG_…, MODEL_…, IO_…, ST_…, SHARD_…, TOKENIZER_…, TARGET_…; what does not keep the model from being read is a warning
 */
export async function inspectModel(folder: string, args: Arguments): Promise<InspectedModel> {
  const { raw: _, warnings, ...config } = await readModelConfig(folder);
  await using weights = await openWeights(folder);
  const tokenizer = await unlessAbsent("TOKENIZER_MISSING", () => loadTokenizer(folder));
  // Modules without values: nothing is allocated.
  const quantize = args.text("quantize") as QuantizedDType | undefined;
  const model = new CausalLm({ ...config, raw: {}, warnings }, { quantize });
  const stored = storedBytes(weights);
  const estimate = trainingMemory(config, adaptedShapes(model, args), {
    rank: args.number("rank") ?? 8,
    rows: args.number("batchSize") ?? 8,
    length: args.number("maxLength") ?? 512,
    checkpointing: args.flag("gradientCheckpointing"),
    weightBytes: heldBytes(weights, model),
  });
  return {
    folder,
    config,
    parameters: partsOf(model),
    stored,
    bytes: Object.values(stored).reduce((sum, bytes) => sum + bytes, 0),
    quantized: quantize === undefined ? null : { dtype: quantize, bytes: estimate.weights },
    files: weights.files.map(({ name }) => name),
    tokenizer: tokenizer === undefined ? null : tokenizerFacts(tokenizer),
    trainingMemory: estimate,
    warnings: [...warnings, ...weights.warnings, ...warningsOf(model, weights, tokenizer), ...memoryWarnings(estimate)],
  };
}

function tokenizerFacts({ vocabSize, chatTemplates }: Tokenizer): NonNullable<InspectedModel["tokenizer"]> {
  return { vocabSize, templates: [...chatTemplates.keys()], templateHash: chatTemplates.get("default")?.hash ?? null };
}

function partsOf(model: CausalLm): InspectedModel["parameters"] {
  const parts = { embedding: 0, attention: 0, feedForward: 0, norms: 0, head: 0 };
  for (const [name, { shape }] of model.parameters()) parts[partOf(name)] += elementsOf(shape);
  return { ...parts, total: Object.values(parts).reduce((sum, size) => sum + size, 0) };
}

function partOf(name: string): Part {
  if (/norm\.(weight|bias)$/.test(name)) return "norms";
  if (name.includes(".self_attn.")) return "attention";
  if (name.includes(".mlp.")) return "feedForward";
  return name.startsWith("lm_head.") ? "head" : "embedding";
}

function storedBytes(weights: Weights): Record<string, number> {
  const bytes: Record<string, number> = {};
  for (const { dtype, bytes: size } of weights.tensors.values()) bytes[dtype] = (bytes[dtype] ?? 0) + size;
  return bytes;
}

/** Bytes of the weights in memory: as they are stored, or quantised. */
function heldBytes(weights: Weights, model: CausalLm): number {
  const parameters = model.parameters();
  return [...weights.tensors].reduce((sum, [name, { bytes }]) => {
    const parameter = parameters.get(name);
    return sum + (parameter !== undefined && isQuantized(parameter.dtype) ? storageBytes(parameter.shape, parameter.dtype) : bytes);
  }, 0);
}

/** [outputs, inputs] of the layers that an adapter would go to. @throws LowrankError TARGET_… */
function adaptedShapes(model: CausalLm, args: Arguments): [outputs: number, inputs: number][] {
  const modules = model.modules();
  const options = { targetModules: "all-linear", ...args.pick(["targetModules"]) } as TargetOptions;
  return asUsage(() => matchTargets(targetModules(modules), options, ["linear"])).matched.map((path) => {
    const { outFeatures, inFeatures } = modules.get(path) as Linear;
    return [outFeatures, inFeatures];
  });
}

function warningsOf(model: CausalLm, weights: Weights, tokenizer: Tokenizer | undefined): string[] {
  const parameters = model.parameters();
  const missing = [...parameters.keys()].filter((name) => !weights.tensors.has(name));
  const other = [...parameters].filter(([name, { shape }]) => (weights.tensors.get(name)?.shape ?? shape).join() !== shape.join());
  const { vocabSize } = model.config;
  return [
    ...(missing.length === 0 ? [] : [`the weights lack ${plural(missing.length, "tensor")} that config.json calls for, for instance ${missing[0]}`]),
    ...(other.length === 0 ? [] : [`${plural(other.length, "tensor")} have other shapes than config.json says, for instance ${other[0]?.[0]}`]),
    ...(tokenizer === undefined ? ["there is no tokenizer.json: train, eval and generate need it"] : []),
    ...(tokenizer !== undefined && tokenizer.vocabSize > vocabSize
      ? [`the tokenizer has ${countText(tokenizer.vocabSize)} tokens, the model only ${countText(vocabSize)}`]
      : []),
    ...(tokenizer !== undefined && !tokenizer.chatTemplates.has("default")
      ? ["there is no chat template: rows with messages cannot be trained"]
      : []),
  ];
}

function memoryWarnings({ total }: MemoryEstimate): string[] {
  const { budgetBytes } = memory().cpu;
  if (total <= budgetBytes) return [];
  return [
    `such a training needs about ${bytesText(total)}, the memory budget here is ${bytesText(budgetBytes)}. Use a smaller --batch-size or --max-length, or --gradient-checkpointing.`,
  ];
}

/** For people. */
export function modelRows(found: InspectedModel): [name: string, value: string][] {
  const { config, parameters, tokenizer, trainingMemory: needed } = found;
  const window = config.windows.find((size) => size !== undefined);
  const share = (part: Part): string => `${part === "feedForward" ? "feed-forward" : part} ${countText(parameters[part])}`;
  const tied = config.tieEmbeddings ? " (the head is the embedding)" : "";
  return [
    ["model", `${config.modelType}, ${plural(config.layers, "layer")}`],
    ["width", `${countText(config.hiddenSize)}, feed-forward ${countText(config.intermediateSize)}`],
    [
      "attention",
      `${config.heads} heads of ${config.headDim}, ${config.kvHeads} of keys and values${window === undefined ? "" : `, window ${window}`}`,
    ],
    ["vocabulary", `${countText(config.vocabSize)}${tied}`],
    ["positions", `${countText(config.maxPositions)}, rope ${config.rope.type}`],
    ["parameters", `${countText(parameters.total)}\n${(["embedding", "attention", "feedForward", "norms", "head"] as const).map(share).join("\n")}`],
    ["stored", `${bytesText(found.bytes)}: ${storedText(found)} in ${found.files.join(", ")}`],
    ...(found.quantized === null
      ? []
      : [["quantised", `${bytesText(found.quantized.bytes)}: the matrices of the layers as ${found.quantized.dtype}`] as [string, string]]),
    ["tokenizer", tokenizer === null ? "none" : plural(tokenizer.vocabSize, "token")],
    ["chat template", tokenizer?.templateHash ?? "none"],
    [
      "training",
      `about ${bytesText(needed.total)} for ${plural(needed.rows, "row")} of ${plural(needed.length, "token")} at rank ${needed.rank}\n` +
        `weights ${bytesText(needed.weights)}, adapter ${bytesText(needed.adapter)} (${countText(needed.trainedNumbers)} numbers), activations ${bytesText(needed.activations)}`,
    ],
    ...found.warnings.map((warning): [string, string] => ["warning", warning]),
  ];
}

const storedText = ({ stored }: InspectedModel): string =>
  Object.entries(stored)
    .map(([dtype, bytes]) => `${dtype} ${bytesText(bytes)}`)
    .join(", ");
