/**
 * @file The keys of config.json about rotary positions, in both layouts: `rope_parameters` (transformers 5) and `rope_theta` with
 * `rope_scaling` (older). A parameter is used, or refused by name; nothing is skipped.
 */
import { nearest, quoted } from "../native/errors.js";
import type { ConfigFields } from "./config-fields.js";
import { type RopeSettings, ropeTypes } from "./rope.js";

/** The base of all four families when the file does not name one. */
const defaultTheta = 10_000;
/** Positions and context lengths of a file. */
export const maxPositionCount = 2 ** 30;

/** Parameters of the nested object that go into {@link RopeSettings}, per type; `rope_theta` goes with each. */
export const ropeParameters: Readonly<Record<RopeSettings["type"], readonly string[]>> = {
  default: [],
  linear: ["factor"],
  dynamic: ["factor"],
  yarn: ["factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"],
  longrope: ["factor", "original_max_position_embeddings", "attention_factor", "short_factor", "long_factor"],
  llama3: ["factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"],
};
const common = ["rope_type", "type", "rope_theta", "partial_rotary_factor", "mrope_section"];
const known = new Set([...common, ...Object.values(ropeParameters).flat()]);

interface Sizes {
  readonly headDim: number;
  readonly maxPositions: number;
}

/**
 * The settings that a file asks for. Where it holds both layouts (some writers do, for older readers), they must say the same.
 * @throws LowrankError `MODEL_CONFIG_RANGE`, `MODEL_CONFIG_MISSING`, `MODEL_CONFIG_CONFLICT`, `MODEL_CONFIG_UNKNOWN_KEY`,
 *   `MODEL_UNSUPPORTED_FEATURE`
 */
export function readRope(fields: ConfigFields, sizes: Sizes): RopeSettings {
  const theta = readTheta(fields, defaultTheta);
  const nested = fields.object("rope_parameters");
  const flat = fields.object("rope_scaling");
  const settings = readLayout(fields, nested ?? flat, theta, sizes);
  if ((nested ?? flat)?.has("rope_theta") && fields.has("rope_theta") && settings.theta !== theta) {
    const place = nested === undefined ? "rope_scaling" : "rope_parameters";
    throw fields.conflict("rope_theta", `"rope_theta" is ${theta}, and ${settings.theta} in "${place}"`, settings.theta);
  }
  if (nested !== undefined && flat !== undefined && JSON.stringify(readLayout(fields, flat, theta, sizes)) !== JSON.stringify(settings)) {
    throw fields.conflict("rope_scaling", '"rope_scaling" and "rope_parameters" describe different rotary positions', "the same values in both");
  }
  return settings;
}

/** One layout: the nested object, or none, and the base of the top level. */
function readLayout(fields: ConfigFields, parameters: ConfigFields | undefined, outerTheta: number, sizes: Sizes): RopeSettings {
  if (parameters === undefined) return { type: "default", theta: outerTheta };
  const type = typeOf(parameters);
  checkKeys(parameters, type);
  const theta = readTheta(parameters, outerTheta);
  switch (type) {
    case "default":
      return { type, theta };
    case "linear":
      return { type, theta, factor: factorOf(parameters) };
    case "dynamic":
      if (sizes.headDim <= 2) throw fields.unfit("head_dim", `the head dimension is ${sizes.headDim}; dynamic positions need 4 or more`, "4 or more");
      return { type, theta, factor: factorOf(parameters) };
    case "yarn":
      return readYarn(fields, parameters, theta, sizes);
    case "longrope":
      return readLongRope(fields, parameters, theta, sizes);
    case "llama3":
      return readLlama3(fields, parameters, theta, sizes);
  }
}

function readTheta(fields: ConfigFields, absent: number): number {
  return fields.number("rope_theta", { above: 1, most: 1e30 }, absent);
}

/** `rope_type`, in old files `type`. */
function typeOf(parameters: ConfigFields): RopeSettings["type"] {
  const key = parameters.has("rope_type") || !parameters.has("type") ? "rope_type" : "type";
  const node = parameters.get(key);
  if (node === undefined) return "default";
  const name = parameters.text(key);
  if (name === undefined) throw parameters.range(key, node, "the name of a kind of rotary positions");
  if (key === "rope_type" && parameters.has("type") && parameters.text("type") !== name) {
    throw parameters.conflict("type", `${quoted(parameters.path("type"))} and "rope_type" name different kinds of rotary positions`, name);
  }
  const type = ropeTypes.find((candidate) => candidate === name);
  if (type !== undefined) return type;
  throw parameters.unsupported(key, "this kind of rotary positions is not known", ropeTypes.join(", "));
}

function checkKeys(parameters: ConfigFields, type: RopeSettings["type"]): void {
  for (const key of parameters.keys()) {
    if (!known.has(key)) {
      const near = nearest(key, known).map(quoted);
      const hint = near.length > 0 ? `; did you mean ${near.join(" or ")}?` : "";
      const problem = `${quoted(parameters.path(key))} is not known and might change the arithmetic${hint}`;
      throw parameters.error("MODEL_CONFIG_UNKNOWN_KEY", key, problem, near.length > 0 ? near.join(" or ") : "no such key", parameters.get(key));
    }
    if (!common.includes(key) && !ropeParameters[type].includes(key) && !parameters.isNull(key)) {
      throw parameters.unsupported(key, `rotary positions of type "${type}" have no such parameter`, "null");
    }
  }
  const partial = parameters.numberOrNull("partial_rotary_factor", {}, 1);
  if (partial !== 1) throw parameters.unsupported("partial_rotary_factor", "only a part of each head is rotated", "1");
  if (!parameters.isNull("mrope_section")) throw parameters.unsupported("mrope_section", "positions have several axes", "null");
}

