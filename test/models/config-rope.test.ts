import { describe, expect, it } from "vitest";
import { type RopeSettings, ropeFrequencies } from "../../lib/models/config.js";
import { ropeTypes } from "../../lib/models/rope.js";
import { ropeParameters } from "../../lib/models/rope-config.js";
import { errorOf, type Json, parse, tiny, transformersFixture } from "./config-kit.js";

const divisors = (value: number): number[] => Array.from({ length: 32 }, (_, i) => value + i / 8);

/** A complete nested object per type, for heads of 64 dimensions and 8,192 positions, and another valid value for each parameter. */
const nested: { readonly [type in RopeSettings["type"]]: Json } = {
  default: {},
  linear: { factor: 4 },
  dynamic: { factor: 4 },
  yarn: { factor: 4, original_max_position_embeddings: 2048 },
  longrope: { factor: 4, original_max_position_embeddings: 2048, short_factor: divisors(1), long_factor: divisors(2) },
  llama3: { factor: 4, original_max_position_embeddings: 2048, low_freq_factor: 1, high_freq_factor: 4 },
};
const others: { readonly [key: string]: readonly [value: unknown, beside?: Json] } = {
  factor: [5],
  original_max_position_embeddings: [1024],
  attention_factor: [0.5],
  beta_fast: [16],
  beta_slow: [2],
  mscale: [0.7, { mscale_all_dim: 1.3 }],
  mscale_all_dim: [0.7, { mscale: 1.3 }],
  truncate: [false],
  short_factor: [divisors(3)],
  long_factor: [divisors(3)],
  low_freq_factor: [0.5],
  high_freq_factor: [9],
};

const large = (changes: Json): Json => tiny("llama", { head_dim: 64, max_position_embeddings: 8192, ...changes });
const withRope = (rope: Json, changes: Json = {}) => parse(large({ rope_parameters: rope, ...changes }));

describe("frequencies of transformers, in float64", () => {
  const cases = transformersFixture.ropes.map((rope, index) => {
    const parameters = rope.file["rope_parameters"] as Json;
    return { ...rope, name: `${index}: ${JSON.stringify(parameters).slice(0, 90)}, ${rope.tokens ?? "no"} tokens` };
  });
  it("has cases of every type", () => {
    expect(new Set(cases.map(({ file }) => (file["rope_parameters"] as Json)["rope_type"]))).toEqual(new Set(ropeTypes));
  });
  it.each(cases)("$name", ({ file, tokens, inverse, attentionFactor }) => {
    const ours = ropeFrequencies(parse(file), tokens ?? undefined);
    expect(ours.inverse).toHaveLength(inverse.length);
    const error = Math.max(...inverse.map((expected, i) => Math.abs((ours.inverse[i] as number) / expected - 1)));
    expect(error).toBeLessThan(4e-15 * inverse.length);
    expect(Math.abs(ours.attentionFactor / attentionFactor - 1)).toBeLessThan(1e-15);
  });
  it("refuses lengths that are none", () => {
    for (const tokens of [0, -1, 1.5, Number.NaN]) {
      expect(errorOf(() => ropeFrequencies(withRope({}), tokens)).code).toBe("BAD_ARGUMENT");
    }
  });
});

