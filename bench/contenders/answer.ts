/** @file What a program of a comparison tells: one line of JSON on stdout, and nothing else there. */
import { readFileSync } from "node:fs";

/** What a program measured. Its answer was right: a wrong one is an error, exit code 1 and no line. */
export interface Answer {
  readonly contender: string;
  /** `gemm MxNxK` or `lora-step`. */
  readonly work: string;
  /** How many it computed with: fewer than asked for where it offers no more. */
  readonly threads: number;
  readonly unit: "GFLOP/s" | "tokens/s";
  /** The median of `samples` measurements; more is better. */
  readonly value: number;
  readonly samples: number;
  /** Floating-point operations of the work in a second, counted once for everybody. */
  readonly gflops: number;
  /** The largest error, as a share of what is allowed (gemm). */
  readonly errorOfBound?: number;
  /** The loss of every step, the first ones included (lora-step). */
  readonly losses?: readonly number[];
  /** The largest resident memory of the process, loading included (lora-step). */
  readonly peakRssBytes?: number;
  readonly versions: Readonly<Record<string, string>>;
}

/** What a program tells that cannot run: it ends with `unavailableStatus`. */
export interface Unavailable {
  readonly contender: string;
  readonly unavailable: string;
  readonly remedy: string;
}

export const unavailableStatus = 3;

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  if (sorted.length === 0) return Number.NaN;
  return ((sorted[Math.ceil(middle) - 1] as number) + (sorted[Math.floor(middle)] as number)) / 2;
}

const install = "npm install --prefix bench/contenders";

/** A package of bench/contenders/package.json; where it is not installed, the program says so and ends. */
export async function optionalPackage<T>(contender: string, name: string): Promise<T> {
  try {
    return (await import(name)) as T;
  } catch (error) {
    if ((error as { code?: string }).code !== "ERR_MODULE_NOT_FOUND") throw error;
    endUnavailable({ contender, unavailable: `the package ${name} is not installed`, remedy: install });
  }
}

export function endUnavailable(line: Unavailable): never {
  console.log(JSON.stringify(line));
  process.exit(unavailableStatus);
}

/** The versions of installed packages of bench/contenders/package.json, and of Node. */
export function versionsOf(...names: readonly string[]): Record<string, string> {
  const version = (name: string): string =>
    (JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url), "utf8")) as { version: string }).version;
  return { ...Object.fromEntries(names.map((name) => [name, version(name)])), node: process.versions.node };
}