function factorOf(parameters: ConfigFields): number {
  if (!parameters.has("factor")) throw parameters.missing("factor", "a number, at least 1");
  return parameters.number("factor", { least: 1, most: 1e6 }, 1);
}

/** The factor; null stands for the ratio of the two lengths, which may be below 1 as in transformers. */
function factorOrRatio(parameters: ConfigFields, { maxPositions }: Sizes, originalMaxPositions: number): number {
  return parameters.isNull("factor") ? maxPositions / originalMaxPositions : factorOf(parameters);
}

/** The length of the first training; at the top level in some files, the length of the model when it is nowhere. */
function originalOf(fields: ConfigFields, parameters: ConfigFields, { maxPositions }: Sizes): number {
  const key = "original_max_position_embeddings";
  const outer = fields.integerOrNull(key, 1, maxPositionCount, undefined);
  const inner = parameters.integer(key, 1, maxPositionCount, outer ?? maxPositions);
  if (outer !== undefined && inner !== outer) {
    throw fields.conflict(key, `${quoted(key)} is ${outer}, and ${inner} in ${quoted(parameters.path(key))}`, inner);
  }
  return inner;
}

function attentionFactorOf(parameters: ConfigFields): number | undefined {
  return parameters.numberOrNull("attention_factor", { above: 0, most: 1e6 }, undefined);
}

function readYarn(fields: ConfigFields, parameters: ConfigFields, theta: number, sizes: Sizes): RopeSettings {
  const originalMaxPositions = originalOf(fields, parameters, sizes);
  if (!parameters.has("factor")) throw parameters.missing("factor", "a number, at least 1, or null for the ratio of the lengths");
  const positive = { above: 0, most: 1e6 };
  const betaFast = parameters.numberOrNull("beta_fast", positive, 32);
  const betaSlow = parameters.numberOrNull("beta_slow", positive, 1);
  if (betaFast < betaSlow) {
    const key = parameters.has("beta_fast") ? "beta_fast" : "beta_slow";
    throw parameters.unfit(key, `"beta_fast" is ${betaFast} and "beta_slow" ${betaSlow}; fast must not be below slow`, "beta_fast ≥ beta_slow");
  }
  return {
    type: "yarn",
    theta,
    factor: factorOrRatio(parameters, sizes, originalMaxPositions),
    originalMaxPositions,
    attentionFactor: attentionFactorOf(parameters),
    betaFast,
    betaSlow,
    mscale: parameters.numberOrNull("mscale", { least: 0, most: 1e6 }, undefined),
    mscaleAllDim: parameters.numberOrNull("mscale_all_dim", { least: 0, most: 1e6 }, undefined),
    truncate: parameters.boolean("truncate", true),
  };
}

function readLongRope(fields: ConfigFields, parameters: ConfigFields, theta: number, sizes: Sizes): RopeSettings {
  const originalMaxPositions = originalOf(fields, parameters, sizes);
  if (originalMaxPositions < 2) {
    throw fields.unfit("original_max_position_embeddings", "the original length is 1; the attention factor divides by its logarithm", "2 or more");
  }
  const divisors = (key: string): number[] => {
    const pairs = sizes.headDim / 2;
    const items = parameters.list(key);
    if (items === undefined) throw parameters.missing(key, `${pairs} numbers, one for each pair of dimensions of a head`);
    if (items.length !== pairs)
      throw parameters.unfit(key, `${quoted(parameters.path(key))} has ${items.length} numbers, expected ${pairs}`, `${pairs} numbers`);
    return items.map((item) => parameters.numberOf(key, item, { above: 0, most: 1e6 }));
  };
  return {
    type: "longrope",
    theta,
    factor: factorOrRatio(parameters, sizes, originalMaxPositions),
    originalMaxPositions,
    attentionFactor: attentionFactorOf(parameters),
    shortFactor: divisors("short_factor"),
    longFactor: divisors("long_factor"),
  };
}

function readLlama3(fields: ConfigFields, parameters: ConfigFields, theta: number, sizes: Sizes): RopeSettings {
  const bound = (key: string): number => {
    const value = parameters.number(key, { above: 0, most: 1e6 }, undefined);
    if (value === undefined) throw parameters.missing(key, "a number above 0");
    return value;
  };
  const lowFreqFactor = bound("low_freq_factor");
  const highFreqFactor = bound("high_freq_factor");
  if (highFreqFactor <= lowFreqFactor) {
    const problem = `"high_freq_factor" is ${highFreqFactor} and "low_freq_factor" ${lowFreqFactor}; high must be above low`;
    throw parameters.unfit("high_freq_factor", problem, `a number above ${lowFreqFactor}`);
  }
  return {
    type: "llama3",
    theta,
    factor: factorOf(parameters),
    originalMaxPositions: originalOf(fields, parameters, sizes),
    lowFreqFactor,
    highFreqFactor,
  };
}