describe.each(ropeTypes)("parameters of %s", (type) => {
  const complete = { rope_type: type, ...nested[type] };
  const long = { rope_type: type, ...nested[type], factor: 4 };

  it.each(ropeParameters[type])("%s changes the settings and the frequencies", (key) => {
    const [value, beside] = others[key] as (typeof others)[string];
    const before = withRope({ ...complete, ...beside });
    const after = withRope({ ...complete, ...beside, [key]: value });
    expect(after.rope).not.toEqual(before.rope);
    expect([100, 10000].map((tokens) => ropeFrequencies(after, tokens))).not.toEqual([100, 10000].map((tokens) => ropeFrequencies(before, tokens)));
  });

  it("refuses the parameters of other types, unless null", () => {
    for (const key of Object.keys(others).filter((name) => !ropeParameters[type].includes(name))) {
      const error = errorOf(() => withRope({ ...complete, [key]: (others[key] as (typeof others)[string])[0] }));
      expect(error, key).toMatchObject({ code: "MODEL_UNSUPPORTED_FEATURE", details: { key: `rope_parameters.${key}` } });
      expect(withRope({ ...complete, [key]: null }).rope).toEqual(withRope(complete).rope);
    }
  });

  it("refuses what is not known, rotates a part, or has several axes", () => {
    expect(errorOf(() => withRope({ ...complete, faktor: 4 }))).toMatchObject({
      code: "MODEL_CONFIG_UNKNOWN_KEY",
      details: { expected: '"factor"' },
    });
    expect(errorOf(() => withRope({ ...complete, full_attention: {} })).code).toBe("MODEL_CONFIG_UNKNOWN_KEY");
    expect(errorOf(() => withRope({ ...complete, partial_rotary_factor: 0.5 })).code).toBe("MODEL_UNSUPPORTED_FEATURE");
    expect(errorOf(() => withRope({ ...complete, mrope_section: [2, 3, 3] })).code).toBe("MODEL_UNSUPPORTED_FEATURE");
    expect(withRope({ ...complete, partial_rotary_factor: 1 }).rope).toEqual(withRope(complete).rope);
  });

  it("means the same in all layouts", () => {
    const expected = withRope({ ...complete, rope_theta: 20000 }, { rope_theta: undefined }).rope;
    const { rope_type, ...rest } = complete;
    const flat = large({ rope_theta: 20000, rope_scaling: complete });
    expect(parse(flat).rope).toEqual(expected);
    expect(parse(large({ rope_theta: 20000, rope_scaling: { type: rope_type, ...rest } })).rope).toEqual(expected);
    expect(parse(large({ rope_theta: 20000, rope_scaling: { type: rope_type, ...complete } })).rope).toEqual(expected);
    expect(parse({ ...flat, rope_parameters: { ...complete, rope_theta: 20000 } }).rope).toEqual(expected);
  });

  it("refuses what is missing", () => {
    for (const key of Object.keys(nested[type]).filter(
      (name) => name !== "original_max_position_embeddings" && !(name === "factor" && type === "longrope"),
    )) {
      const error = errorOf(() => withRope({ ...complete, [key]: undefined }));
      expect(error).toMatchObject({ code: "MODEL_CONFIG_MISSING", details: { key: `rope_parameters.${key}` } });
    }
    if ("original_max_position_embeddings" in nested[type]) {
      const without = { ...complete, original_max_position_embeddings: undefined };
      expect(withRope(without).rope).toMatchObject({ originalMaxPositions: 8192 });
      expect(withRope(without, { original_max_position_embeddings: 77 }).rope).toMatchObject({ originalMaxPositions: 77 });
      const error = errorOf(() => withRope(complete, { original_max_position_embeddings: 77 }));
      expect(error).toMatchObject({ code: "MODEL_CONFIG_CONFLICT", details: { key: "original_max_position_embeddings", actual: 77 } });
    }
  });

  it("refuses factors below 1", () => {
    if (type === "default") return;
    for (const factor of [0.5, 0, -1, "4", true]) {
      const error = errorOf(() => withRope({ ...long, factor }));
      expect(error).toMatchObject({ code: "MODEL_CONFIG_RANGE", details: { key: "rope_parameters.factor", actual: factor } });
    }
  });
});

