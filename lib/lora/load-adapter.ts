/** @file loadAdapter: every tensor of the file applied, or an error and nothing attached. */
import { join } from "node:path";
import { openInput, readSmallFile, throwIfAborted } from "../io/file.js";
import { resolveInside } from "../io/inside.js";
import { openSource, parseSafetensors, type SafetensorsFile } from "../io/safetensors.js";
import { firstInvalidUtf8 } from "../io/utf8.js";
import { engine } from "../native/engine.js";
import { fileError, LowrankError, quoted } from "../native/errors.js";
import type { Module } from "../nn/index.js";
import { tidy } from "../tensor/scope.js";
import { Adapter } from "./adapter.js";
import { configFile, configKey, maxTemplateBytes, templateFile, templateKey, weightsFile } from "./adapter-files.js";
import { targetModules } from "./attach.js";
import { lora, loraScale } from "./lora.js";
import type { LayerPlan, Method } from "./method.js";
import type { AdapterConfig } from "./options.js";
import { pathPatterns } from "./path-patterns.js";
import { checkFanInFanOut, type PeftConfig, readPeftConfig } from "./peft-config.js";
import { PeftFields } from "./peft-fields.js";
import { sigma } from "./sigma.js";
import { fingerprint, readSigmaConfig, type SigmaConfig, sameWeight, sigmaType } from "./sigma-config.js";
import { type FactorValues, matchTensors, type ParseName, readFactor, type StoredLayer, tensorOf } from "./stored-tensors.js";
import { valuesFor } from "./value-patterns.js";
import { unmergedWeight } from "./weights.js";

export interface LoadAdapterOptions {
  readonly signal?: AbortSignal;
  /** Stands in messages; default: the method. */
  readonly name?: string;
}

/** The two parts of an adapter, wherever they lie. */
interface OpenAdapter {
  readonly config: Uint8Array;
  /** For messages. */
  readonly configName: string;
  readonly file: SafetensorsFile;
  readonly chatTemplate: string | undefined;
}

/** What was read, before anything is attached. */
interface LoadedAdapter {
  readonly method: Method;
  readonly config: AdapterConfig;
  readonly layers: readonly LayerPlan[];
  readonly values: ReadonlyMap<string, FactorValues>;
  readonly warnings: readonly string[];
}

/**
 * Attaches a stored adapter to a module: a folder that PEFT or `Adapter.save` wrote (LoRA as f32, f16, bf16 or f64; held as f32), or the
 * bytes of `Adapter.toBytes`. The tensors decide which modules are adapted; all of them are applied.
 * A chat_template.jinja in the folder becomes the adapter's `chatTemplate`.
 * @throws LowrankError ADAPTER_…, TARGET_UNSUPPORTED, TENSOR_NONFINITE, DTYPE_UNSUPPORTED, WRONG_FILE_TYPE (adapter_model.bin), ST_…, IO_…,
 * CONFIG_TOO_LARGE, OUT_OF_MEMORY, ABORTED; nothing is attached then. Σ: ADAPTER_WRONG_BASE when a weight differs from the one it was trained on.
 */
export async function loadAdapter(module: Module, source: string | Uint8Array, options: LoadAdapterOptions = {}): Promise<Adapter> {
  const open = await openAdapter(source, options.signal);
  let loaded: LoadedAdapter;
  try {
    const type = new PeftFields(open.config, open.configName).node("peft_type");
    loaded = type?.kind === "string" && type.value === sigmaType ? await readSigma(module, open) : await readLora(module, open);
    throwIfAborted(options.signal, open.file.path);
  } finally {
    await open.file.close();
  }
  const adapter = attachLoaded(module, loaded, options.name ?? loaded.config.method);
  adapter.chatTemplate = open.chatTemplate;
  return adapter;
}

function attachLoaded(module: Module, { config, layers, values, warnings }: LoadedAdapter, name: string): Adapter {
  const adapter = new Adapter({ module, name, config, ledger: [], layers, seed: 0, warnings });
  try {
    for (const [tensorName, parameter] of adapter.parameters()) {
      tidy(() => engine().kernels.cast(parameter.target(), tensorOf(values.get(tensorName) as FactorValues)));
    }
    return adapter;
  } catch (error) {
    adapter.dispose();
    throw error;
  }
}

