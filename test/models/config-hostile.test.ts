import { describe, expect, it } from "vitest";
import { parseModelConfig } from "../../lib/models/config.js";
import { LowrankError } from "../../lib/native/errors.js";
import { errorOf, families, fixture, type Json, parse, parseText, path, tiny } from "./config-kit.js";

/** The tiny llama file with one value as raw JSON text. */
function withText(key: string, json: string): string {
  const file = tiny("llama", { [key]: "HERE" });
  return JSON.stringify(file).replace('"HERE"', json);
}

describe("files that are no config.json", () => {
  const deep = `{"model_type":${"[".repeat(50)}${"]".repeat(50)}}`;
  const cases: readonly (readonly [name: string, text: string, code: string])[] = [
    ["empty", "", "CONFIG_BAD_JSON"],
    ["cut off", '{"model_type": "llama"', "CONFIG_BAD_JSON"],
    ["a list", "[]", "CONFIG_BAD_JSON"],
    ["a string", '"llama"', "CONFIG_BAD_JSON"],
    ["NaN", withText("rms_norm_eps", "NaN"), "CONFIG_BAD_JSON"],
    ["Infinity", withText("rope_theta", "Infinity"), "CONFIG_BAD_JSON"],
    ["a comment", '{"model_type": "llama" /* no */}', "CONFIG_BAD_JSON"],
    ["a trailing comma", '{"model_type": "llama",}', "CONFIG_BAD_JSON"],
    ["deep nesting", deep, "CONFIG_BAD_JSON"],
    ["a key twice", '{"model_type": "llama", "hidden_size": 64, "hidden_size": 128}', "CONFIG_DUPLICATE_KEY"],
    ["a nested key twice", withText("rope_scaling", '{"type": "linear", "factor": 2, "factor": 4}'), "CONFIG_DUPLICATE_KEY"],
    ["large", `{"model_type": "llama"${" ".repeat(1 << 20)}}`, "CONFIG_TOO_LARGE"],
  ];
  it.each(cases)("%s", (_name, text, code) => {
    const error = errorOf(() => parseText(text));
    expect(error).toMatchObject({ code, details: { file: "config.json", path } });
    expect(error.message).toMatch(/^config\.json: /);
    expect(error.message).not.toContain("somewhere");
  });

  it("refuses bytes that are not UTF-8", () => {
    expect(errorOf(() => parseModelConfig(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d), path)).code).toBe("CONFIG_BAD_JSON");
  });

  it("reads a file with a byte order mark", () => {
    expect(parseText(`\ufeff${JSON.stringify(tiny("llama"))}`).hiddenSize).toBe(64);
  });
});

describe("other architectures", () => {
  it.each([undefined, null, 7, "", "gemma2", "LLAMA", "constructor", "__proto__", "mistral3", "smollm3"])("model_type %s", (value) => {
    const error = errorOf(() => parse({ model_type: value, hidden_size: "also wrong" }));
    expect(error).toMatchObject({
      code: "MODEL_UNSUPPORTED_ARCH",
      details: { key: "model_type", expected: "llama, mistral, qwen2, qwen3", actual: value },
    });
    expect(error.message).toContain("llama, mistral, qwen2, qwen3");
  });

  it.each([
    ["qwen3", "Qwen3Model"],
    ["llama", "MistralForCausalLM"],
    ["qwen2", "Qwen2ForSequenceClassification"],
    ["qwen3", "DFlashDraftModel"],
  ] as const)("%s with the class %s", (family, name) => {
    const error = errorOf(() => parse(tiny(family, { architectures: [name] })));
    expect(error).toMatchObject({ code: "MODEL_UNSUPPORTED_FEATURE", details: { key: "architectures", actual: name } });
  });
});

