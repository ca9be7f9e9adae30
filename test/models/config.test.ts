import { describe, expect, it } from "vitest";
import { type ModelConfig, type ModelType, parseModelConfig } from "../../lib/models/config.js";
import { keyRules } from "../../lib/models/config-keys.js";
import { errorOf, factsOf, families, fixture, type Json, meaning, parse, path, tiny, transformersFixture } from "./config-kit.js";

describe("golden models", () => {
  const common = { mlpBias: false, qkNorm: false, warnings: [], attentionBias: { q: false, k: false, v: false, o: false } };
  const plain = (theta: number) => ({ type: "default", theta });
  const llama3 = { type: "llama3", lowFreqFactor: 1, highFreqFactor: 4 };
  const full = [undefined, undefined];
  const cases: { readonly [name: string]: Omit<ModelConfig, "raw"> | Json } = {
    llama: {
      ...{ modelType: "llama", vocabSize: 326, hiddenSize: 64, intermediateSize: 150, layers: 2, heads: 4, kvHeads: 2, headDim: 16 },
      ...{ normEps: 1e-5, maxPositions: 256, tieEmbeddings: false, windows: full, bosTokenId: 320, eosTokenIds: [324], padTokenId: 325 },
      ...{ storedDtype: "f32", rope: { ...llama3, theta: 10000, factor: 8, originalMaxPositions: 64 } },
    },
    "llama-tied-bf16": {
      ...{ modelType: "llama", vocabSize: 331, hiddenSize: 72, intermediateSize: 200, layers: 3, heads: 3, kvHeads: 1, headDim: 24 },
      ...{ normEps: 1e-5, maxPositions: 128, tieEmbeddings: true, windows: [...full, undefined], bosTokenId: 0, eosTokenIds: [325] },
      ...{ padTokenId: 326, storedDtype: "bf16", rope: plain(100000) },
    },
    "llama-v4-f16": {
      ...{ modelType: "llama", vocabSize: 333, hiddenSize: 80, intermediateSize: 118, layers: 2, heads: 5, kvHeads: 5, headDim: 16 },
      ...{ normEps: 1e-6, maxPositions: 128, tieEmbeddings: false, windows: full, bosTokenId: 0, eosTokenIds: [327], padTokenId: 328 },
      ...{ storedDtype: "f16", rope: { ...llama3, theta: 50000, factor: 4, originalMaxPositions: 32 } },
    },
    mistral: {
      ...{ modelType: "mistral", vocabSize: 351, hiddenSize: 48, intermediateSize: 100, layers: 2, heads: 4, kvHeads: 2, headDim: 12 },
      ...{ normEps: 1e-5, maxPositions: 128, tieEmbeddings: false, windows: [7, 7], bosTokenId: 1, eosTokenIds: [2], padTokenId: 2 },
      ...{ storedDtype: "f32", rope: plain(10000) },
    },
    qwen2: {
      ...{ modelType: "qwen2", vocabSize: 338, hiddenSize: 56, intermediateSize: 94, layers: 2, heads: 4, kvHeads: 2, headDim: 14 },
      ...{ normEps: 1e-6, maxPositions: 128, tieEmbeddings: true, windows: full, bosTokenId: 0, eosTokenIds: [323], padTokenId: 324 },
      ...{ storedDtype: "f32", rope: plain(10000), attentionBias: { q: true, k: true, v: true, o: false } },
    },
    qwen3: {
      ...{ modelType: "qwen3", vocabSize: 327, hiddenSize: 60, intermediateSize: 108, layers: 2, heads: 3, kvHeads: 1, headDim: 32 },
      ...{ normEps: 1e-6, maxPositions: 128, tieEmbeddings: false, windows: full, bosTokenId: 0, eosTokenIds: [321], padTokenId: 322 },
      ...{ storedDtype: "f32", rope: plain(1e6), qkNorm: true },
    },
  };
  it.each(Object.keys(cases))("%s", (name) => {
    const bytes = fixture(name);
    const config = parseModelConfig(bytes, path);
    expect(meaning(config)).toEqual({ ...common, ...cases[name] });
    expect(JSON.parse(JSON.stringify(config.raw))).toEqual(JSON.parse(bytes.toString()));
    expect(structuredClone(config)).toEqual(config);
  });
});

