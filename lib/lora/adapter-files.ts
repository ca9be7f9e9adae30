/** @file Writing adapters: folders, and single safetensors files that hold the configuration too. */

import { withTape } from "../autograd/apply.js";
import { mul } from "../functions.js";
import { type FolderEntry, writeFolder } from "../io/atomic.js";
import { firstNonFinite } from "../io/finite.js";
import { safetensorsEntry, serializeSafetensors, type TensorSource } from "../io/safetensors-write.js";
import { maxTemplateBytes, templateFile } from "../io/template-text.js";
import { LowrankError, quoted } from "../native/errors.js";
import { outsideScopes, tidy } from "../tensor/scope.js";
import type { Tensor } from "../tensor/tensor.js";
import type { Adapter, AdapterLayer } from "./adapter.js";
import { lora } from "./lora.js";
import { pathPatterns } from "./path-patterns.js";
import { writePeftConfig } from "./peft-config.js";
import { fingerprint, writeSigmaConfig } from "./sigma-config.js";
import { orderFreePatterns } from "./value-patterns.js";
import { unmergedContent, unmergedWeight } from "./weights.js";

export interface SaveOptions {
  readonly signal?: AbortSignal;
}

export const configFile = "adapter_config.json";
export const weightsFile = "adapter_model.safetensors";

/** The metadata key of a single file that holds the text of its adapter_config.json. */
export const configKey = "lowrank";
/** That of the text of its chat template. */
export const templateKey = "chat_template";

/** The config goes last: readers look for it first. */
export async function saveAdapter(adapter: Adapter, dir: string, options: SaveOptions): Promise<void> {
  const [config, tensors] = await Promise.all([configText(adapter), snapshot(trainedTensors(adapter))]);
  await writeAdapter(adapter, dir, config, tensors, options);
}

export async function adapterBytes(adapter: Adapter): Promise<Uint8Array> {
  const [config, tensors] = await Promise.all([configText(adapter), snapshot(trainedTensors(adapter))]);
  const template = templateBytes(adapter) === undefined ? {} : { [templateKey]: adapter.chatTemplate as string };
  return serializeSafetensors(tensors, { format: "pt", [configKey]: config, ...template }, "adapter");
}

export async function exportLora(adapter: Adapter, dir: string, options: SaveOptions): Promise<void> {
  if (adapter.method === "lora") return saveAdapter(adapter, dir, options);
  requireSameBase(adapter);
  const products = adapter.layers.map(({ branch }) => productOf(branch));
  const read = snapshot(
    adapter.layers.flatMap(({ path, branch }, i) => [
      [lora.tensorName(path, "a"), branch.a.value] as const,
      [lora.tensorName(path, "b"), products[i] as Tensor] as const,
    ]),
  );
  for (const product of products) product.dispose();
  await writeAdapter(adapter, dir, loraTextOf(adapter.layers), await read, options);
}

async function writeAdapter(adapter: Adapter, dir: string, config: string, tensors: readonly TensorSource[], options: SaveOptions): Promise<void> {
  const template = templateBytes(adapter);
  const entry = (name: string, bytes: Uint8Array): FolderEntry => ({ name, write: (file) => file.write(bytes) });
  const entries = [safetensorsEntry(weightsFile, tensors, { format: "pt" }), entry(configFile, new TextEncoder().encode(config))];
  await writeFolder(dir, template === undefined ? entries : [entry(templateFile, template), ...entries], options);
}

function templateBytes({ name, chatTemplate }: Adapter): Uint8Array | undefined {
  const bytes = chatTemplate === undefined ? undefined : new TextEncoder().encode(chatTemplate);
  if (bytes === undefined || bytes.length <= maxTemplateBytes) return bytes;
  const message = `The adapter ${quoted(name)} is not saved: its chat template has ${bytes.length} bytes, the limit is ${maxTemplateBytes}.`;
  throw new LowrankError("TEMPLATE_TOO_LARGE", message, { expected: maxTemplateBytes, actual: bytes.length });
}

/** V·diag(δ), which keeps its own memory. */
const productOf = ({ b, middle }: AdapterLayer["branch"]): Tensor =>
  outsideScopes(() =>
    withTape(undefined, () =>
      tidy(() => mul(b.value as Tensor<[number, number], "f32">, (middle as NonNullable<typeof middle>).value as Tensor<[number], "f32">)),
    ),
  ) as Tensor;

const trainedTensors = (adapter: Adapter): (readonly [string, Tensor])[] => [...adapter.parameters()].map(([name, { value }]) => [name, value]);

/** All values at one moment: the reads are submitted together. */
async function snapshot(tensors: readonly (readonly [string, Tensor])[]): Promise<TensorSource[]> {
  const all = await Promise.all(tensors.map(async ([name, tensor]) => ({ name, shape: tensor.shape, data: (await tensor.data()) as Float32Array })));
  return all.map(({ name, shape, data }) => {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const index = firstNonFinite("F32", bytes);
    if (index < 0) return { name, dtype: "F32", shape, data: () => bytes };
    const message = `The adapter is not saved: ${quoted(name)} is not finite at element ${index}. Its training has diverged; go back to an earlier state.`;
    throw new LowrankError("TENSOR_NONFINITE", message, { tensor: name, index });
  });
}

async function configText(adapter: Adapter): Promise<string> {
  if (adapter.method === "lora") return peftText(adapter);
  requireSameBase(adapter);
  const base = await Promise.all(adapter.layers.map(async ({ path, linear }) => [path, await fingerprint(unmergedWeight(linear.weight))] as const));
  return writeSigmaConfig({ rank: adapter.config.rank ?? null, base: new Map(base) });
}

/** As PEFT saves it: "all-linear" becomes the paths that it stood for. */
function peftText({ config, targets }: Adapter): string {
  const { targetModules, excludeModules, layersToTransform, layersPattern } = config.targets;
  const isAll = typeof targetModules === "string" && targetModules.toLowerCase() === "all-linear";
  const rank = config.rank as number;
  return writePeftConfig({
    ...config.peft,
    r: rank,
    loraAlpha: config.alpha,
    useRslora: config.useRslora,
    loraDropout: config.dropout,
    targetModules: isAll ? [...targets].sort() : targetModules,
    excludeModules: isAll ? null : (excludeModules ?? null),
    layersToTransform: layersToTransform ?? null,
    layersPattern: layersPattern ?? null,
    rankPattern: orderFreePatterns(targets, config.rankPattern, rank, "rankPattern"),
    alphaPattern: orderFreePatterns(targets, config.alphaPattern, config.alpha, "alphaPattern"),
  });
}

/** Every layer with its own rank and alpha = rank, so that the scale is 1. */
function loraTextOf(layers: readonly AdapterLayer[]): string {
  const ranks = new Map(layers.map(({ path, branch }) => [path, branch.a.shape[0] as number]));
  const most = Math.max(...ranks.values());
  const pattern = pathPatterns(ranks, most);
  return writePeftConfig({ r: most, loraAlpha: most, targetModules: [...ranks.keys()].sort(), rankPattern: pattern, alphaPattern: pattern });
}

/** δ has a meaning only beside the singular vectors of the weight it was trained on. */
function requireSameBase({ name, layers }: Adapter): void {
  const changed = layers.find(({ linear, content }) => unmergedContent(linear.weight) !== content);
  if (changed === undefined) return;
  const message = `The adapter ${quoted(name)} cannot be saved: the weight of ${quoted(changed.path)} was written (loaded, assigned, or merged into for good) after it was attached, and its values belong to the singular vectors of the weight before.`;
  throw new LowrankError("ADAPTER_STATE", message, { module: changed.path });
}
