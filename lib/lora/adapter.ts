/** @file The adapter: branches on the layers of a module, and what may be done with them in which order. */
import { Parameter } from "../autograd/parameter.js";
import { structureChanged } from "../autograd/structure.js";
import { LowrankError, quoted } from "../native/errors.js";
import type { Linear, LowRankBranch, Module } from "../nn/index.js";
import { isQuantized } from "../tensor/dtype.js";
import { outsideScopes } from "../tensor/scope.js";
import { elementsOf } from "../tensor/shape.js";
import { empty, type Tensor, viewOf } from "../tensor/tensor.js";
import { adapterBytes, exportLora, type SaveOptions, saveAdapter } from "./adapter-files.js";
import { forgetMerges, mergeBranches, undoMerges } from "./merge.js";
import type { Factors, LayerPlan, Method, MethodName, Role } from "./method.js";
import { type AdapterConfig, methods } from "./options.js";
import type { LedgerEntry } from "./targets.js";
import { type ContentId, contentOf, freeze, type Merge, mergesOf, unfreeze } from "./weights.js";

/** A branch that names its adapter: who finds it on a layer finds all of it. @internal */
export interface AdapterBranch extends LowRankBranch {
  readonly adapter: Adapter;
}

/** A layer with its branch. @internal */
export interface AdapterLayer {
  readonly path: string;
  readonly linear: Linear;
  readonly branch: AdapterBranch;
  /** What the weight held when the adapter was attached; undefined when it had no value yet. */
  readonly content: ContentId | undefined;
  readonly factors: Factors;
}

/** @internal */
export interface AdapterPlan {
  readonly module: Module;
  readonly name: string;
  readonly config: AdapterConfig;
  readonly ledger: readonly LedgerEntry[];
  readonly layers: readonly LayerPlan[];
  readonly seed: number;
  readonly warnings: readonly string[];
}

/**
 * An adapter on a module, made by `attach` or `loadAdapter`. While it is attached, the parameters of the module are frozen. It belongs to
 * whoever made it: disposing the module does not free it.
 */
export class Adapter {
  readonly name: string;
  readonly method: MethodName;
  readonly config: AdapterConfig;
  /** Which modules each entry of `targetModules`, `excludeModules`, … selected; empty for a loaded adapter. */
  readonly ledger: readonly LedgerEntry[];
  /** Sentences about what was ignored or looks wrong. */
  readonly warnings: readonly string[];
  /**
   * The text of the chat template that it was trained with, where it is known: `save` writes it beside the adapter (chat_template.jinja),
   * `loadAdapter` reads it there, `generate` renders messages with it.
   */
  chatTemplate: string | undefined;
  /** @internal */
  readonly layers: readonly AdapterLayer[];
  readonly #module: Module;
  readonly #parameters: ReadonlyMap<string, Parameter>;
  readonly #frozen: readonly Parameter[];
  #enabled = true;
  #attached = true;
  #disposed = false;
  #merges: readonly Merge[] | undefined;