const sizeKeys = [
  ...["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"],
  ...["max_position_embeddings", "sliding_window", "original_max_position_embeddings"],
];
const badSizes = [
  "0",
  "-1",
  "1.5",
  "64.0",
  "6e1",
  '"64"',
  "true",
  "[64]",
  "{}",
  "1e400",
  "-0",
  "9007199254740993",
  `1${"0".repeat(60)}`,
  "4294967296",
];

describe.each(sizeKeys)("the size %s", (key) => {
  const family = key === "sliding_window" ? "mistral" : "llama";
  const beside: Json = key.startsWith("original") ? { rope_scaling: { type: "yarn", factor: 2 } } : {};
  it.each(badSizes)("is not %s", (json) => {
    const text = JSON.stringify(tiny(family, { ...beside, [key]: "HERE" })).replace('"HERE"', json);
    const error = errorOf(() => parseText(text));
    expect(error).toMatchObject({ code: "MODEL_CONFIG_RANGE", details: { file: "config.json", key } });
    expect(error.message).toContain(`"${key}" is `);
    expect(error.message).toMatch(/expected an integer from \d+ to \d+/);
    expect(error.details.expected).toMatch(/^an integer/);
    expect(error.details.actual).toBeDefined();
    expect(() => JSON.stringify(error.toJSON())).not.toThrow();
  });
});

