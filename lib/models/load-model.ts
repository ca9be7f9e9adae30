/** @file loadModel: a language model from a Hugging Face folder. */
import { basename, join } from "node:path";
import type { Parameter } from "../autograd/parameter.js";
import { readSmallFile, throwIfAborted } from "../io/file.js";
import { inFolderOf } from "../io/folder.js";
import { readIfInside } from "../io/inside.js";
import { readInto, readQuantized, readTensor } from "../io/tensors.js";
import { openWeights, type WeightPlace, type Weights } from "../io/weights.js";
import { engine } from "../native/engine.js";
import { checkNames, fileError, LowrankError, nearest, quoted } from "../native/errors.js";
import { type FloatDType, isQuantized, type QuantizedDType, quantizedDTypes } from "../tensor/dtype.js";
import { sameShape, shapeText } from "../tensor/shape.js";
import { loadTokenizer } from "../text/index.js";
import { type ModelConfig, parseModelConfig } from "./config.js";
import { CausalLm } from "./decoder.js";
import { parseGenerationConfig } from "./generation-config.js";

export interface LoadProgress {
  readonly loadedBytes: number;
  readonly totalBytes: number;
}

export interface LoadModelOptions {
  /** How the matrices are held: "f32", "bf16" or "f16"; default as they are stored. Only f32 weights can be trained themselves. */
  readonly dtype?: FloatDType;
  /**
   * Holds the matrices of the layers in 4 bits ("nf4") or 8 ("int8") for an element, as the frozen base of an adapter (docs/quantized.md);
   * embedding, head and norms stay as `dtype` says.
   */
  readonly quantize?: QuantizedDType;
  readonly signal?: AbortSignal;
  /** Told after every tensor. */
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Bytes that all tensors of the process may hold from now on, in place of LOWRANK_MEMORY_BUDGET: more is OUT_OF_MEMORY. */
  readonly memoryBudget?: number;
  /** Follow symbolic links that lead out of the folder; default false. Links of the Hugging Face cache always work. */
  readonly allowSymlinks?: boolean;
}

const stored: Readonly<Record<string, FloatDType>> = { F32: "f32", BF16: "bf16", F16: "f16" };
/** Buffers that older files hold and that follow from the configuration. */
const derived = /(^|\.)(rotary_emb\.inv_freq|masked_bias|attn\.bias)$/;
const configLimit = 1_000_000;

/**
 * Loads a language model (llama, mistral, qwen2, qwen3) from a folder with config.json, safetensors weights in one file or several, and where
 * they exist tokenizer.json with what belongs to it, and generation_config.json. Weights go from the file straight into native memory in the
 * background; beside them at most 16 MB are held, and a sixteenth of a matrix that is quantised to nf4 on the way.
 * @throws LowrankError CONFIG_…, MODEL_… (config.json, generation_config.json), TOKENIZER_…, TEMPLATE_TOO_LARGE (tokenizer), IO_…, ST_…, SHARD_…
 * (weight files), TENSOR_MISSING, TENSOR_UNEXPECTED, TENSOR_SHAPE, TENSOR_NONFINITE (with `quantize`), DTYPE_UNSUPPORTED, BAD_DTYPE, BAD_SHAPE (a
 * matrix that nf4 cannot hold), OUT_OF_MEMORY, ABORTED. Nothing stays allocated then.
 */
export async function loadModel(folder: string, options: LoadModelOptions = {}): Promise<CausalLm> {
  checkOptions(options);
  const { signal, allowSymlinks, quantize } = options;
  throwIfAborted(signal, join(folder, "config.json"));
  const links = allowSymlinks === undefined ? {} : { allowSymlinks };
  const generationPath = join(folder, "generation_config.json");
  const reads = [
    readModelConfig(folder),
    unlessAbsent("TOKENIZER_MISSING", () => loadTokenizer(folder, links)),
    readIfInside(folder, basename(generationPath), configLimit, undefined, links),
    openWeights(folder, { ...links, ...(signal === undefined ? {} : { signal }) }),
  ] as const;
  await Promise.allSettled(reads);
  let model: CausalLm | undefined;
  try {
    // All have ended: the first error in this order is thrown.
    const [config, tokenizer, generationBytes, weights] = await Promise.all(reads);
    const generation = generationBytes && parseGenerationConfig(generationBytes, generationPath, config.vocabSize);
    model = new CausalLm(config, { dtype: options.dtype ?? storedDType(weights), quantize, tokenizer, generation });
    const places = placesOf(weights, model, folder);
    await fill(places, options);
    return model;
  } catch (error) {
    model?.dispose();
    throw error;
  } finally {
    await reads[3].then(
      (weights) => weights.close(),
      () => undefined,
    );
  }
}

/** What config.json says. @throws LowrankError CONFIG_…, MODEL_…, IO_… */
export async function readModelConfig(folder: string): Promise<ModelConfig> {
  const path = join(folder, "config.json");
  return parseModelConfig(await inFolderOf("model", folder, () => readSmallFile(path, configLimit)), path);
}

