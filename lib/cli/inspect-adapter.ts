/** @file What an adapter's folder says about it: its configuration and the header of its tensors. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { openInput, readSmallFile } from "../io/file.js";
import { resolveInside } from "../io/inside.js";
import { openSource } from "../io/safetensors.js";
import { configFile, maxTemplateBytes, templateFile, weightsFile } from "../lora/adapter-files.js";
import { loraScale } from "../lora/lora.js";
import { readPeftConfig } from "../lora/peft-config.js";
import { PeftFields } from "../lora/peft-fields.js";
import { readSigmaConfig, sigmaType } from "../lora/sigma-config.js";
import { LowrankError } from "../native/errors.js";
import { bytesText, countText, numberText, plural } from "./format.js";

export interface InspectedAdapter {
  readonly folder: string;
  readonly method: "lora" | "sigma";
  /** null: all singular values. */
  readonly rank: number | null;
  readonly alpha: number | null;
  readonly scale: number | null;
  readonly dropout: number;
  /** Ranks of the modules, where they differ. */
  readonly ranks: readonly number[];
  /** Paths of the adapted modules. */
  readonly modules: readonly string[];
  /** As the configuration has them. */
  readonly targetModules: readonly string[] | string | null;
  readonly tensors: number;
  readonly parameters: number;
  readonly dtypes: readonly string[];
  readonly bytes: number;
  readonly baseModel: string | null;
  readonly templateHash: string | null;
  readonly warnings: readonly string[];
}

type Configured = Pick<InspectedAdapter, "method" | "rank" | "alpha" | "scale" | "dropout" | "targetModules" | "baseModel" | "warnings">;

/** @throws LowrankError ADAPTER_…, IO_…, ST_…, CONFIG_TOO_LARGE, PATH_SYMLINK_ESCAPE */
export async function inspectAdapter(folder: string): Promise<InspectedAdapter> {
  const configName = join(folder, configFile);
  const bytes = await readSmallFile(await resolveInside(folder, configFile), undefined, undefined, { followLink: false, shownAs: configName });
  const configured = configurationOf(bytes, configName);
  const shownAs = join(folder, weightsFile);
  const input = await openInput(await resolveInside(folder, weightsFile), { followLink: false, shownAs });
  await using file = await openSource(input);
  const infos = [...file.tensors.values()];
  const paths = [...file.tensors.keys()].map(modulePath);
  const unknown = paths.filter((path) => path === undefined).length;
  const ranks = [...file.tensors].flatMap(([name, { shape }]) => (name.includes(".lora_A.") || name.endsWith(".delta") ? [shape[0] ?? 0] : []));
  return {
    folder,
    ...configured,
    ranks: [...new Set(ranks)].sort((a, b) => a - b),
    modules: [...new Set(paths.filter((path) => path !== undefined))],
    tensors: infos.length,
    parameters: infos.reduce((sum, { shape }) => sum + shape.reduce((size, dim) => size * dim, 1), 0),
    dtypes: [...new Set(infos.map(({ dtype }) => dtype))],
    bytes: input.size,
    templateHash: await templateHashOf(folder),
    warnings: [
      ...configured.warnings,
      ...file.warnings,
      ...(unknown === 0 ? [] : [`${plural(unknown, "tensor")} are no factors of a linear layer; the adapter cannot be loaded with them.`]),
    ],
  };
}

function configurationOf(bytes: Uint8Array, name: string): Configured {
  const type = new PeftFields(bytes, name).node("peft_type");
  if (type?.kind === "string" && type.value === sigmaType) {
    const { config, warnings } = readSigmaConfig(bytes, name);
    const targetModules = [...config.base.keys()];
    return { method: "sigma", rank: config.rank, alpha: null, scale: null, dropout: 0, targetModules, baseModel: null, warnings };
  }
  const { config, warnings } = readPeftConfig(bytes, name);
  const { r: rank, loraAlpha: alpha, loraDropout: dropout, targetModules, baseModelNameOrPath: baseModel } = config;
  return { method: "lora", rank, alpha, scale: loraScale(alpha, rank, config.useRslora), dropout, targetModules, baseModel, warnings };
}

/** The module that a tensor belongs to, by its name. */
function modulePath(name: string): string | undefined {
  const match = /^(?:base_model\.model\.)?(.+?)\.(?:lora_[AB](?:\.[^.]+)?\.weight|delta)$/.exec(name);
  return match?.[1];
}

async function templateHashOf(folder: string): Promise<string | null> {
  try {
    const path = await resolveInside(folder, templateFile);
    const bytes = await readSmallFile(path, maxTemplateBytes, "TEMPLATE_TOO_LARGE", { followLink: false, shownAs: join(folder, templateFile) });
    return createHash("sha256").update(bytes).digest("hex");
  } catch (error) {
    if (error instanceof LowrankError && error.code === "IO_NOT_FOUND") return null;
    throw error;
  }
}

/** For people. */
export function adapterRows(found: InspectedAdapter): [name: string, value: string][] {
  const { method, rank, ranks, alpha, scale, modules } = found;
  const rankText = rank === null ? "all singular values" : countText(rank);
  return [
    ["adapter", method],
    ["rank", ranks.length > 1 ? `${rankText} (in the tensors: ${ranks.join(", ")})` : rankText],
    ...(alpha === null
      ? []
      : [["alpha", `${numberText(alpha)} (scale ${numberText(scale ?? undefined)}), dropout ${numberText(found.dropout)}`] as [string, string]]),
    ["modules", `${countText(modules.length)}: ${endings(modules)}`],
    ["tensors", `${countText(found.tensors)} of ${found.dtypes.join(", ")}, ${countText(found.parameters)} numbers, ${bytesText(found.bytes)}`],
    ["base model", found.baseModel ?? "not named"],
    ["chat template", found.templateHash ?? "none beside it"],
    ...found.warnings.map((warning): [string, string] => ["warning", warning]),
  ];
}

/** The different last parts of paths. */
const endings = (paths: readonly string[]): string => [...new Set(paths.map((path) => path.slice(path.lastIndexOf(".") + 1)))].join(", ");
