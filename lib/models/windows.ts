/** @file Which layers see only the last tokens. */
import { quoted } from "../native/errors.js";
import type { ConfigFields } from "./config-fields.js";
import type { ModelType } from "./config-keys.js";

/** The largest window of a file. */
const maxWindow = 2 ** 30;

/**
 * The window of each layer: with a window of w, position q sees q - w + 1 … q; undefined is full causal attention.
 * - llama: no windows.
 * - mistral: all layers have `sliding_window` (4,096 when absent), none when it is null.
 * - qwen2, qwen3: with `use_sliding_window`, the layers from `max_window_layers` on have `sliding_window`; without, none has.
 * - `layer_types`, where present, says for each layer whether it has the window (Ministral is a mistral with `layer_types`).
 * @throws LowrankError `MODEL_CONFIG_RANGE`, `MODEL_CONFIG_CONFLICT`, `MODEL_UNSUPPORTED_FEATURE`
 */
export function readWindows(fields: ConfigFields, family: ModelType, layers: number): readonly (number | undefined)[] {
  const window = windowOf(fields, family);
  const slides = readLayerTypes(fields, layers);
  if (slides !== undefined && window === undefined && slides.includes(true)) {
    const problem = `"layer_types" gives layer ${slides.indexOf(true)} a sliding window, but the file sets no window${family === "llama" ? "" : ' (see "sliding_window" and "use_sliding_window")'}`;
    throw fields.conflict("layer_types", problem, "full_attention");
  }
  const first = family === "qwen2" || family === "qwen3" ? fields.integer("max_window_layers", 0, 1_000_000, 28) : 0;
  return Array.from({ length: layers }, (_, layer) => ((slides?.[layer] ?? layer >= first) ? window : undefined));
}

/** The window of the layers that have one. */
function windowOf(fields: ConfigFields, family: ModelType): number | undefined {
  // The key is refused in a llama file, unless it is null.
  if (family === "llama") return undefined;
  const uses = fields.isNull("use_sliding_window") ? undefined : fields.boolean("use_sliding_window", false);
  if (family === "mistral") {
    const window = fields.isNull("sliding_window") && fields.has("sliding_window") ? undefined : fields.integer("sliding_window", 1, maxWindow, 4096);
    if (uses === undefined || uses === (window !== undefined)) return window;
    const problem = `"use_sliding_window" is ${uses}, but "sliding_window" is ${window ?? "null"}, and a mistral has a window exactly when that is a number`;
    throw fields.conflict("use_sliding_window", problem, !uses);
  }
  if (!uses) return undefined;
  const window = fields.has("sliding_window") ? fields.integerOrNull("sliding_window", 1, maxWindow, undefined) : 4096;
  if (window !== undefined) return window;
  throw fields.conflict("use_sliding_window", '"use_sliding_window" is true, but "sliding_window" is null', false);
}

/** For each layer whether it has the window; undefined when the file does not say. */
function readLayerTypes(fields: ConfigFields, layers: number): readonly boolean[] | undefined {
  const items = fields.list("layer_types");
  if (items === undefined) return undefined;
  if (items.length !== layers) {
    throw fields.conflict("layer_types", `"layer_types" has ${items.length} entries, and "num_hidden_layers" is ${layers}`, layers);
  }
  return items.map((item) => {
    if (item.kind === "string") {
      if (item.value === "sliding_attention") return true;
      // Older files say "attention".
      if (item.value === "full_attention" || item.value === "attention") return false;
      throw fields.unsupported("layer_types", `it holds ${quoted(item.value)}`, '"full_attention" and "sliding_attention"');
    }
    throw fields.range("layer_types", item, 'names only in its list: "full_attention" or "sliding_attention"');
  });
}
