/**
 * @file The tape: what was computed, in order, with what its gradients need. Recording order is a topological order, so walking from the
 * end needs no sort and is deterministic.
 */
import { engine, type View } from "../native/engine.js";
import { LowrankError } from "../native/errors.js";
import type { AnyOp } from "../ops/op.js";
import { outsideScopes } from "../tensor/scope.js";
import { shapeText } from "../tensor/shape.js";
import { empty, type Tensor } from "../tensor/tensor.js";
import { type Parameter, parameterOf } from "./parameter.js";

/** Where a gradient goes: to a parameter, or to the tensor with this id, which an earlier node made. */
export type Target = Parameter | number;

export interface TapeNode {
  /** Id of the tensor that the node made. */
  readonly output: number;
  /** Calls `give` with the gradient of each input that needs one; `give` takes the tensor over. */
  backward(dy: Tensor, give: (target: Target, gradient: Tensor) => void): void;
  /** Lets go of what it kept. */
  release(): void;
}

export class Tape {
  readonly nodes: TapeNode[] = [];
  readonly #tracked = new Set<number>();
  /** Ids of tensors that stand for leaves of a recomputed part. */
  readonly #leaves = new Set<number>();
  /** By the id of its output: nodes whose output is computed again where it is needed. */
  readonly #makers = new Map<number, OpNode>();
  /** The parameters that something recorded depends on. */
  readonly #parameters = new Set<Parameter>();

  /** `wanted`: the parameters that get a gradient; undefined: every trainable one. */
  constructor(readonly wanted?: ReadonlySet<Parameter>) {}