  /** @internal */
  constructor({ module, name, config, ledger, layers, seed, warnings }: AdapterPlan) {
    const method = methods[config.method];
    for (const { path, linear } of layers) refuseMerged(name, path, linear);
    this.name = name;
    this.method = config.method;
    this.config = config;
    this.ledger = ledger;
    this.warnings = warnings;
    this.#module = module;
    this.layers = makeBranches(this, method, layers, seed);
    const trained = this.layers.flatMap(({ path, factors }) =>
      method.trains.map((role) => [method.tensorName(path, role), factors[role] as Parameter] as const),
    );
    this.#parameters = new Map(trained);
    this.#frozen = [...module.parameters().values()];
    freeze(this.#frozen);
    for (const { linear, branch } of this.layers) linear.branches.push(branch);
    structureChanged();
  }

  /** The module that the adapter was made for. */
  get module(): Module {
    return this.#module;
  }

  /** The trained parameters by the names that they have in files. @throws LowrankError DISPOSED */
  parameters(): ReadonlyMap<string, Parameter> {
    this.#requireLive("parameters");
    return this.#parameters;
  }

  /** Number of trained elements. */
  get trainableCount(): number {
    return [...this.#parameters.values()].reduce((sum, { shape }) => sum + elementsOf(shape), 0);
  }

  /** Paths of the adapted modules. */
  get targets(): readonly string[] {
    return this.layers.map(({ path }) => path);
  }

  get attached(): boolean {
    return this.#attached;
  }

  /** Whether it takes part in forward passes when it is attached: as branches, or merged. */
  get enabled(): boolean {
    return this.#enabled;
  }

  get merged(): boolean {
    return this.#merges !== undefined;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** Lets the branches add to the outputs again. @throws LowrankError ADAPTER_STATE when detached or merged; DISPOSED */
  enable(): void {
    this.#requireUnmerged("enable");
    this.#switch(true);
  }

  /** The module computes as if the adapter were not there. @throws LowrankError ADAPTER_STATE when detached or merged; DISPOSED */
  disable(): void {
    this.#requireUnmerged("disable");
    this.#switch(false);
  }

  /**
   * Adds the branches to the weights, for inference without extra work. The sum is formed in f32 and rounded to the weight's dtype: a bf16
   * weight keeps 8 bits of it, so that changes below 1/512 of a weight are lost. The bytes from before are kept for `unmerge`.
   * @throws LowrankError ADAPTER_STATE when merged, disabled or detached; ADAPTER_CONFLICT when another layer uses the same weight (tied), which
   * would change with it; BAD_DTYPE when a weight is int8 or nf4; OUT_OF_MEMORY (then nothing is merged); DISPOSED
   */
  merge(): void {
    this.#requireUnmerged("merge");
    if (!this.#enabled) throw this.#wrongState("merge", "is disabled. Enable it first.");
    this.#requireOwnWeights();
    this.#requirePlainWeights();
    this.#merges = mergeBranches(
      this.name,
      this.layers.map(({ linear, branch }) => ({ weight: linear.weight, branch })),
    );
    this.#show(false);
  }

  /**
   * Puts the exact bytes of the weights from before `merge` back.
   * @throws LowrankError ADAPTER_STATE when not merged or when a weight was written since; ADAPTER_CONFLICT when another adapter was merged later
   * into the same weights; DISPOSED
   */
  unmerge(): void {
    this.#requireLive("unmerge");
    if (this.#merges === undefined) throw this.#wrongState("unmerge", "is not merged.");
    undoMerges(this.#merges);
    this.#merges = undefined;
    this.#show(true);
  }

  /**
   * Takes the adapter off the module; the module's parameters can be trained again as before (when no other adapter holds them). The adapter
   * keeps its values: it can still be saved.
   * @throws LowrankError ADAPTER_STATE when detached or merged; DISPOSED
   */
  detach(): void {
    this.#requireUnmerged("detach");
    this.#takeOff();
  }

  /** @throws LowrankError ADAPTER_STATE when training it would have no effect: detached, disabled or merged; DISPOSED. @internal */
  requireTrainable(): void {
    this.#requireUnmerged("train");
    if (!this.#enabled) throw this.#wrongState("train", "is disabled. Enable it first.");
  }

  /**
   * Writes `adapter_config.json`, `adapter_model.safetensors` and, where `chatTemplate` is set, `chat_template.jinja` to a folder, atomically. LoRA: PEFT's format. Σ: lowrank's own
   * (docs/adapters.md); use `exportAsLora` for other programs.
   * @throws LowrankError TENSOR_NONFINITE (nothing is written), ADAPTER_STATE (Σ, when a weight under it has changed), TEMPLATE_TOO_LARGE, IO_…,
   * ABORTED, DISPOSED
   */
  async save(dir: string, options: SaveOptions = {}): Promise<void> {
    this.#requireLive("save");
    return saveAdapter(this, dir, options);
  }

  /**
   * All of the adapter as one safetensors file, for `loadAdapter`: its metadata holds the configuration under "lowrank", the chat template under
   * "chat_template". @throws as `save`
   */
  async toBytes(): Promise<Uint8Array> {
    this.#requireLive("toBytes");
    return adapterBytes(this);
  }

  /**
   * Writes the adapter as a LoRA in PEFT's format. Exact for Σ: A = Uᵀ, B = V·diag(δ), alpha = rank. Its size grows with the rank: all
   * singular values of an [O, I] layer make min(O, I)·(O + I) numbers, more than the weight has.
   * @throws LowrankError as `save`; ADAPTER_BAD_VALUE for ranks over 1,024
   */
  async exportAsLora(dir: string, options: SaveOptions = {}): Promise<void> {
    this.#requireLive("exportAsLora");
    return exportLora(this, dir, options);
  }

  /** Takes the adapter off and frees it. Weights it was merged into stay merged. */
  dispose(): void {
    if (this.#disposed) return;
    if (this.#merges !== undefined) forgetMerges(this.#merges);
    this.#merges = undefined;
    if (this.#attached) this.#takeOff();
    this.#disposed = true;
    disposeFactors(this.layers.map(({ factors }) => factors));
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return `Adapter ${this.name} (${this.method}, ${this.layers.length} modules)`;
  }

  #switch(enabled: boolean): void {
    if (this.#enabled === enabled) return;
    this.#enabled = enabled;
    this.#show(enabled);
  }

  #show(branches: boolean): void {
    for (const { branch } of this.layers) branch.enabled = branches;
    structureChanged();
  }

  #takeOff(): void {
    for (const { linear, branch } of this.layers) linear.branches.splice(linear.branches.indexOf(branch), 1);
    unfreeze(this.#frozen);
    this.#attached = false;
    structureChanged();
  }

  #requireOwnWeights(): void {
    const users = new Map<Parameter, string>();
    for (const [path, module] of this.#module.modules()) {
      for (const value of Object.values(module)) {
        if (!(value instanceof Parameter)) continue;
        const other = users.get(value);
        const layer = this.layers.find(({ linear }) => linear.weight === value);
        if (other === undefined || layer === undefined) users.set(value, path);
        else throw this.#tied(other, path);
      }
    }
  }

  #requirePlainWeights(): void {
    const layer = this.layers.find(({ linear }) => isQuantized(linear.weight.dtype));
    if (layer === undefined) return;
    const { dtype } = layer.linear.weight;
    const message = `merge: the weight of ${quoted(layer.path)} is ${dtype}, and rounding the sum to ${dtype} would lose most of ${quoted(this.name)}. Keep the adapter unmerged, or merge it into the model loaded without quantize (lowrank merge).`;
    throw new LowrankError("BAD_DTYPE", message, { module: layer.path, actual: dtype });
  }

  #tied(first: string, second: string): LowrankError {
    const message = `merge: ${quoted(first)} and ${quoted(second)} share one weight, so merging ${quoted(this.name)} into one would change both. Keep the adapter unmerged.`;
    return new LowrankError("ADAPTER_CONFLICT", message, { modules: [first, second] });
  }

  #requireLive(what: string): void {
    if (this.#disposed) throw new LowrankError("DISPOSED", `${what}: the adapter ${quoted(this.name)} was disposed before this use.`);
  }

  #requireUnmerged(what: string): void {
    this.#requireLive(what);
    if (!this.#attached) throw this.#wrongState(what, "was detached. Save it and load it to attach it again.");
    if (this.merged) throw this.#wrongState(what, "is merged into the weights. Unmerge it first.");
  }

  #wrongState(what: string, problem: string): LowrankError {
    return new LowrankError("ADAPTER_STATE", `${what}: the adapter ${quoted(this.name)} ${problem}`);
  }
}

function refuseMerged(name: string, path: string, { weight }: Linear): void {
  const other = mergesOf(weight).at(-1);
  if (other === undefined) return;
  const message = `attach: ${quoted(other.by)} is merged into the weight of ${quoted(path)}; ${quoted(name)} would depend on that. Unmerge it first, or dispose it to keep the merged weights.`;
  throw new LowrankError("ADAPTER_CONFLICT", message, { module: path, actual: other.by });
}

/** Makes the factors, the trained ones in one flat buffer, with their initial values. Frees all of them on failure. */
function makeBranches(adapter: Adapter, method: Method, plans: readonly LayerPlan[], seed: number): AdapterLayer[] {
  const made: Factors[] = [];
  let flat: Tensor | undefined;
  try {
    const trained = plans.flatMap((plan) => method.trains.map((role) => elementsOf(shapeOf(plan, role))));
    flat = outsideScopes(() => empty([trained.reduce((sum, size) => sum + size, 0)], "f32", "state"));
    let offset = 0;
    return plans.map((plan) => {
      const factors = Object.fromEntries(
        method.roles.map((role) => {
          const shape = shapeOf(plan, role);
          const parameter = new Parameter(shape, "f32");
          parameter.trainable = method.trains.includes(role);
          if (parameter.trainable) {
            parameter.rebind(outsideScopes(() => viewOf(flat as Tensor, shape, { offset, ld: shape.at(-1) as number })));
            offset += elementsOf(shape);
          }
          return [role, parameter];
        }),
      ) as unknown as Factors;
      made.push(factors);
      method.initialize(plan, factors, seed);
      return layerOf(adapter, plan, factors);
    });
  } catch (error) {
    disposeFactors(made);
    throw error;
  } finally {
    flat?.dispose();
  }
}

function layerOf(adapter: Adapter, { path, linear, scale, dropout }: LayerPlan, factors: Factors): AdapterLayer {
  const branch: AdapterBranch = { ...factors, scale, dropout, site: path, enabled: true, adapter };
  return { path, linear, branch, factors, content: linear.weight.initialized ? contentOf(linear.weight) : undefined };
}

function shapeOf({ linear, rank }: LayerPlan, role: Role): readonly number[] {
  if (role === "a") return [rank, linear.inFeatures];
  return role === "b" ? [linear.outFeatures, rank] : [rank];
}

function disposeFactors(all: readonly Factors[]): void {
  for (const factors of all) for (const parameter of Object.values(factors)) parameter.dispose();
}
