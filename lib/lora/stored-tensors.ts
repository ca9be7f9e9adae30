/** @file The tensors of an adapter file: which factor of which module each is, whether all fit, and their values. */
import { firstNonFinite } from "../io/finite.js";
import type { SafetensorsFile, TensorInfo } from "../io/safetensors.js";
import type { SafetensorsDType } from "../io/safetensors-dtype.js";
import { fileError, type LowrankError, nearest, quoted } from "../native/errors.js";
import { Linear, type Module } from "../nn/index.js";
import { fromBytes } from "../tensor/create.js";
import type { DType } from "../tensor/dtype.js";
import { shapeText } from "../tensor/shape.js";
import type { Tensor } from "../tensor/tensor.js";
import type { Method, Role } from "./method.js";

/** A factor in a file. */
export interface StoredFactor {
  /** Its name in this file. */
  readonly name: string;
  readonly info: TensorInfo;
}

/** The factors that a file has for a module. */
export interface StoredLayer {
  readonly path: string;
  readonly linear: Linear;
  readonly rank: number;
  readonly factors: ReadonlyMap<Role, StoredFactor>;
}

/** What a tensor name says. `undefined`: it is not the name of a factor. */
export type ParseName = (name: string) => { readonly path: string; readonly role: Role } | undefined;

/**
 * Assigns every tensor of the file to a module.
 * @throws LowrankError ADAPTER_TENSOR_UNMATCHED, TARGET_UNSUPPORTED, ADAPTER_PAIR_INCOMPLETE, ADAPTER_SHAPE_MISMATCH (one error for all
 * tensors), ADAPTER_RANK_MISMATCH
 */
export function matchTensors(file: SafetensorsFile, modules: ReadonlyMap<string, Module>, method: Method, parse: ParseName): StoredLayer[] {
  const layers = new Map<string, Map<Role, StoredFactor>>();
  const unmatched: string[] = [];
  for (const [name, info] of file.tensors) {
    const found = parse(name);
    if (found === undefined || !modules.has(found.path)) {
      unmatched.push(name);
      continue;
    }
    const factors = layers.get(found.path) ?? new Map<Role, StoredFactor>();
    const other = factors.get(found.role);
    if (other !== undefined) throw twice(file, other.name, name);
    layers.set(found.path, factors.set(found.role, { name, info }));
  }
  if (unmatched.length > 0) throw noModule(file, unmatched, modules, parse);
  if (layers.size === 0) throw fileError("TENSOR_MISSING", file.path, "the file holds no tensor of an adapter. Save the adapter again.");
  const found = [...modules.keys()].filter((path) => layers.has(path)); // in the order of the module
  const stored = found.map((path) => ({ path, module: modules.get(path) as Module, factors: layers.get(path) as Map<Role, StoredFactor> }));
  return checkLayers(file, stored, method);
}

function checkLayers(
  file: SafetensorsFile,
  stored: readonly { path: string; module: Module; factors: Map<Role, StoredFactor> }[],
  method: Method,
): StoredLayer[] {
  const layers = stored.map(({ path, module, factors }): StoredLayer => {
    const [{ name }] = [...factors.values()] as [StoredFactor];
    if (!(module instanceof Linear)) {
      const problem = `tensor ${quoted(name)} adapts ${quoted(path)}, which is no Linear; only those can be adapted. The adapter cannot be used here.`;
      throw fileError("TARGET_UNSUPPORTED", file.path, problem, { tensor: name, module: path });
    }
    const lacking = method.trains.find((role) => !factors.has(role));
    if (lacking !== undefined) {
      const partner = method.tensorName(path, lacking);
      const problem = `tensor ${quoted(name)} lacks its partner ${quoted(partner)}. The file is incomplete; save the adapter again.`;
      throw fileError("ADAPTER_PAIR_INCOMPLETE", file.path, problem, { tensor: name, expected: partner });
    }
    return { path, linear: module, factors, rank: rankOf([...factors][0] as [Role, StoredFactor]) };
  });
  const wrong = layers.flatMap((layer) =>
    [...layer.factors].filter(([role, factor]) => !fits(layer.linear, role, factor.info.shape)).map((entry) => ({ layer, entry })),
  );
  if (wrong[0] !== undefined) throw wrongShape(file, wrong[0].layer, wrong[0].entry, wrong.length);
  for (const layer of layers) checkRanks(file, layer);
  return layers;
}

const rankOf = ([role, { info }]: readonly [Role, StoredFactor]): number => info.shape[role === "b" ? 1 : 0] ?? 0;

function fits({ inFeatures, outFeatures }: Linear, role: Role, shape: readonly number[]): boolean {
  if (role === "a") return shape.length === 2 && shape[1] === inFeatures;
  if (role === "b") return shape.length === 2 && shape[0] === outFeatures;
  return shape.length === 1 && (shape[0] as number) <= Math.min(inFeatures, outFeatures) && shape[0] !== 0;
}

