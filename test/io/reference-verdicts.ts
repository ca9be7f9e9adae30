/** @file The recorded verdicts of the reference reader (scripts/make-safetensors-verdicts.py). */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseSafetensors, type SafetensorsFile } from "../../lib/io/safetensors.js";

interface Verdicts {
  readonly versions: Readonly<Record<string, string>>;
  readonly cases: Readonly<Record<string, { readonly sha256: string; readonly verdict: "ok" | "error" }>>;
  /** `accepted`: index of the mutation → digest of its tensors as the reference reader gave them. */
  readonly mutations: { readonly sha256: string; readonly count: number; readonly accepted: Readonly<Record<string, string>> };
  readonly written: Readonly<
    Record<string, { readonly sha256: string; readonly metadata: Record<string, string>; readonly tensors: readonly string[] }>
  >;
}

const fixture = (name: string): URL => new URL(`../fixtures/safetensors/${name}`, import.meta.url);

export const verdicts = JSON.parse(readFileSync(fixture("reference-verdicts.json"), "utf8")) as Verdicts;

/** A file written by the reference writer. */
export const referenceWritten = new Uint8Array(readFileSync(fixture("reference-written.safetensors")));

export function sha256(...pieces: Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const piece of pieces) hash.update(piece);
  return hash.digest("hex");
}

/** The tensors as text, as the script writes them. `raw`: the file's bytes (BOOL is not normalised here). */
export function tensorLines(raw: Uint8Array, file: SafetensorsFile = parseSafetensors(raw)): string[] {
  return [...file.tensors]
    .map(([name, { dtype, shape, bytes, offset }]) => {
      const data = Buffer.from(raw.subarray(offset, offset + bytes)).toString("hex");
      return `${Buffer.from(name).toString("hex")} ${dtype} [${shape.join(",")}] ${data}`;
    })
    .sort();
}