  /** Where the gradient of `tensor` goes, or undefined when it needs none. */
  targetOf(tensor: Tensor): Target | undefined {
    if (this.#tracked.has(tensor.id)) return tensor.id;
    const parameter = parameterOf(tensor);
    if (parameter === undefined || !this.wants(parameter)) return undefined;
    this.#parameters.add(parameter);
    return parameter;
  }

  wants(parameter: Parameter): boolean {
    return this.wanted === undefined ? parameter.trainable : this.wanted.has(parameter);
  }

  /** Makes a tensor a leaf whose gradient the walk returns. */
  addLeaf(tensor: Tensor): void {
    this.#tracked.add(tensor.id);
    this.#leaves.add(tensor.id);
  }

  push(node: TapeNode): void {
    this.nodes.push(node);
    this.#tracked.add(node.output);
    if (node instanceof OpNode && node.op.remake) this.#makers.set(node.output, node);
  }

  /** The node that can make the tensor with this id again, if there is one. */
  makerOf(id: number): OpNode | undefined {
    return this.#makers.get(id);
  }

  /**
   * Walks from the end; adds to each parameter's `grad`; returns the gradients of leaves by id. Takes `seed` over. When it throws, the
   * parameters have no gradient at all, rather than half a sum.
   */
  walk(output: number, seed: Tensor): Map<number, Tensor> {
    const gradients = new Map<number, Tensor>([[output, seed]]);
    const give = (target: Target, gradient: Tensor): void => {
      if (typeof target !== "number") return target.addGradient(gradient);
      const before = gradients.get(target);
      if (before === undefined) gradients.set(target, gradient);
      else {
        engine().kernels.accumulate(before, gradient);
        gradient.dispose();
      }
    };
    try {
      for (let node = this.nodes.pop(); node !== undefined; node = this.nodes.pop()) {
        const dy = gradients.get(node.output);
        gradients.delete(node.output);
        try {
          if (dy !== undefined) node.backward(dy, give);
        } finally {
          dy?.dispose();
          node.release();
        }
      }
    } catch (error) {
      for (const gradient of gradients.values()) gradient.dispose();
      for (const parameter of this.#parameters) parameter.clearGradient();
      throw error;
    }
    return gradients;
  }

  /** Lets go of everything that is still kept. */
  release(): void {
    for (const node of this.nodes) node.release();
    this.nodes.length = 0;
  }
}

/** What a node keeps of its call. */
interface Kept {
  readonly name: string;
  /** What was kept, or made again. @throws LowrankError MODIFIED_BEFORE_BACKWARD */
  view(op: string): View;
  release(): void;
}

/** A view with a count of its storage, of which it remembers the version. */
class KeptView implements Kept {
  readonly #view: View;
  readonly #storage: Tensor["storage"];
  readonly #version: number;

  constructor(
    readonly name: string,
    readonly shape: readonly number[],
    tensor: Tensor,
  ) {
    const { handle, dtypeCode, offset, rows, cols, ld } = tensor;
    this.#view = { handle, dtypeCode, offset, rows, cols, ld };
    this.#storage = tensor.storage.retain();
    this.#version = tensor.storage.version;
  }

  view(op: string): View {
    if (this.#storage.version === this.#version) return this.#view;
    throw new LowrankError(
      "MODIFIED_BEFORE_BACKWARD",
      `${op}: ${this.name} ${shapeText(this.shape)} was changed in place after it was used and before its gradient was computed. Change parameters after ` +
        "valueAndGrad has returned.",
      { op, tensor: this.name },
    );
  }

  release(): void {
    this.#storage.release();
  }
}

/** The output of an earlier node, which makes it again. */
class KeptMaker implements Kept {
  constructor(
    readonly name: string,
    readonly maker: OpNode,
  ) {}

  view(): View {
    return this.maker.remade();
  }

  release(): void {}
}

export interface WantedInput {
  readonly name: string;
  readonly shape: readonly number[];
  readonly target: Target;
}

/** One call of an op. */
export class OpNode implements TapeNode {
  readonly output: number;
  readonly #shape: readonly number[];
  readonly #kept: Kept[] = [];
  #remade: Tensor | undefined;

  constructor(
    readonly op: AnyOp,
    readonly params: object,
    y: Tensor,
    readonly outputName: string,
    readonly wanted: readonly WantedInput[],
    /** Inputs, outputs and saves of the call: what `keeps` and the saves name is kept. */
    named: Readonly<Record<string, Tensor | undefined>>,
    tape: Tape,
  ) {
    this.output = y.id;
    this.#shape = y.shape;
    const keep = (name: string): void => {
      const tensor = named[name];
      if (tensor === undefined) return;
      const maker = tape.makerOf(tensor.id);
      this.#kept.push(maker === undefined ? new KeptView(name, tensor.shape, tensor) : new KeptMaker(name, maker));
    };
    op.keeps?.forEach(keep);
    for (const { name } of op.parsed.saves) keep(name);
  }

  backward(dy: Tensor, give: (target: Target, gradient: Tensor) => void): void {
    const views = this.#views();
    views[`d${this.outputName}`] = dy;
    const made: Tensor[] = [];
    try {
      for (const { name, shape } of this.wanted) {
        const gradient = outsideScopes(() => empty(shape, "f32"));
        made.push(gradient);
        views[`d${name}`] = gradient;
      }
      this.op.backward?.(engine().kernels, views, this.params);
    } catch (error) {
      for (const gradient of made) gradient.dispose();
      throw error;
    }
    this.wanted.forEach(({ target }, i) => {
      give(target, made[i] as Tensor);
    });
  }

  /** The output again, until `release`: nodes that need it stand later on the tape, so their gradients are computed before. */
  remade(): View {
    if (this.#remade !== undefined) return this.#remade;
    const views = this.#views();
    const y = outsideScopes(() => empty(this.#shape, "f32"));
    this.#remade = y;
    views[this.outputName] = y;
    this.op.forward(engine().kernels, views, this.params);
    return y;
  }

  release(): void {
    this.#remade?.dispose();
    for (const kept of this.#kept) kept.release();
  }

  #views(): Record<string, View> {
    const views: Record<string, View> = {};
    for (const kept of this.#kept) views[kept.name] = kept.view(this.op.name);
    return views;
  }
}
