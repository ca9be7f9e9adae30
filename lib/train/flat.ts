/** @file All trained parameters in one flat f32 buffer, their gradients in another: an optimizer step is one kernel over them. */
import type { Parameter } from "../autograd/parameter.js";
import { engine } from "../native/engine.js";
import { LowrankError } from "../native/errors.js";
import { outsideScopes } from "../tensor/scope.js";
import { elementsOf } from "../tensor/shape.js";
import { empty, type Tensor, viewOf } from "../tensor/tensor.js";

interface Part {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

export class FlatParameters {
  readonly values: Tensor;
  readonly gradients: Tensor;
  readonly state: readonly Tensor[];
  /** Elements at the front that take weight decay. */
  readonly decayed: number;
  readonly parameters: ReadonlyMap<string, Parameter>;
  readonly #parts: readonly Part[];

  /**
   * Moves the parameters' values into one buffer, which they then are views of. Tensors of two or more dimensions, which take weight
   * decay, come first (`decayAll`: every tensor takes it).
   */
  constructor(parameters: ReadonlyMap<string, Parameter>, stateBuffers: number, decayAll: boolean) {
    const decays = (parameter: Parameter): boolean => decayAll || parameter.shape.length >= 2;
    const entries = [...parameters];
    const ordered = [...entries.filter(([, p]) => decays(p)), ...entries.filter(([, p]) => !decays(p))];
    for (const [name, parameter] of ordered) {
      if (parameter.dtype === "f32") continue;
      throw new LowrankError(
        "BAD_DTYPE",
        `train: ${name} is stored as ${parameter.dtype}; only f32 parameters can be trained. Attach an adapter, or make the module with f32.`,
        {
          tensor: name,
          expected: "f32",
          actual: parameter.dtype,
        },
      );
    }
    let end = 0;
    this.#parts = ordered.map(([name, { shape }]) => {
      const start = end;
      end += elementsOf(shape);
      return { name, start, end };
    });
    this.decayed = this.#parts[ordered.filter(([, p]) => decays(p)).length - 1]?.end ?? 0;
    this.parameters = parameters;
    const flat = (): Tensor => outsideScopes(() => empty([end], "f32", "state"));
    const partsOf = (buffer: Tensor): (readonly [Parameter, Tensor])[] =>
      ordered.map(([, parameter], i) => {
        const { shape } = parameter;
        const place = { offset: (this.#parts[i] as Part).start, ld: shape.at(-1) ?? 1 };
        return [parameter, outsideScopes(() => viewOf(buffer, shape, place))];
      });
    this.values = flat();
    // Values move first: the memory that they leave serves the gradients.
    for (const [parameter, value] of partsOf(this.values)) {
      engine().kernels.copy(value, parameter.value);
      parameter.rebind(value);
      parameter.clearGradient();
    }
    this.gradients = flat();
    this.state = Array.from({ length: stateBuffers }, flat);
    for (const buffer of [this.gradients, ...this.state]) engine().kernels.fill(buffer, 0);
    for (const [parameter, gradient] of partsOf(this.gradients)) parameter.grad = gradient;
  }

  /** Of values, gradients and state. */
  get bytes(): number {
    return (2 + this.state.length) * this.values.storage.bytes;
  }

  zeroGradients(): void {
    engine().kernels.fill(this.gradients, 0);
    this.gradients.storage.version++;
  }

  /** Called after the optimizer wrote the values in place. */
  valuesChanged(): void {
    this.values.storage.version++;
  }

  /** Name of the parameter that holds a flat index, and the index in it. */
  locate(flat: number): { readonly name: string; readonly index: number } | undefined {
    const part = this.#parts.find(({ start, end }) => flat >= start && flat < end);
    return part && { name: part.name, index: flat - part.start };
  }

  /** Frees gradients and state; the parameters keep their values. */
  dispose(): void {
    for (const parameter of this.parameters.values()) parameter.clearGradient();
    for (const buffer of [this.values, this.gradients, ...this.state]) buffer.dispose();
  }
}