describe("transformers", () => {
  it("is of the versions that the design names", () => {
    expect(transformersFixture.versions["transformers"]).toMatch(/^5\./);
  });

  it.each(families)("means the same by a %s file that says nothing", (family) => {
    expect(factsOf(parse({ model_type: family }))).toEqual(transformersFixture.defaults[family]);
  });

  it.each(Object.keys(transformersFixture.files))("reads the same: %s", (name) => {
    const { file, facts } = transformersFixture.files[name] as (typeof transformersFixture.files)[string];
    const ours = factsOf(parse(file));
    // A factor of null stays null in transformers' configuration, and is the ratio of the lengths in its arithmetic.
    const factor = facts.rope_parameters["factor"] === null ? { factor: 4096 / 512 } : {};
    expect(ours).toEqual({ ...facts, rope_parameters: { ...facts.rope_parameters, ...factor } });
  });

  it.each(families)("has no key for a %s that is not known here", (family) => {
    const unknown = transformersFixture.keys[family].filter((key) => !key.startsWith("_") && !keyRules(family).has(key));
    expect(unknown).toEqual([]);
  });

  it("gives the files of published models no warning", () => {
    for (const { file } of Object.values(transformersFixture.files)) expect(parse(file).warnings).toEqual([]);
  });
});

/** For every used key: what is changed in the tiny file, beside the key. */
const samples: { readonly [key: string]: { readonly value: unknown; readonly beside?: Json; readonly refusal?: string } } = {
  model_type: { value: "gpt2", refusal: "MODEL_UNSUPPORTED_ARCH" },
  architectures: { value: ["LlamaForSequenceClassification"], refusal: "MODEL_UNSUPPORTED_FEATURE" },
  auto_map: { value: { AutoModel: "code.py" } },
  vocab_size: { value: 301 },
  hidden_size: { value: 128 },
  intermediate_size: { value: 97 },
  num_hidden_layers: { value: 5 },
  num_attention_heads: { value: 8 },
  num_key_value_heads: { value: 4 },
  head_dim: { value: 18 },
  max_position_embeddings: { value: 513 },
  rms_norm_eps: { value: 1e-6 },
  tie_word_embeddings: { value: true },
  layer_types: { value: ["full_attention", "sliding_attention", "full_attention", "full_attention"] },
  rope_parameters: { value: { rope_type: "linear", factor: 2 } },
  rope_scaling: { value: { type: "linear", factor: 2 } },
  rope_theta: { value: 20000 },
  original_max_position_embeddings: { value: 99, beside: { rope_scaling: { rope_type: "yarn", factor: 2 } } },
  bos_token_id: { value: 4 },
  eos_token_id: { value: [4, 5] },
  pad_token_id: { value: 6 },
  dtype: { value: "float32", beside: { torch_dtype: null } },
  torch_dtype: { value: "float16" },
  attention_bias: { value: true },
  mlp_bias: { value: true },
  sliding_window: { value: 33, beside: { use_sliding_window: true, max_window_layers: 0 } },
  use_sliding_window: { value: true, beside: { max_window_layers: 0 } },
  max_window_layers: { value: 2, beside: { use_sliding_window: true } },
};

/** Exceptions of a family. */
const familySamples: { readonly [family in ModelType]?: typeof samples } = {
  llama: {
    layer_types: { value: ["full_attention", "sliding_attention", "full_attention", "full_attention"], refusal: "MODEL_CONFIG_CONFLICT" },
  },
  mistral: {
    sliding_window: { value: 33 },
    use_sliding_window: { value: false, refusal: "MODEL_CONFIG_CONFLICT" },
  },
  qwen2: {
    layer_types: { value: ["full_attention", "full_attention", "sliding_attention", "full_attention"], beside: { use_sliding_window: true } },
  },
  qwen3: {
    layer_types: { value: ["full_attention", "full_attention", "sliding_attention", "full_attention"], beside: { use_sliding_window: true } },
  },
};

