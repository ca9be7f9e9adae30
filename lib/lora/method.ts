/** @file What a method of adaptation is. Each method is one file; everything else about adapters is shared. */
import type { Parameter } from "../autograd/parameter.js";
import type { Linear } from "../nn/index.js";

export type MethodName = "lora" | "sigma";

/** A factor of a branch y += scale · ((drop(x)·aᵀ)·middle)·bᵀ: a [R, I], b [O, R], middle [R] (a diagonal). */
export type Role = "a" | "b" | "middle";

export type Factors = Readonly<Partial<Record<Role, Parameter>>> & { readonly a: Parameter; readonly b: Parameter };

/** A layer that gets a branch. */
export interface LayerPlan {
  /** From the root of the module that the adapter is attached to. */
  readonly path: string;
  readonly linear: Linear;
  readonly rank: number;
  readonly scale: number;
  readonly dropout: number;
}

export interface Method {
  readonly name: MethodName;
  /** The factors a branch has. */
  readonly roles: readonly Role[];
  /** Those of them that train; the others never change. */
  readonly trains: readonly Role[];
  /** The rank for a layer; `wanted` is what the user asked for, Infinity when nothing was said. */
  rankOf(linear: Linear, wanted: number): number;
  /** The name of a trained factor in files. */
  tensorName(path: string, role: Role): string;
  /** Gives every factor of a branch its value. Trained ones are filled in place (they share one buffer), frozen ones may be rebound. */
  initialize(plan: LayerPlan, factors: Factors, seed: number): void;
}
