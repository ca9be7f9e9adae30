/** @file The tensor: a typed, shaped view of a native buffer. Ops are functions, not methods. */
import { engine, type View } from "../native/engine.js";
import { LowrankError } from "../native/errors.js";
import { type DataOf, type DType, dtypes, isQuantized, storageBytes } from "./dtype.js";
import { track, untrack } from "./scope.js";
import { type Dyn, elementsOf, type Known, type Shape, type Sizes, shapeText } from "./shape.js";
import { Storage, type StorageKind } from "./storage.js";

declare const dims: unique symbol;

/**
 * Frees the buffers of tensors that were dropped without dispose(). Finalizers do not run in a synchronous loop: a safety net only, and none
 * for tensors in a scope, which frees them.
 */
const dropped = new FinalizationRegistry<Storage>((storage) => storage.release());

let nextId = 1;

/** In every tensor: a clone, which has lost the class, can be told from other objects by it. */
const brand = "lowrank.Tensor";

/** Where a tensor lies in its storage: rows of the folded leading axes, `ld` elements apart. */
export interface Layout {
  readonly offset: number;
  readonly ld: number;
}

/**
 * A tensor. `Shape` lists its sizes where the compiler knows them: literals, names ("B"), or Dyn; `dtype` its element type.
 * It owns a part of a native buffer until `dispose()` (or the end of the `tidy` scope that made it). A tensor belongs to the
 * environment (main thread or worker) that made it.
 */
export class Tensor<out S extends Shape = Dyn, out D extends DType = Dyn> implements View {
  declare readonly [dims]: S;
  readonly shape: Sizes<S>;
  readonly dtype: D;
  readonly device = "cpu";
  /** @internal */
  readonly brand = brand;
  /** Unique in this environment. @internal */
  readonly id: number = nextId++;
  /** @internal */
  readonly storage: Storage;
  /** @internal */
  readonly dtypeCode: number;
  /** @internal */
  readonly offset: number;
  /** @internal */
  readonly ld: number;
  /** @internal */
  readonly rows: number;
  /** @internal */
  readonly cols: number;
  #disposed = false;
  #registered = false;

  /** Takes over one count of `storage`. Made by ops and by `tensor`, `zeros` and `ones`. @internal */
  constructor(storage: Storage, shape: readonly number[], dtype: D, layout?: Layout) {
    this.storage = storage;
    this.shape = Object.freeze([...shape]) as Sizes<S>;
    this.dtype = dtype;
    this.dtypeCode = dtypes[dtype as DType].code;
    this.cols = shape.length === 0 ? 1 : (shape[shape.length - 1] as number);
    this.rows = elementsOf(shape, shape.length - 1);
    this.offset = layout?.offset ?? 0;
    this.ld = layout?.ld ?? this.cols;
    track(this);
  }