/** What `read` gives, or undefined where it throws the code `absent`. */
export async function unlessAbsent<T>(absent: LowrankError["code"], read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof LowrankError && error.code === absent) return undefined;
    throw error;
  }
}

const known = ["dtype", "quantize", "signal", "onProgress", "memoryBudget", "allowSymlinks"];

/** Checks the options; a budget holds from here on. */
function checkOptions(options: LoadModelOptions): void {
  checkNames("loadModel", options, known);
  if (options.dtype !== undefined && !Object.values(stored).includes(options.dtype))
    throw new LowrankError("BAD_DTYPE", `loadModel: dtype is f32, bf16 or f16, found ${String(options.dtype)}`, { actual: options.dtype });
  if (options.quantize !== undefined && !isQuantized(options.quantize)) {
    const message = `loadModel: quantize is ${quantizedDTypes.join(" or ")}, found ${String(options.quantize)}`;
    throw new LowrankError("BAD_DTYPE", message, { expected: quantizedDTypes, actual: options.quantize });
  }
  const { memoryBudget } = options;
  if (memoryBudget === undefined) return;
  if (!Number.isSafeInteger(memoryBudget) || memoryBudget <= 0) {
    const message = `loadModel: memoryBudget is a positive number of bytes, like 4_000_000_000; found ${String(memoryBudget)}`;
    throw new LowrankError("BAD_ARGUMENT", message, { actual: memoryBudget });
  }
  engine().setBudget(memoryBudget);
}

/** The type of most of the stored bytes. */
function storedDType(weights: Weights): FloatDType {
  const bytes = new Map<FloatDType, number>();
  for (const { dtype, bytes: size } of weights.tensors.values()) {
    const known = stored[dtype];
    if (known !== undefined) bytes.set(known, (bytes.get(known) ?? 0) + size);
  }
  return [...bytes].sort(([, a], [, b]) => b - a)[0]?.[0] ?? "f32";
}

type Placed = readonly [name: string, parameter: Parameter, place: WeightPlace];

/** Finds the stored tensor of every parameter. Names and shapes must agree exactly. */
function placesOf(weights: Weights, model: CausalLm, folder: string): Placed[] {
  const parameters = model.parameters();
  const tied = model.config.tieEmbeddings ? new Set(["lm_head.weight"]) : new Set<string>();
  const unexpected = [...weights.tensors.keys()].filter((name) => !parameters.has(name) && !tied.has(name) && !derived.test(name));
  const missing = [...parameters.keys()].filter((name) => !weights.tensors.has(name));
  if (missing.length > 0) throw mismatch("TENSOR_MISSING", folder, missing, weights.tensors.keys(), "lack");
  if (unexpected.length > 0) throw mismatch("TENSOR_UNEXPECTED", folder, unexpected, parameters.keys(), "hold, and config.json does not call for,");
  return [...parameters].map(([name, parameter]) => {
    const place = weights.tensor(name);
    place.file.tensorOf(name, ["F32", "BF16", "F16"]);
    if (sameShape(place.shape, parameter.shape)) return [name, parameter, place];
    const problem = `tensor ${quoted(name)} is ${shapeText(place.shape)}; config.json makes it ${shapeText(parameter.shape)}. The two files belong to different models`;
    throw fileError("TENSOR_SHAPE", place.file.path, problem, { tensor: name, expected: parameter.shape, actual: place.shape });
  });
}

function mismatch(
  code: "TENSOR_MISSING" | "TENSOR_UNEXPECTED",
  folder: string,
  names: readonly string[],
  others: Iterable<string>,
  verb: string,
): LowrankError {
  const first = names[0] as string;
  const near = nearest(first, others, 1)[0];
  const hint = near === undefined ? "" : ` Is ${quoted(first)} the same as ${quoted(near)}?`;
  const listed = names.slice(0, 5).map(quoted).join(", ") + (names.length > 5 ? ", …" : "");
  return fileError(
    code,
    join(folder, basename("config.json")),
    `the weights ${verb} ${names.length} tensor${names.length > 1 ? "s" : ""}: ${listed}.${hint}`,
    {
      tensor: first,
      names,
    },
  );
}

async function fill(places: readonly Placed[], { signal, onProgress }: LoadModelOptions): Promise<void> {
  const totalBytes = places.reduce((sum, [, , { bytes }]) => sum + bytes, 0);
  let loadedBytes = 0;
  for (const [name, parameter, { file, dtype, bytes }] of places) {
    throwIfAborted(signal, file.path);
    if (isQuantized(parameter.dtype)) parameter.rebind(await readQuantized(file, name, parameter.shape, parameter.dtype, signal));
    else if (stored[dtype] === parameter.dtype) parameter.rebind(await readTensor(file, name, signal));
    else await readInto(file, name, parameter.target(), signal);
    loadedBytes += bytes;
    onProgress?.({ loadedBytes, totalBytes });
  }
}