describe("contradictions and ranges of rotary positions", () => {
  const yarn = { rope_type: "yarn", ...nested.yarn };
  const longrope = { rope_type: "longrope", ...nested.longrope };
  const llama3 = { rope_type: "llama3", ...nested.llama3 };
  const cases: readonly (readonly [name: string, file: Json, code: string, key: string])[] = [
    ["two bases", { rope_parameters: { rope_theta: 5e5 } }, "MODEL_CONFIG_CONFLICT", "rope_theta"],
    ["two bases, older", { rope_scaling: { type: "linear", factor: 2, rope_theta: 5e5 } }, "MODEL_CONFIG_CONFLICT", "rope_theta"],
    ["two layouts", { rope_parameters: yarn, rope_scaling: { ...yarn, factor: 5 } }, "MODEL_CONFIG_CONFLICT", "rope_scaling"],
    [
      "a base only in the newer layout",
      { rope_theta: undefined, rope_parameters: { ...yarn, rope_theta: 5e5 }, rope_scaling: yarn },
      "MODEL_CONFIG_CONFLICT",
      "rope_scaling",
    ],
    ["two types", { rope_scaling: { rope_type: "linear", type: "dynamic", factor: 2 } }, "MODEL_CONFIG_CONFLICT", "rope_scaling.type"],
    ["an unknown type", { rope_scaling: { type: "su", factor: 2 } }, "MODEL_UNSUPPORTED_FEATURE", "rope_scaling.type"],
    ["proportional", { rope_parameters: { rope_type: "proportional" } }, "MODEL_UNSUPPORTED_FEATURE", "rope_parameters.rope_type"],
    ["a null type", { rope_parameters: { rope_type: null, factor: 2 } }, "MODEL_CONFIG_RANGE", "rope_parameters.rope_type"],
    ["a list", { rope_scaling: [1] }, "MODEL_CONFIG_RANGE", "rope_scaling"],
    ["base 0", { rope_theta: 0 }, "MODEL_CONFIG_RANGE", "rope_theta"],
    ["base 1", { rope_theta: 1 }, "MODEL_CONFIG_RANGE", "rope_theta"],
    ["base -1", { rope_theta: -1 }, "MODEL_CONFIG_RANGE", "rope_theta"],
    ["base null", { rope_theta: null }, "MODEL_CONFIG_RANGE", "rope_theta"],
    ["beta_fast below beta_slow", { rope_parameters: { ...yarn, beta_fast: 1, beta_slow: 2 } }, "MODEL_CONFIG_RANGE", "rope_parameters.beta_fast"],
    ["beta_slow 0", { rope_parameters: { ...yarn, beta_slow: 0 } }, "MODEL_CONFIG_RANGE", "rope_parameters.beta_slow"],
    ["attention_factor 0", { rope_parameters: { ...yarn, attention_factor: 0 } }, "MODEL_CONFIG_RANGE", "rope_parameters.attention_factor"],
    ["truncate null", { rope_parameters: { ...yarn, truncate: null } }, "MODEL_CONFIG_RANGE", "rope_parameters.truncate"],
    ["7 divisors", { rope_parameters: { ...longrope, short_factor: [1, 1, 1, 1, 1, 1, 1] } }, "MODEL_CONFIG_RANGE", "rope_parameters.short_factor"],
    [
      "divisor 0",
      { rope_parameters: { ...longrope, long_factor: [...divisors(1).slice(1), 0] } },
      "MODEL_CONFIG_RANGE",
      "rope_parameters.long_factor",
    ],
    [
      "original length 1",
      { rope_parameters: { ...longrope, original_max_position_embeddings: 1 } },
      "MODEL_CONFIG_RANGE",
      "original_max_position_embeddings",
    ],
    ["high below low", { rope_parameters: { ...llama3, high_freq_factor: 0.5 } }, "MODEL_CONFIG_RANGE", "rope_parameters.high_freq_factor"],
    ["low 0", { rope_parameters: { ...llama3, low_freq_factor: 0 } }, "MODEL_CONFIG_RANGE", "rope_parameters.low_freq_factor"],
    ["heads of 2 dimensions", { head_dim: 2, rope_parameters: { rope_type: "dynamic", factor: 2 } }, "MODEL_CONFIG_RANGE", "head_dim"],
  ];
  it.each(cases)("%s", (_name, file, code, key) => {
    const error = errorOf(() => parse(large(file)));
    expect(error).toMatchObject({ code, details: { file: "config.json", key } });
    expect(error.details.expected).toBeDefined();
  });

  it("takes empty objects and null for none", () => {
    for (const rope of [{}, null]) {
      for (const key of ["rope_scaling", "rope_parameters"]) {
        expect(parse(tiny("llama", { [key]: rope })).rope).toEqual({ type: "default", theta: 10000 });
      }
    }
  });
});