async function openAdapter(source: string | Uint8Array, signal: AbortSignal | undefined): Promise<OpenAdapter> {
  if (typeof source === "string") return openFolder(source, signal);
  if (!(source instanceof Uint8Array))
    throw new LowrankError("BAD_ARGUMENT", `loadAdapter: expected a folder or the bytes of a file, found ${typeof source}.`);
  const file = parseSafetensors(source, "adapter");
  const text = file.metadata.get(configKey);
  const chatTemplate = file.metadata.get(templateKey);
  if (text !== undefined) return { config: new TextEncoder().encode(text), configName: `adapter: metadata ${quoted(configKey)}`, file, chatTemplate };
  const problem = `the metadata of these bytes lacks the key ${quoted(configKey)}, which holds the adapter's configuration. Pass what toBytes() gave, or load the folder.`;
  throw fileError("ADAPTER_MISSING_FIELD", "adapter", problem, { expected: configKey });
}

async function openFolder(folder: string, signal: AbortSignal | undefined): Promise<OpenAdapter> {
  const configName = join(folder, configFile);
  const configPath = await resolveInside(folder, configFile);
  const config = await readSmallFile(configPath, undefined, undefined, { followLink: false, shownAs: configName });
  const chatTemplate = await readTemplate(folder);
  const shownAs = join(folder, weightsFile);
  try {
    const path = await resolveInside(folder, weightsFile);
    const file = await openSource(await openInput(path, { followLink: false, shownAs }), signal === undefined ? {} : { signal });
    return { config, configName, file, chatTemplate };
  } catch (error) {
    if (error instanceof LowrankError && error.code === "IO_NOT_FOUND" && (await hasPickle(folder))) throw pickle(folder);
    throw error;
  }
}

/** The text of the folder's chat_template.jinja, where there is one. */
async function readTemplate(folder: string): Promise<string | undefined> {
  const shownAs = join(folder, templateFile);
  let bytes: Uint8Array;
  try {
    bytes = await readSmallFile(await resolveInside(folder, templateFile), maxTemplateBytes, "TEMPLATE_TOO_LARGE", { followLink: false, shownAs });
  } catch (error) {
    if (error instanceof LowrankError && error.code === "IO_NOT_FOUND") return undefined;
    throw error;
  }
  const offset = firstInvalidUtf8(bytes);
  if (offset >= 0) throw fileError("TEMPLATE_SYNTAX", shownAs, `the file is not valid UTF-8 (at byte ${offset}).`, { offset });
  return new TextDecoder().decode(bytes);
}

const pickleFile = "adapter_model.bin";

async function hasPickle(folder: string): Promise<boolean> {
  return resolveInside(folder, pickleFile).then(
    () => true,
    () => false,
  );
}

function pickle(folder: string): LowrankError {
  const problem = `this is a pickle, which can run code when it is read, and is never opened. Convert the adapter with PEFT: load it and call save_pretrained(folder, safe_serialization=True), which writes ${weightsFile}.`;
  return fileError("WRONG_FILE_TYPE", join(folder, pickleFile), problem, { expected: weightsFile, actual: pickleFile });
}

/** `base_model.model.<path>.lora_A.weight`; the prefix may lack, and the name of the adapter may stand before `weight`. */
const parseLoraName: ParseName = (name) => {
  const [, path, half] = /^(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.[^.]+)?\.weight$/.exec(name) ?? [];
  return path === undefined ? undefined : { path, role: half === "A" ? "a" : "b" };
};

const parseSigmaName: ParseName = (name) => (name.endsWith(".delta") ? { path: name.slice(0, -".delta".length), role: "middle" } : undefined);

async function readLora(module: Module, { config: bytes, configName, file }: OpenAdapter): Promise<LoadedAdapter> {
  const { config, warnings } = readPeftConfig(bytes, configName);
  const modules = module.modules();
  const stored = matchTensors(file, modules, lora, parseLoraName);
  const paths = stored.map(({ path }) => path);
  checkFanInFanOut(
    config,
    targetModules(modules).filter(({ path }) => paths.includes(path)),
    configName,
  );
  for (const layer of stored) checkConfiguredRank(config, layer, file);
  const alphas = valuesFor(paths, config.alphaPattern, config.loraAlpha, "alpha_pattern", "any");
  const layers = stored.map(({ path, linear, rank }): LayerPlan => {
    return { path, linear, rank, scale: loraScale(alphas.get(path) as number, rank, config.useRslora), dropout: config.loraDropout };
  });
  const values = await readValues(file, lora, stored);
  const isIdentity = stored.every(({ path }) => values.get(lora.tensorName(path, "b"))?.allZero);
  return {
    method: lora,
    config: configOf(config, stored),
    layers,
    values,
    warnings: [
      ...warnings,
      ...file.warnings,
      ...warningsOf(values),
      ...(isIdentity ? ["The adapter is an identity: every B is zero, so it changes nothing."] : []),
    ],
  };
}

