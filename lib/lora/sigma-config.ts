/** @file The adapter_config.json of a Σ adapter: lowrank's own (docs/adapters.md). Its `peft_type` makes PEFT refuse the folder. */
import { crypto } from "../io/crypto.js";
import { describeNode } from "../io/json-scanner.js";
import { quoted } from "../native/errors.js";
import { dtypes } from "../tensor/dtype.js";
import type { Tensor } from "../tensor/tensor.js";
import type { PeftFields } from "./peft-fields.js";

export const sigmaType = "LOWRANK_SIGMA";
const formatVersion = 1;

/** What δ belongs to: a weight by its elements. */
export interface BaseWeight {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Of its elements, row-major and little-endian, in hexadecimal. */
  readonly sha256: string;
}

export interface SigmaConfig {
  /** The largest number of singular values a layer trains; null: all. */
  readonly rank: number | null;
  /** By the paths of the adapted modules. */
  readonly base: ReadonlyMap<string, BaseWeight>;
}

/** The fingerprint of a weight as it is now, whatever is submitted later. */
export async function fingerprint(weight: Tensor): Promise<BaseWeight> {
  const { dtype, shape } = weight;
  const hash = await crypto().subtle.digest("SHA-256", await weight.data());
  return { dtype, shape, sha256: Buffer.from(hash).toString("hex") };
}

/** Whether two fingerprints are of the same elements. */
export const sameWeight = (a: BaseWeight, b: BaseWeight): boolean =>
  a.sha256 === b.sha256 && a.dtype === b.dtype && a.shape.join() === b.shape.join();

export function writeSigmaConfig({ rank, base }: SigmaConfig): string {
  const paths = [...base.keys()].sort();
  const lines = paths.map((path) => {
    const { dtype, sha256, shape } = base.get(path) as BaseWeight;
    return `    ${JSON.stringify(path)}: {"dtype": "${dtype}", "sha256": "${sha256}", "shape": [${shape.join(", ")}]}`;
  });
  return `{\n  "base": {\n${lines.join(",\n")}\n  },\n  "format": ${formatVersion},\n  "peft_type": "${sigmaType}",\n  "rank": ${rank}\n}\n`;
}

/** @throws LowrankError ADAPTER_MISSING_FIELD, ADAPTER_BAD_VALUE, ADAPTER_UNSUPPORTED_FEATURE */
export function sigmaConfigOf(fields: PeftFields): { config: SigmaConfig; warnings: string[] } {
  for (const name of ["format", "base"]) if (fields.node(name) === undefined) throw fields.missing(name, name === "format" ? "1" : "an object");
  if (fields.integer("format", 1, Number.MAX_SAFE_INTEGER, 0) !== formatVersion) {
    throw fields.unsupported("format", `a format that is newer than ${formatVersion}, the one this version of lowrank reads`);
  }
  const unknown = fields.names().filter((name) => !["base", "format", "peft_type", "rank"].includes(name));
  return {
    config: { rank: fields.isNull("rank") ? null : fields.integer("rank", 1, Number.MAX_SAFE_INTEGER, 1), base: baseOf(fields) },
    warnings: unknown.length === 0 ? [] : [`Unknown fields of adapter_config.json are ignored: ${unknown.slice(0, 10).map(quoted).join(", ")}.`],
  };
}

function baseOf(fields: PeftFields): ReadonlyMap<string, BaseWeight> {
  const node = fields.node("base");
  if (node?.kind !== "object")
    throw fields.error("ADAPTER_BAD_VALUE", node as NonNullable<typeof node>, `"base" is ${describeNode(node)}, expected an object`);
  const base = new Map<string, BaseWeight>();
  for (const [path, value] of node.members) {
    const members = value.kind === "object" ? value.members : undefined;
    const [dtype, sha256, shape] = ["dtype", "sha256", "shape"].map((name) => members?.get(name));
    const sizes = shape?.kind === "array" ? shape.items.map((item) => (item.kind === "number" ? item.integer : undefined)) : [];
    const isWhole =
      dtype?.kind === "string" && Object.hasOwn(dtypes, dtype.value) && sha256?.kind === "string" && /^[0-9a-f]{64}$/.test(sha256.value);
    if (!isWhole || sizes.length !== 2 || !sizes.every((size) => typeof size === "number" && size > 0)) {
      throw fields.error("ADAPTER_BAD_VALUE", value, `base[${quoted(path)}] is not {"dtype": a type, "sha256": 64 digits, "shape": [rows, columns]}`);
    }
    base.set(path, { dtype: dtype.value, sha256: sha256.value, shape: sizes as number[] });
  }
  return base;
}
