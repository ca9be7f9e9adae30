/** @file Module: the base class of models. Parameters and child modules are found by the names of the fields that hold them. */
import { Parameter } from "../autograd/parameter.js";
import { siteOf } from "../autograd/randomness.js";
import { LowrankError, nearest, quoted } from "../native/errors.js";
import { isQuantized } from "../tensor/dtype.js";
import { constant } from "./init.js";
import { type LoadOptions, loadParameters, saveParameters } from "./module-file.js";

/**
 * The base class of models and of users' own modules. A field that is a `Parameter`, a `Module`, or an array of modules belongs to the
 * module under its name: `fc1.weight`, `layers.0.fc1.weight`, … (private `#` fields are not seen).
 */
export abstract class Module {
  /** All parameters by path, in the order of the fields. One that is used under two names appears under the first. */
  parameters(): Map<string, Parameter> {
    const seen = new Set<Parameter>();
    const found = new Map<string, Parameter>();
    for (const [path, module] of this.modules()) {
      for (const [name, value] of Object.entries(module)) {
        if (!(value instanceof Parameter) || seen.has(value)) continue;
        seen.add(value);
        found.set(join(path, name), value);
      }
    }
    return found;
  }

  /** This module (path "") and all below it, by path, parents first. */
  modules(): Map<string, Module> {
    const found = new Map<string, Module>();
    const seen = new Set<Module>();
    const visit = (path: string, module: Module): void => {
      if (seen.has(module)) return;
      seen.add(module);
      found.set(path, module);
      for (const [name, value] of Object.entries(module)) {
        if (value instanceof Module) visit(join(path, name), value);
        else if (Array.isArray(value)) {
          value.forEach((item, i) => {
            if (item instanceof Module) visit(join(path, `${name}.${i}`), item);
          });
        }
      }
    };
    visit("", this);
    return found;
  }

  /** The module at a path. @throws LowrankError NAME_UNKNOWN with the nearest names. */
  module(path: string): Module {
    const modules = this.modules();
    const found = modules.get(path);
    if (found !== undefined) return found;
    const near = nearest(path, modules.keys());
    throw new LowrankError(
      "NAME_UNKNOWN",
      `There is no module ${JSON.stringify(path)}.${near.length > 0 ? ` Did you mean ${near.join(" or ")}?` : ""}`,
      {
        actual: path,
        expected: near,
      },
    );
  }

  /**
   * Gives every parameter its initial value, as PyTorch's modules do (`initialValues` of each kind of module). Every value is a pure
   * function of the seed and the parameter's path.
   * @throws LowrankError BAD_ARGUMENT; BAD_DTYPE for an int8 or nf4 parameter that was not made of a tensor, whose value stays
   */
  initialize(seed = 0): this {
    if (!Number.isSafeInteger(seed) || seed < 0)
      throw new LowrankError("BAD_ARGUMENT", `initialize: the seed is a natural number, found ${String(seed)}`);
    for (const [path, module] of this.modules()) {
      module.placed(path);
      for (const [name, value] of Object.entries(module)) {
        if (value instanceof Parameter) module.#initialize(join(path, name), name, value, seed);
      }
    }
    return this;
  }

  #initialize(path: string, name: string, parameter: Parameter, seed: number): void {
    if (!isQuantized(parameter.dtype)) return this.initializeParameter(name, parameter, { seed, site: siteOf(path) });
    if (parameter.given) return;
    const message = `initialize: ${quoted(path)} is ${parameter.dtype} and has no initial value. Make it of a tensor: new Parameter(quantize(x, "${parameter.dtype}")).`;
    throw new LowrankError("BAD_DTYPE", message, { tensor: path, actual: parameter.dtype });
  }

  /** Fills one parameter of this module. The default is zeros, and nothing for one that was made of a tensor. Overridden by modules that know better. */
  protected initializeParameter(_name: string, parameter: Parameter, _random: RandomSource): void {
    if (!parameter.given) constant(parameter, 0);
  }

  /** Told where this module stands in the model that is initialized or loaded. */
  protected placed(_path: string): void {}

  /**
   * Writes all parameters to a safetensors file, atomically. The names are those of `parameters()`.
   * @throws LowrankError NOT_INITIALIZED, BAD_DTYPE (an int8 or nf4 parameter), IO_…
   */
  async save(file: string): Promise<void> {
    await saveParameters(this.parameters(), file);
  }

  /**
   * Reads parameters from a safetensors file. Everything is read and checked before the first parameter changes. With `strict` (default)
   * file and module must have the same names. A stored f32, bf16 or f16 tensor is converted to the parameter's dtype.
   * @throws LowrankError TENSOR_MISSING, TENSOR_UNEXPECTED, TENSOR_SHAPE, DTYPE_UNSUPPORTED, BAD_DTYPE (an int8 or nf4 parameter), ST_…, IO_…,
   * WRONG_FILE_TYPE, ABORTED
   */
  async load(file: string, options: LoadOptions = {}): Promise<this> {
    await loadParameters(this.parameters(), file, options);
    for (const [path, module] of this.modules()) module.placed(path);
    return this;
  }

  /** Frees all parameters and gradients. */
  dispose(): void {
    for (const parameter of this.parameters().values()) parameter.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Where the random numbers of an initial value come from. */
export interface RandomSource {
  readonly seed: number;
  /** Hash of the parameter's path. */
  readonly site: number;
}

const join = (path: string, name: string): string => (path === "" ? name : `${path}.${name}`);
