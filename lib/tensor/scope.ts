/** @file Scopes free every tensor made inside except what they return. */
import { LowrankError } from "../native/errors.js";
import type { Tensor } from "./tensor.js";

interface Owned {
  dispose(): void;
  /** Called once no scope will free it any more. */
  freeWhenDropped(): void;
}

class Scope {
  /** Tensors, and scopes inside that have not ended. */
  readonly made = new Set<{ dispose(): void }>();

  constructor(readonly parent: Scope | undefined) {
    parent?.made.add(this);
  }

  /** Frees what was made, also where that was interrupted before: by the end of the stack, for one. */
  dispose(): void {
    for (const one of this.made) one.dispose();
  }
}

let current: Scope | undefined;

/** Called by every new tensor, and for what a scope returns. */
export function track(tensor: Owned): void {
  if (current === undefined) tensor.freeWhenDropped();
  else current.made.add(tensor);
}

/** Takes a tensor out of the scope that would free it. */
export function untrack(tensor: Owned): void {
  for (let scope = current; scope !== undefined; scope = scope.parent) scope.made.delete(tensor);
}

/** Refuses functions that go on after they return: a scope would free their tensors under them. */
export function refusePromise(what: string, value: unknown): void {
  if (value !== null && typeof value === "object" && typeof (value as { then?: unknown }).then === "function") {
    throw new LowrankError(
      "ASYNC_IN_SCOPE",
      `${what}: the function returned a promise, but a scope ends when its function returns. Await data outside of the scope: make the ` +
        "function synchronous, return the tensor, and read it afterwards.",
    );
  }
}

const isAsync = (fn: unknown): boolean => typeof fn === "function" && fn.constructor.name === "AsyncFunction";

/**
 * Runs the caller's function `fn` with a scope of its own. `around` does more in the same scope: it gets `fn`, refusing promises, and gives
 * the result. What an error leaves behind is freed too.
 */
export function runScope<T>(what: string, fn: () => T, around: (run: () => T) => T = (run) => run()): T {
  if (isAsync(fn)) refusePromise(what, { then: () => undefined });
  const scope = new Scope(current);
  current = scope;
  let kept = new Set<Tensor>();
  try {
    const result = around(() => {
      const value = fn();
      if (value instanceof Promise) value.catch(() => undefined);
      refusePromise(what, value);
      return value;
    });
    kept = new Set(tensorsIn(result));
    return result;
  } finally {
    current = scope.parent;
    for (const tensor of kept) if (scope.made.delete(tensor)) track(tensor);
    scope.dispose();
    current?.made.delete(scope);
  }
}

/** Runs `fn` outside of all scopes: what it makes is freed by whoever asked for it. */
export function outsideScopes<T>(fn: () => T): T {
  const before = current;
  current = undefined;
  try {
    return fn();
  } finally {
    current = before;
  }
}

/** The tensors in a value: itself, or those in its arrays and plain objects. */
export function tensorsIn(value: unknown, found: Tensor[] = [], depth = 0): Tensor[] {
  if (value === null || typeof value !== "object" || depth > 8) return found;
  if (isTensorLike(value)) found.push(value);
  else if (Array.isArray(value)) for (const item of value) tensorsIn(item, found, depth + 1);
  else if (value instanceof Map) for (const item of value.values()) tensorsIn(item, found, depth + 1);
  else if (Object.getPrototypeOf(value) === Object.prototype) for (const item of Object.values(value)) tensorsIn(item, found, depth + 1);
  return found;
}

const isTensorLike = (value: object): value is Tensor => "storage" in value && "dispose" in value;

/**
 * Runs `fn` and frees every tensor made inside, except those in its result (a tensor, or arrays, maps and plain objects of tensors).
 * @throws LowrankError ASYNC_IN_SCOPE when `fn` is async.
 */
export function tidy<T>(fn: () => T): T {
  return runScope("tidy", fn);
}