/** Without patterns every rank is r; with them they are among the given ranks. Which pattern means which module the tensors know. */
function checkConfiguredRank({ r, rankPattern }: PeftConfig, { rank, factors }: StoredLayer, file: SafetensorsFile): void {
  const given = [...new Set([r, ...rankPattern.values()])];
  if (given.includes(rank)) return;
  const [{ name }] = [...factors.values()] as [StoredLayer["factors"] extends ReadonlyMap<unknown, infer F> ? F : never];
  const problem = `tensor ${quoted(name)} has rank ${rank}, ${configFile} says ${given.join(" or ")}. The two files do not belong together; save the adapter again.`;
  throw fileError("ADAPTER_RANK_MISMATCH", file.path, problem, { tensor: name, expected: given, actual: rank });
}

/** The configuration as it will be saved again: it names exactly the modules that have tensors. */
function configOf(config: PeftConfig, stored: readonly StoredLayer[]): AdapterConfig {
  const { taskType, baseModelNameOrPath, revision, autoMapping, lowrank } = config;
  return {
    method: "lora",
    rank: config.r,
    alpha: config.loraAlpha,
    dropout: config.loraDropout,
    useRslora: config.useRslora,
    rankPattern: pathPatterns(new Map(stored.map(({ path, rank }) => [path, rank])), config.r),
    alphaPattern: config.alphaPattern,
    targets: { targetModules: stored.map(({ path }) => path) },
    peft: { taskType, baseModelNameOrPath, revision, autoMapping, lowrank },
  };
}

async function readSigma(module: Module, { config: bytes, configName, file }: OpenAdapter): Promise<LoadedAdapter> {
  const { config, warnings } = readSigmaConfig(bytes, configName);
  const stored = matchTensors(file, module.modules(), sigma, parseSigmaName);
  await checkBase(config, stored, file);
  const values = await readValues(file, sigma, stored);
  const isIdentity = [...values.values()].every(({ allZero }) => allZero);
  return {
    method: sigma,
    config: {
      ...{ method: "sigma", rank: config.rank ?? undefined, alpha: 8, dropout: 0, useRslora: false, rankPattern: new Map(), alphaPattern: new Map() },
      targets: { targetModules: stored.map(({ path }) => path) },
    },
    layers: stored.map(({ path, linear, rank }) => ({ path, linear, rank, scale: 1, dropout: 0 })),
    values,
    warnings: [
      ...warnings,
      ...file.warnings,
      ...warningsOf(values),
      ...(isIdentity ? ["The adapter is an identity: every δ is zero, so it changes nothing."] : []),
    ],
  };
}

async function checkBase({ base }: SigmaConfig, stored: readonly StoredLayer[], file: SafetensorsFile): Promise<void> {
  const absent = [...base.keys()].find((path) => !stored.some((layer) => layer.path === path));
  if (absent !== undefined) {
    const problem = `there is no tensor for ${quoted(absent)}, which ${configFile} names. The two files do not belong together; save the adapter again.`;
    throw fileError("TENSOR_MISSING", file.path, problem, { tensor: sigma.tensorName(absent, "middle") });
  }
  for (const { path, linear } of stored) {
    const expected = base.get(path);
    if (expected === undefined) {
      const problem = `"base" of ${configFile} says nothing of ${quoted(path)}, for which there is a tensor. The two files do not belong together; save the adapter again.`;
      throw fileError("ADAPTER_MISSING_FIELD", file.path, problem, { module: path });
    }
    const actual = await fingerprint(unmergedWeight(linear.weight));
    if (sameWeight(expected, actual)) continue;
    const problem = `the weight of ${quoted(path)} (${actual.dtype}, SHA-256 ${actual.sha256.slice(0, 12)}…) is not the one that the adapter was trained on (${expected.dtype}, ${expected.sha256.slice(0, 12)}…). δ belongs to the singular vectors of that very weight: load the same base, or export the adapter as LoRA there.`;
    throw fileError("ADAPTER_WRONG_BASE", file.path, problem, { module: path, expected, actual });
  }
}

/** The values by the names that the method gives them. */
async function readValues(file: SafetensorsFile, method: Method, stored: readonly StoredLayer[]): Promise<Map<string, FactorValues>> {
  const values = new Map<string, FactorValues>();
  for (const { path, factors } of stored) {
    for (const [role, factor] of factors) values.set(method.tensorName(path, role), await readFactor(file, factor));
  }
  return values;
}

function warningsOf(values: ReadonlyMap<string, FactorValues>): string[] {
  const rounded = [...values.values()].filter((value) => value.rounded).length;
  return rounded === 0 ? [] : [`${rounded} tensors are stored as F64; they were rounded to f32.`];
}
