/** @file loadAdapter: every tensor of the file applied, or an error and nothing attached. */
import { throwIfAborted } from "../io/file.js";
import type { SafetensorsFile } from "../io/safetensors.js";
import { engine } from "../native/engine.js";
import { fileError, quoted } from "../native/errors.js";
import type { Module } from "../nn/index.js";
import { tidy } from "../tensor/scope.js";
import { Adapter } from "./adapter.js";
import { configFile } from "./adapter-files.js";
import { targetModules } from "./attach.js";
import { lora, loraScale } from "./lora.js";
import type { LayerPlan, Method } from "./method.js";
import { type OpenAdapter, openAdapter, type StoredLora, type StoredSigma } from "./open-adapter.js";
import type { AdapterConfig } from "./options.js";
import { pathPatterns } from "./path-patterns.js";
import { checkFanInFanOut, type PeftConfig } from "./peft-config.js";
import { sigma } from "./sigma.js";
import { fingerprint, type SigmaConfig, sameWeight } from "./sigma-config.js";
import { type FactorValues, matchTensors, type ParseName, readFactor, type StoredLayer, tensorOf } from "./stored-tensors.js";
import { valuesFor } from "./value-patterns.js";
import { unmergedWeight } from "./weights.js";

export interface LoadAdapterOptions {
  readonly signal?: AbortSignal;
  /** Stands in messages; default: the method. */
  readonly name?: string;
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
  return attachOpened(module, await openAdapter(source, options.signal), options);
}

/** The second half of {@link loadAdapter}; closes the files. @throws the same */
export async function attachOpened(module: Module, open: OpenAdapter, options: LoadAdapterOptions = {}): Promise<Adapter> {
  let loaded: LoadedAdapter;
  try {
    loaded = open.stored.method === "sigma" ? await readSigma(module, open.stored, open) : await readLora(module, open.stored, open);
    throwIfAborted(options.signal, open.file.path);
  } finally {
    await open.close();
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

/** `base_model.model.<path>.lora_A.weight`; the prefix may lack, and the name of the adapter may stand before `weight`. */
const parseLoraName: ParseName = (name) => {
  const [, path, half] = /^(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.[^.]+)?\.weight$/.exec(name) ?? [];
  return path === undefined ? undefined : { path, role: half === "A" ? "a" : "b" };
};

const parseSigmaName: ParseName = (name) => (name.endsWith(".delta") ? { path: name.slice(0, -".delta".length), role: "middle" } : undefined);

async function readLora(module: Module, { config, warnings }: StoredLora, { configName, file }: OpenAdapter): Promise<LoadedAdapter> {
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

async function readSigma(module: Module, { config, warnings }: StoredSigma, { file }: OpenAdapter): Promise<LoadedAdapter> {
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