function checkRanks(file: SafetensorsFile, { factors, rank }: StoredLayer): void {
  const other = [...factors].find((entry) => rankOf(entry) !== rank);
  if (other === undefined) return;
  const [first] = factors.values() as Iterable<StoredFactor> as unknown as [StoredFactor];
  const problem = `tensor ${quoted(first.name)} has rank ${rank}, its partner ${quoted(other[1].name)} has rank ${rankOf(other)}. Save the adapter again.`;
  throw fileError("ADAPTER_RANK_MISMATCH", file.path, problem, { tensor: first.name, expected: rank, actual: rankOf(other) });
}

function noModule(file: SafetensorsFile, names: readonly string[], modules: ReadonlyMap<string, Module>, parse: ParseName): LowrankError {
  const first = names[0] as string;
  const found = parse(first);
  const linears = [...modules].flatMap(([path, module]) => (module instanceof Linear ? [path] : []));
  const near = found === undefined ? [] : nearest(found.path, linears);
  const what = found === undefined ? `${quoted(first)} is not the name of a factor of a linear layer` : `there is no module ${quoted(found.path)}`;
  const hint =
    near.length > 0 ? ` Nearest: ${near.map(quoted).join(", ")}.` : ` The module has ${linears.slice(0, 5).map(quoted).join(", ") || "no Linear"}.`;
  const count = names.length === 1 ? "a tensor" : `${names.length} of ${file.tensors.size} tensors`;
  const list = names.length === 1 ? "" : ` Without a place: ${names.slice(0, 5).map(quoted).join(", ")}${names.length > 5 ? ", …" : ""}.`;
  const problem = `${count} of the adapter cannot be applied: ${what}.${hint}${list} Load the adapter into the model it was trained on.`;
  return fileError("ADAPTER_TENSOR_UNMATCHED", file.path, problem, {
    tensor: first,
    unmatched: names.slice(0, 100),
    count: names.length,
    nearest: near,
  });
}

function twice(file: SafetensorsFile, first: string, second: string): LowrankError {
  const problem = `tensors ${quoted(first)} and ${quoted(second)} are the same factor of the same module. Keep one adapter in a file.`;
  return fileError("ADAPTER_TENSOR_UNMATCHED", file.path, problem, { tensor: second });
}

function wrongShape(file: SafetensorsFile, { path, linear }: StoredLayer, [role, { name, info }]: [Role, StoredFactor], count: number): LowrankError {
  const { inFeatures, outFeatures } = linear;
  const expected =
    role === "a" ? `[rank, ${inFeatures}]` : role === "b" ? `[${outFeatures}, rank]` : `[at most ${Math.min(inFeatures, outFeatures)}]`;
  const more = count === 1 ? "" : ` ${count} of ${file.tensors.size} tensors do not fit.`;
  const problem = `tensor ${quoted(name)} is ${shapeText(info.shape)}; ${quoted(path)} [${outFeatures}, ${inFeatures}] needs ${expected}.${more} Load the adapter into the model it was trained on.`;
  return fileError("ADAPTER_SHAPE_MISMATCH", file.path, problem, { tensor: name, expected, actual: info.shape, count });
}

/** The elements of a factor as they are stored, or F64 rounded to f32. */
export interface FactorValues {
  readonly bytes: Uint8Array;
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** F64 was rounded. */
  readonly rounded: boolean;
  readonly allZero: boolean;
}

const floats: Partial<Record<SafetensorsDType, DType>> = { F32: "f32", BF16: "bf16", F16: "f16", F64: "f32" };

/** @throws LowrankError DTYPE_UNSUPPORTED, TENSOR_NONFINITE, IO_…, ABORTED */
export async function readFactor(file: SafetensorsFile, { name }: StoredFactor): Promise<FactorValues> {
  const { dtype, shape } = file.tensorOf(name, Object.keys(floats) as SafetensorsDType[]);
  const stored = await file.readBytes(name);
  const bytes =
    dtype === "F64" ? new Uint8Array(Float32Array.from(new Float64Array(stored.buffer, stored.byteOffset, stored.length / 8)).buffer) : stored;
  const index = firstNonFinite(dtype === "F64" ? "F32" : dtype, bytes);
  if (index >= 0) {
    const problem = `tensor ${quoted(name)} holds a value that is not finite at element ${index}. The training that wrote it has diverged, or the file is damaged.`;
    throw fileError("TENSOR_NONFINITE", file.path, problem, { tensor: name, index });
  }
  return {
    bytes,
    shape,
    dtype: floats[dtype] as DType,
    rounded: dtype === "F64",
    allZero: isZero(bytes, dtype === "F32" || dtype === "F64" ? 4 : 2),
  };
}

/** A tensor of the values, made in the scope of the caller. */
export const tensorOf = ({ bytes, shape, dtype }: FactorValues): Tensor => fromBytes(bytes, shape, dtype);

/** Whether all elements are 0 or −0. */
function isZero(bytes: Uint8Array, elementBytes: 2 | 4): boolean {
  return bytes.every((byte, i) => byte === 0 || (byte === 0x80 && i % elementBytes === elementBytes - 1));
}
