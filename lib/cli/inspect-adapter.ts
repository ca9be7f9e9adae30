/** @file What an adapter's folder says about it: its configuration and the header of its tensors. */
import { loraScale } from "../lora/lora.js";
import { type OpenAdapter, openAdapter } from "../lora/open-adapter.js";
import { elementsOf } from "../tensor/shape.js";
import { ChatTemplate } from "../text/index.js";
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

/** @throws LowrankError ADAPTER_…, IO_…, ST_…, TEMPLATE_…, CONFIG_TOO_LARGE, PATH_SYMLINK_ESCAPE */
export async function inspectAdapter(folder: string): Promise<InspectedAdapter> {
  await using open = await openAdapter(folder);
  const { file, chatTemplate } = open;
  const configured = configuredOf(open);
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
    parameters: infos.reduce((sum, { shape }) => sum + elementsOf(shape), 0),
    dtypes: [...new Set(infos.map(({ dtype }) => dtype))],
    bytes: open.bytes,
    templateHash: chatTemplate === undefined ? null : new ChatTemplate(chatTemplate, folder).hash,
    warnings: [
      ...configured.warnings,
      ...file.warnings,
      ...(unknown === 0 ? [] : [`${plural(unknown, "tensor")} are no factors of a linear layer; the adapter cannot be loaded with them.`]),
    ],
  };
}

function configuredOf({ stored }: OpenAdapter): Configured {
  const { method, warnings } = stored;
  if (stored.method === "sigma") {
    const { rank, base } = stored.config;
    return { method, rank, alpha: null, scale: null, dropout: 0, targetModules: [...base.keys()], baseModel: null, warnings };
  }
  const { r: rank, loraAlpha: alpha, loraDropout: dropout, targetModules, useRslora, baseModelNameOrPath: baseModel } = stored.config;
  return { method, rank, alpha, scale: loraScale(alpha, rank, useRslora), dropout, targetModules, baseModel, warnings };
}

/** The module that a tensor belongs to, by its name. */
function modulePath(name: string): string | undefined {
  const match = /^(?:base_model\.model\.)?(.+?)\.(?:lora_[AB](?:\.[^.]+)?\.weight|delta)$/.exec(name);
  return match?.[1];
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