describe.each(families)("every key of a %s", (family) => {
  const rules = [...keyRules(family)];
  const anything = [true, false, 0, 1, 0.5, 2, "other", "silu", null, [], {}, [1], { a: 1 }];
  const base = meaning(parse(tiny(family)));

  it.each(rules.filter(([, rule]) => rule.kind === "used").map(([key]) => key))("%s changes the result, or is refused", (key) => {
    const sample = familySamples[family]?.[key] ?? samples[key];
    if (sample === undefined) throw new Error(`no sample for ${key}`);
    const beside = tiny(family, sample.beside);
    if (sample.refusal === undefined) {
      expect(meaning(parse({ ...beside, [key]: sample.value }))).not.toEqual(meaning(parse(beside)));
      return;
    }
    const error = errorOf(() => parse({ ...beside, [key]: sample.value }));
    expect(error).toMatchObject({ code: sample.refusal, details: { key } });
    expect(error.message).toContain(`"${key}"`);
  });

  it.each(rules.flatMap(([key, rule]) => (rule.kind === "refused" ? [[key, rule] as const] : [])))(
    "%s is refused unless it is neutral",
    (key, rule) => {
      let refusals = 0;
      for (const value of anything) {
        const isEmpty = Array.isArray(value) ? value.length === 0 : typeof value === "object" && value !== null && Object.keys(value).length === 0;
        const neutral = isEmpty ? rule.neutral.includes(null) : rule.neutral.includes(value as string);
        if (neutral) {
          expect(meaning(parse(tiny(family, { [key]: value }))), `${key} ${JSON.stringify(value)}`).toEqual(base);
          continue;
        }
        const error = errorOf(() => parse(tiny(family, { [key]: value })));
        expect(error, `${key} ${JSON.stringify(value)}`).toMatchObject({ code: "MODEL_UNSUPPORTED_FEATURE", details: { key, file: "config.json" } });
        expect(error.message).toContain(`"${key}"`);
        expect(error.message).toContain(rule.effect);
        refusals++;
      }
      expect(refusals).toBeGreaterThan(6);
      for (const value of rule.neutral) expect(meaning(parse(tiny(family, { [key]: value })))).toEqual(base);
    },
  );

  it("without effect says why, and has none", () => {
    const harmless = rules.filter(([, rule]) => rule.kind === "harmless");
    expect(harmless.length).toBeGreaterThan(60);
    for (const [key] of [...harmless, ["_name_or_path"], ["unsloth_version"], ["__proto__x"]] as const) {
      for (const value of anything) expect(meaning(parse(tiny(family, { [key]: value }))), key).toEqual(base);
    }
  });
});

describe("decisions", () => {
  it("reads Ministral as a mistral with layer_types", () => {
    const file = tiny("mistral", { layer_types: ["full_attention", "sliding_attention", "attention", "sliding_attention"], sliding_window: 9 });
    expect(parse({ ...file, architectures: ["MinistralForCausalLM"] }).windows).toEqual([undefined, 9, undefined, 9]);
  });

  it("accepts a mistral whose use_sliding_window says what is so", () => {
    expect(parse(tiny("mistral", { use_sliding_window: true })).windows).toEqual([4096, 4096, 4096, 4096]);
    expect(parse(tiny("mistral", { use_sliding_window: false, sliding_window: null })).windows).toEqual([undefined, undefined, undefined, undefined]);
  });

  it("names the nearest known keys", () => {
    const error = errorOf(() => parse(tiny("llama", { rms_norm_epz: 1e-6 })));
    expect(error).toMatchObject({ code: "MODEL_CONFIG_UNKNOWN_KEY", details: { key: "rms_norm_epz", actual: 1e-6 } });
    expect(error.message).toContain('"rms_norm_eps"');
  });

  it("warns of code beside the model and of padding outside the vocabulary", () => {
    expect(parse(tiny("llama", { auto_map: { AutoModelForCausalLM: "modeling.Own" } })).warnings).toHaveLength(1);
    const config = parse(tiny("llama", { pad_token_id: -1 }));
    expect(config.padTokenId).toBeUndefined();
    expect(config.warnings[0]).toContain("pad_token_id");
    expect(parse(tiny("llama", { pad_token_id: 300 })).warnings).toHaveLength(1);
  });

  it("takes dtype before torch_dtype, and says so when they differ", () => {
    const config = parse(tiny("llama", { dtype: "torch.float32" }));
    expect(config.storedDtype).toBe("f32");
    expect(config.warnings[0]).toContain("torch_dtype");
    expect(parse(tiny("llama", { dtype: "bfloat16" })).warnings).toEqual([]);
    expect(errorOf(() => parse(tiny("llama", { dtype: "float8_e4m3fn" })))).toMatchObject({ code: "MODEL_UNSUPPORTED_FEATURE" });
  });

  it("keeps a key like __proto__ away from objects", () => {
    const config = parseModelConfig(new TextEncoder().encode('{"model_type":"llama","__proto__":{"hiddenSize":1}}'), path);
    expect(config.hiddenSize).toBe(4096);
    expect(Object.getPrototypeOf(config.raw)).toBeNull();
    expect(Object.keys(config.raw)).toEqual(["model_type", "__proto__"]);
    expect(({} as { hiddenSize?: number }).hiddenSize).toBeUndefined();
  });
});