  /** @internal */
  freeWhenDropped(): void {
    if (this.#disposed) return;
    dropped.register(this, this.storage, this);
    this.#registered = true;
  }

  /** @internal */
  get handle(): number {
    if (this.#disposed) {
      throw new LowrankError("DISPOSED", `This ${this} was disposed before this use. Return it from its tidy scope, or dispose it later.`);
    }
    return this.storage.handle;
  }

  /** Number of elements. */
  get size(): number {
    return this.rows * this.cols;
  }

  /** Whether rows follow each other without a gap. @internal */
  get packed(): boolean {
    return this.ld === this.cols || this.rows <= 1;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /**
   * A copy of the elements, row-major: Float32Array, Int32Array, Uint8Array, the bit patterns of bf16 and f16 as Uint16Array, or all bytes of an
   * int8 or nf4 tensor.
   * Waits, without blocking the event loop, for everything that the tensor depends on.
   * @throws LowrankError the failure of a computation it depends on (INDEX_OUT_OF_RANGE, ABORTED, …); DISPOSED.
   */
  async data(): Promise<D extends DType ? DataOf[D] : never> {
    const info = dtypes[this.dtype as DType];
    const bytes = new Uint8Array(storageBytes(this.shape, this.dtype));
    await engine().read(isQuantized(this.dtype) ? bytesOf(this) : this, bytes);
    return new info.array(bytes.buffer) as D extends DType ? DataOf[D] : never;
  }

  /** The element of a tensor that has exactly one. */
  async item(): Promise<number> {
    if (isQuantized(this.dtype))
      throw new LowrankError("BAD_DTYPE", `item: the elements of ${this} are read by cast(x, "f32")`, { actual: this.dtype });
    if (this.size !== 1) throw new LowrankError("NOT_SCALAR", `item: expected one element, found ${this.size} in ${shapeText(this.shape)}`);
    return (await this.data())[0] as number;
  }

  /**
   * The same tensor with names or literals for sizes the compiler does not know: `x.as(["B", "T", 768])`. Names fit every size;
   * equal names must have equal sizes.
   * @throws LowrankError BAD_SHAPE when a literal, a repeated name or the rank disagrees.
   */
  as<const T extends Shape>(shape: T & { readonly length: S["length"] }): Tensor<Known<T>, D> {
    const named = new Map<string, number>();
    const fits = shape.length === this.shape.length && shape.every((dim, i) => fitsDim(dim, this.shape[i] as number, named));
    if (fits) return this as unknown as Tensor<Known<T>, D>;
    throw new LowrankError("BAD_SHAPE", `as: the tensor is ${shapeText(this.shape)}, not ${shapeText(shape)}`, {
      expected: shape,
      actual: this.shape,
    });
  }

  /** Lets go of the buffer. A second call does nothing. */
  dispose(): void {
    if (this.#disposed) return;
    if (this.#registered) dropped.unregister(this);
    untrack(this);
    this.storage.release();
    this.#disposed = true; // at last: where the stack ends before, a scope tries again
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return `Tensor ${shapeText(this.shape)} ${this.dtype}`;
  }
}

function fitsDim(dim: number | string, size: number, named: Map<string, number>): boolean {
  if (typeof dim === "number") return dim === size || dim === -1;
  const before = named.get(dim);
  named.set(dim, size);
  return before === undefined || before === size;
}

/** A new tensor with arbitrary contents. */
export function empty<D extends DType>(shape: readonly number[], dtype: D, kind?: StorageKind): Tensor<Dyn, D> {
  return new Tensor<Dyn, D>(new Storage(storageBytes(shape, dtype), kind), shape, dtype);
}

/** The bytes of a tensor whose rows are packed, or the first `count` of them, as a view. */
export function bytesOf(tensor: Tensor, count = storageBytes(tensor.shape, tensor.dtype)): View {
  return { handle: tensor.handle, dtypeCode: dtypes.u8.code, offset: 0, rows: 1, cols: count, ld: count };
}

/** Another handle on (a part of) the same storage. */
export function viewOf(base: Tensor, shape: readonly number[], layout: Layout): Tensor {
  base.handle;
  return new Tensor(base.storage.retain(), shape, base.dtype, layout);
}

/** Checks that an argument is a live tensor of this environment. The names of function and argument stand in the error. */
export function checkTensor(fn: string, value: unknown, argument?: string): Tensor {
  if (!(value instanceof Tensor)) throw notATensor(argument === undefined ? fn : `${fn}: ${argument}`, value);
  value.handle;
  return value;
}

function notATensor(where: string, value: unknown): LowrankError {
  const tensor = value as Partial<Tensor> | null | undefined;
  if (tensor?.brand !== brand) {
    return new LowrankError("BAD_ARGUMENT", `${where}: expected a Tensor, found ${value === null ? "null" : typeof value}`);
  }
  if (typeof tensor.dispose === "function") {
    return new LowrankError(
      "BAD_ARGUMENT",
      `${where}: this tensor was made by another copy of lowrank. Load the package once, from one place (npm ls lowrank).`,
    );
  }
  return new LowrankError(
    "WRONG_ENVIRONMENT",
    `${where}: this is a clone of a tensor, made by postMessage, workerData or structuredClone. A tensor belongs to the thread that made it: ` +
      "send its data() instead, and make a tensor of it here.",
    { expected: "a Tensor", actual: "a clone of a Tensor" },
  );
}