describe("values out of range", () => {
  const cases: readonly (readonly [key: string, json: string, code?: string])[] = [
    ["rms_norm_eps", "0"],
    ["rms_norm_eps", "-1e-5"],
    ["rms_norm_eps", "1e400"],
    ["rms_norm_eps", '"NaN"'],
    ["rms_norm_eps", "null"],
    ["rms_norm_eps", "2"],
    ["rope_theta", "1e400"],
    ["rope_theta", '"10000"'],
    ["tie_word_embeddings", "1"],
    ["tie_word_embeddings", "null"],
    ["attention_bias", '"false"'],
    ["mlp_bias", "0"],
    ["bos_token_id", "300"],
    ["bos_token_id", "-1"],
    ["bos_token_id", '"<s>"'],
    ["eos_token_id", "[2, 300]"],
    ["eos_token_id", "[2, [3]]"],
    ["eos_token_id", "2.5"],
    ["pad_token_id", "-2"],
    ["pad_token_id", "false"],
    ["torch_dtype", "16"],
    ["torch_dtype", '"int8"', "MODEL_UNSUPPORTED_FEATURE"],
    ["dtype", '{"text": "float16"}'],
    ["architectures", '"LlamaForCausalLM"'],
    ["architectures", "[1]"],
    ["layer_types", '"full_attention"'],
    ["layer_types", "[1, 2, 3, 4]"],
    ["layer_types", '["full_attention"]', "MODEL_CONFIG_CONFLICT"],
    ["layer_types", '["full_attention", "full_attention", "full_attention", "conv"]', "MODEL_UNSUPPORTED_FEATURE"],
    ["quantization_config", '{"quant_method": "gptq"}', "MODEL_UNSUPPORTED_FEATURE"],
    ["hidden_act", '"evil"', "MODEL_UNSUPPORTED_FEATURE"],
    ["hidden_act", "null", "MODEL_UNSUPPORTED_FEATURE"],
    ["attention_dropout", "0.1", "MODEL_UNSUPPORTED_FEATURE"],
    ["pretraining_tp", "2", "MODEL_UNSUPPORTED_FEATURE"],
  ];
  it.each(cases.map(([key, json, code = "MODEL_CONFIG_RANGE"]) => ({ key, json, code })))("$key: $json", ({ key, json, code }) => {
    const error = errorOf(() => parseText(withText(key, json)));
    expect(error).toMatchObject({ code, details: { file: "config.json", key } });
    expect(error.details.line).toBe(1);
    expect(error.details.expected).toBeDefined();
    expect(error.details.actual).toBeDefined();
  });

  it("does not allocate for 10^9 layers", () => {
    const before = process.memoryUsage().rss;
    for (const family of families) {
      const error = errorOf(() => parse(tiny(family, { num_hidden_layers: 1e9 })));
      expect(error).toMatchObject({ code: "MODEL_CONFIG_RANGE", details: { key: "num_hidden_layers", actual: 1e9 } });
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(100e6);
  });

  it("gives the line and column", () => {
    const error = errorOf(() => parseText('{\n  "model_type": "llama",\n  "hidden_size": -4\n}'));
    expect(error.details).toMatchObject({ line: 3, column: 18, expected: "an integer from 1 to 1048576", actual: -4 });
  });
});

describe("sizes that do not fit together", () => {
  const cases: readonly (readonly [name: string, family: (typeof families)[number], file: Json, code: string, key: string])[] = [
    ["heads do not divide the width", "llama", { head_dim: undefined, num_attention_heads: 6 }, "MODEL_CONFIG_RANGE", "hidden_size"],
    ["kv heads do not divide heads", "llama", { num_key_value_heads: 3 }, "MODEL_CONFIG_RANGE", "num_key_value_heads"],
    ["more kv heads than heads", "llama", { num_key_value_heads: 8 }, "MODEL_CONFIG_RANGE", "num_key_value_heads"],
    ["the kv heads that a qwen2 has by default", "qwen2", { num_key_value_heads: undefined }, "MODEL_CONFIG_RANGE", "num_key_value_heads"],
    ["null kv heads of a mistral", "mistral", { num_key_value_heads: null }, "MODEL_CONFIG_RANGE", "num_key_value_heads"],
    ["an odd head", "llama", { head_dim: 15 }, "MODEL_CONFIG_RANGE", "head_dim"],
    ["an odd head by division", "llama", { head_dim: undefined, hidden_size: 60 }, "MODEL_CONFIG_RANGE", "head_dim"],
    ["null head_dim of a qwen3", "qwen3", { head_dim: null }, "MODEL_CONFIG_RANGE", "head_dim"],
    ["a window without a width", "qwen3", { use_sliding_window: true, sliding_window: null }, "MODEL_CONFIG_CONFLICT", "use_sliding_window"],
    [
      "sliding layers without a window",
      "qwen2",
      { layer_types: ["sliding_attention", "full_attention", "full_attention", "full_attention"] },
      "MODEL_CONFIG_CONFLICT",
      "layer_types",
    ],
    ["mistral windows on and off", "mistral", { use_sliding_window: true, sliding_window: null }, "MODEL_CONFIG_CONFLICT", "use_sliding_window"],
  ];
  it.each(cases)("%s", (_name, family, file, code, key) => {
    const error = errorOf(() => parse(tiny(family, file)));
    expect(error).toMatchObject({ code, details: { file: "config.json", key } });
    expect(error.details.expected).toBeDefined();
  });
});

it("gives a config or an error for a file cut off or damaged anywhere", () => {
  const bytes = fixture("llama").toString().trimEnd();
  for (let length = 0; length < bytes.length; length++) {
    expect(errorOf(() => parseText(bytes.slice(0, length))).code).toBe("CONFIG_BAD_JSON");
  }
  const codes = new Set<string>();
  for (let at = 0; at < bytes.length; at++) {
    for (const byte of ["\0", "0", '"', "}", "-", "x"]) {
      try {
        parseText(bytes.slice(0, at) + byte + bytes.slice(at + 1));
      } catch (error) {
        if (!(error instanceof LowrankError)) throw error;
        codes.add(error.code);
      }
    }
  }
  // A damaged key is unknown before anything is missing.
  expect([...codes].sort()).toEqual([
    ...["CONFIG_BAD_JSON", "MODEL_CONFIG_RANGE", "MODEL_CONFIG_UNKNOWN_KEY", "MODEL_UNSUPPORTED_ARCH", "MODEL_UNSUPPORTED_FEATURE"],
  ]);
});

it("reads minus zero as zero", () => {
  expect(Object.is(parseText(withText("bos_token_id", "-0")).bosTokenId, 0)).toBe(true);
});
