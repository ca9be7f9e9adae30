import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { checkFanInFanOut, type PeftConfig, readPeftConfig, writePeftConfig } from "../../lib/lora/peft-config.js";
import { LowrankError } from "../../lib/native/errors.js";

const file = "/somewhere/private/adapter_config.json";
const golden = (name: string) => readFileSync(new URL(`../fixtures/adapters/${name}.json`, import.meta.url));
const encode = (text: string) => new TextEncoder().encode(text);
const read = (text: string) => readPeftConfig(encode(text), file);

const base = {
  peft_type: "LORA",
  task_type: "CAUSAL_LM",
  base_model_name_or_path: "tiny",
  r: 4,
  lora_alpha: 8,
  lora_dropout: 0,
  target_modules: ["q_proj", "v_proj"],
  bias: "none",
  fan_in_fan_out: false,
  use_rslora: false,
  use_dora: false,
  init_lora_weights: true,
  modules_to_save: null,
};
/** The base configuration with one field as the given JSON text; an empty text leaves the field out. */
function changed(field: string, json: string): string {
  const entries = Object.entries(base).filter(([name]) => name !== field);
  const lines = entries.map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`);
  return `{\n${[...lines, ...(json === "" ? [] : [`${JSON.stringify(field)}: ${json}`])].join(",\n")}\n}`;
}

function errorOf(fn: () => unknown): LowrankError {
  try {
    fn();
  } catch (error) {
    if (error instanceof LowrankError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("configurations that PEFT wrote", () => {
  it.each<[string, Partial<PeftConfig>]>([
    ["lora-qv", { r: 4, loraAlpha: 10, targetModules: ["q_proj", "v_proj"], taskType: "CAUSAL_LM", baseModelNameOrPath: "bases/llama" }],
    ["gpt2", { r: 4, loraAlpha: 12, fanInFanOut: true, targetModules: ["c_attn", "c_fc", "c_proj"] }],
    ["rslora", { r: 6, loraAlpha: 5, useRslora: true }],
    ["layers", { layersToTransform: [1], layersPattern: "layers" }],
    ["exclude", { excludeModules: ["down_proj", "layers.0.self_attn.q_proj"] }],
    ["target-regex", { targetModules: ".*layers\\.1\\.(self_attn\\.[ko]|mlp\\.gate)_proj" }],
    ["net", { autoMapping: { baseModelClass: "Net", parentLibrary: "adapter_bases" }, taskType: null, baseModelNameOrPath: null }],
    ["tied-both", { ensureWeightTying: true, targetModules: ["embed_tokens", "model.embed_tokens", "q_proj"] }],
    ["rslora-patterns", { r: 4, loraAlpha: 6, rankPattern: new Map([["layers.1.self_attn.q_proj", 9]]), alphaPattern: new Map([["v_proj", 11]]) }],
    ["pissa-rslora-converted", { r: 8, loraAlpha: 11.313708498984761, useRslora: true }],
    ["lora-all-linear", { r: 3, loraAlpha: 6, peftVersion: "0.21.2" }],
  ])("%s is read and written again byte for byte", (name, expected) => {
    const bytes = golden(name);
    const { config, warnings } = readPeftConfig(bytes, file);
    expect(config).toMatchObject(expected);
    expect(warnings).toEqual([]);
    const { targetModules } = config;
    if (targetModules === null) throw new Error("the fixture names its targets");
    expect(writePeftConfig({ ...config, targetModules })).toBe(bytes.toString("utf8"));
  });

  it("patterns keep the order of the file", () => {
    const { config } = readPeftConfig(golden("patterns"), file);
    expect([...config.rankPattern]).toEqual([
      ["layers\\.1\\.self_attn\\.(k|v)_proj", 6],
      ["up_proj", 2],
      ["v_proj", 3],
    ]);
    expect([...config.alphaPattern]).toEqual([
      [".*\\.1\\..*k_proj", 3],
      ["model.layers.0.self_attn.q_proj", 24],
      ["q_proj", 10],
      ["up_proj", 5],
    ]);
  });

  it.each([
    ["bias-all", "ADAPTER_UNSUPPORTED_FEATURE", "bias"],
    ["bias-lora-only", "ADAPTER_UNSUPPORTED_FEATURE", "bias"],
    ["dora", "ADAPTER_UNSUPPORTED_FEATURE", "use_dora"],
    ["lora-bias", "ADAPTER_UNSUPPORTED_FEATURE", "lora_bias"],
    ["save-head", "ADAPTER_UNSUPPORTED_FEATURE", "modules_to_save"],
    ["save-classifier", "ADAPTER_UNSUPPORTED_FEATURE", "modules_to_save"],
    ["tokens", "ADAPTER_UNSUPPORTED_FEATURE", "trainable_token_indices"],
    ["eva", "ADAPTER_UNSUPPORTED_FEATURE", "init_lora_weights"],
    ["vera", "ADAPTER_UNSUPPORTED_TYPE", "peft_type"],
    ["ia3", "ADAPTER_UNSUPPORTED_TYPE", "peft_type"],
    ["adalora", "ADAPTER_UNSUPPORTED_TYPE", "peft_type"],
  ])("%s is refused: %s", (name, code, field) => {
    const error = errorOf(() => readPeftConfig(golden(name), file));
    expect(error.code).toBe(code);
    expect(error.message).toContain(`"${field}"`);
  });
});

describe("malformed files", () => {
  it.each([
    ["A01 an empty file", ""],
    ["A01 an open brace", "{"],
    ["A01 a trailing comma", '{\n"peft_type": "LORA",\n}'],
    ["A02 a list", "[]"],
    ["A02 null", "null"],
    ["A11 NaN", changed("lora_alpha", "NaN")],
    ["Infinity", changed("lora_alpha", "Infinity")],
    ["text after the end", `${changed("r", "4")} {}`],
    ["a comment", changed("r", "4 // rank")],
    ["single quotes", "{'peft_type': 'LORA'}"],
    ["deep nesting", changed("megatron_config", "[".repeat(100_000) + "]".repeat(100_000))],
  ])("%s is ADAPTER_BAD_JSON with line and column", (_, text) => {
    const error = errorOf(() => read(text));
    expect(error.code).toBe("ADAPTER_BAD_JSON");
    expect(error.message).toMatch(/^adapter_config\.json: .*line [0-9]+, column [0-9]+/);
    expect(error.message).not.toContain("private");
    expect(error.details.path).toBe(file);
  });

  it("A01 the place is right", () => {
    expect(errorOf(() => read('{\n  "peft_type": "LORA",\n  "r": x\n}')).details).toMatchObject({ line: 3, column: 8 });
  });

  it("A01 bytes that are no UTF-8 are ADAPTER_BAD_JSON", () => {
    const bytes = encode(changed("revision", '"main"'));
    bytes[bytes.indexOf(0x6d, bytes.length - 8)] = 0xff;
    expect(errorOf(() => readPeftConfig(bytes, file)).code).toBe("ADAPTER_BAD_JSON");
  });

  it("A01 a byte order mark is accepted", () => {
    expect(read(`\ufeff${changed("r", "5")}`).config.r).toBe(5);
  });

  it.each([
    ["A03 r", '{"peft_type": "LORA", "r": 4, "r": 64}'],
    ["the same key written with an escape", '{"peft_type": "LORA", "r": 4, "\\u0072": 64}'],
    ["inside alpha_pattern", changed("alpha_pattern", '{"q_proj": 1, "q_proj": 2}')],
  ])("%s twice is ADAPTER_DUPLICATE_KEY", (_, text) => {
    expect(errorOf(() => read(text)).code).toBe("ADAPTER_DUPLICATE_KEY");
  });

  it("A04 5 MB are CONFIG_TOO_LARGE", () => {
    expect(errorOf(() => read(changed("revision", `"${"x".repeat(5_000_000)}"`))).code).toBe("CONFIG_TOO_LARGE");
  });

  it("A05 without peft_type: ADAPTER_MISSING_FIELD", () => {
    const error = errorOf(() => read(changed("peft_type", "")));
    expect(error.code).toBe("ADAPTER_MISSING_FIELD");
    expect(error.message).toContain('"peft_type"');
  });

  it.each(['"IA3"', '"lora"', "7", "null"])("A06 peft_type %s: ADAPTER_UNSUPPORTED_TYPE", (json) => {
    const error = errorOf(() => read(changed("peft_type", json)));
    expect(error.code).toBe("ADAPTER_UNSUPPORTED_TYPE");
    expect(error.message).toContain(json);
  });
});

describe("values", () => {
  it.each([
    ["A07", "r", ["0", "1025"]],
    ["A08", "r", ["-4", "4.5", '"4"', "1e308", "9007199254740992", "9007199254740993", "null", "true", "4.0", "4e0"]],
    ["A12", "lora_alpha", ["1e400", "-1", '"8"', "null", "-1e400", "[8]"]],
    ["A13", "lora_dropout", ["1.0", "-0.1", "2", '"0"', "null"]],
    ["A22", "target_modules", [`"${"x".repeat(4097)}"`, `"${"x".repeat(1_000_000)}"`, `["${"x".repeat(4097)}"]`]],
    ["A27", "alpha_pattern", ['{"q_proj": "x"}', '{"q_proj": -1}', '{"q_proj": null}', '{"q_proj": 1e999}', "[]", "7", `{"${"x".repeat(4097)}": 1}`]],
    ["A30", "rank_pattern", ['{"__proto__": {"polluted": 1}}', '{"q_proj": 0}', '{"q_proj": 1.5}', '{"q_proj": 2000}']],
    ["A47", "target_modules", ['["q_proj", 7, null]', "7", "{}", "true", '[["q_proj"]]']],
    ["", "exclude_modules", ["[1]", "{}"]],
    ["", "layers_to_transform", ["-1", "[0, 1.5]", '"0"']],
    ["", "layers_pattern", ["1", "[null]"]],
    ["", "use_rslora", ['"true"', "1", "null"]],
    ["", "use_dora", ['"false"', "0"]],
    ["", "fan_in_fan_out", ["1"]],
    ["", "bias", ['"some"', "false", "null"]],
    ["", "init_lora_weights", ["1", "null"]],
    ["", "task_type", ["1"]],
    ["", "base_model_name_or_path", ['["x"]']],
    ["", "lowrank", ["7", '{"a": []}', '{"a": 1e400}']],
  ])("%s %s out of range is ADAPTER_BAD_VALUE", (_, field, values) => {
    for (const json of values) {
      const error = errorOf(() => read(changed(field, json)));
      expect([json.slice(0, 60), error.code]).toEqual([json.slice(0, 60), "ADAPTER_BAD_VALUE"]);
      expect(error.message).toContain(`"${field}`);
      expect(error.message).toMatch(/line [0-9]+, column [0-9]+/);
      expect(error.message.length).toBeLessThan(500);
    }
  });

  it("combinations that PEFT refuses are ADAPTER_BAD_VALUE", () => {
    expect(errorOf(() => read('{"peft_type": "LORA", "target_modules": "x", "layers_to_transform": 1}')).code).toBe("ADAPTER_BAD_VALUE");
    expect(errorOf(() => read('{"peft_type": "LORA", "target_modules": "x", "layers_pattern": []}')).code).toBe("ADAPTER_BAD_VALUE");
    expect(errorOf(() => read(changed("layers_pattern", '"layers"'))).code).toBe("ADAPTER_BAD_VALUE");
    expect(read(changed("layers_pattern", "[]")).config.layersPattern).toEqual([]);
  });

  it("the ends of the ranges are allowed", () => {
    expect(read(changed("r", "1")).config.r).toBe(1);
    expect(read(changed("r", "1024")).config.r).toBe(1024);
    expect(read(changed("lora_dropout", "0.999")).config.loraDropout).toBe(0.999);
    expect(read(changed("lora_alpha", "0.5")).config.loraAlpha).toBe(0.5);
    expect(read(changed("target_modules", `"${"x".repeat(4096)}"`)).config.targetModules).toHaveLength(4096);
  });

  it("A10 absent fields have PEFT's defaults", () => {
    const { config, warnings } = read('{"peft_type": "LORA"}');
    expect(config).toMatchObject({
      r: 8,
      loraAlpha: 8,
      loraDropout: 0,
      targetModules: null,
      useRslora: false,
      fanInFanOut: false,
      initLoraWeights: true,
    });
    expect([config.rankPattern.size, config.alphaPattern.size, warnings]).toEqual([0, 0, []]);
  });

  it("A12 lora_alpha 0 is a warning", () => {
    const { config, warnings } = read(changed("lora_alpha", "0"));
    expect(config.loraAlpha).toBe(0);
    expect(warnings).toEqual([expect.stringMatching(/lora_alpha is 0.*no effect/)]);
  });

  it("A46 an empty target_modules is a warning", () => {
    const { config, warnings } = read(changed("target_modules", "[]"));
    expect(config.targetModules).toEqual([]);
    expect(warnings).toEqual([expect.stringContaining("target_modules is empty")]);
  });

  it("A19 fan_in_fan_out true where no weight is [in, out] is ADAPTER_BAD_VALUE", () => {
    const { config } = read(changed("fan_in_fan_out", "true"));
    const linear = { path: "model.q_proj", kind: "linear" as const };
    expect(errorOf(() => checkFanInFanOut(config, [linear], file)).code).toBe("ADAPTER_BAD_VALUE");
    expect(() => checkFanInFanOut(config, [linear, { path: "h.0.c_attn", kind: "conv1d" }], file)).not.toThrow();
    expect(() => checkFanInFanOut(read(changed("r", "4")).config, [linear], file)).not.toThrow();
  });
});

describe("features that change the result", () => {
  it.each([
    ["A14", "bias", ['"all"', '"lora_only"']],
    ["A15", "use_dora", ["true"]],
    ["A16", "init_lora_weights", ['"pissa"', '"pissa_niter_16"', '"olora"', '"corda"', '"eva"', '"loftq"', '"lora_ga"', '"mica"', '"something"']],
    ["A17", "layer_replication", ["[[0, 2], [1, 2]]"]],
    ["A17", "alora_invocation_tokens", ["[1, 2]", "[]"]],
    ["A17", "trainable_token_indices", ["[5]", '{"embed_tokens": [5]}']],
    ["A17", "target_parameters", ['["experts.gate_up_proj"]']],
    ["A17", "lora_bias", ["true"]],
    ["A17", "use_qalora", ["true"]],
    ["A17", "megatron_config", ["{}"]],
    ["A18", "modules_to_save", ['["lm_head"]', '"lm_head"']],
    ["", "use_bdlora", ["{}"]],
    ["", "arrow_config", ["{}"]],
    ["", "kasa_config", ["{}"]],
    ["", "velora_config", ["{}"]],
    ["", "monteclora_config", ["{}"]],
  ])("%s %s is ADAPTER_UNSUPPORTED_FEATURE", (_, field, values) => {
    for (const json of values) {
      const error = errorOf(() => read(changed(field, json)));
      expect([json, error.code]).toEqual([json, "ADAPTER_UNSUPPORTED_FEATURE"]);
      expect(error.message).toContain(`"${field}"`);
    }
  });

  it("neutral values of the same fields are fine", () => {
    for (const [field, json] of [
      ["use_dora", "null"],
      ["modules_to_save", "[]"],
      ["layer_replication", "[]"],
      ["target_parameters", "null"],
      ["init_lora_weights", '"gaussian"'],
      ["init_lora_weights", '"orthogonal"'],
      ["init_lora_weights", "false"],
      ["loftq_config", "{}"],
    ] as const) {
      expect([field, read(changed(field, json)).warnings]).toEqual([field, []]);
    }
  });
});

describe("text of a file is inert", () => {
  it.each([
    ["A20", "target_modules", "(a+)+$"],
    ["A21", "target_modules", "(([a-z_]+\\.?)+)+x"],
    ["A23", "target_modules", "("],
    ["A23", "target_modules", "["],
    ["A23", "target_modules", "a{1000000}"],
    ["A24", "exclude_modules", "(?!x)\\1"],
    ["A32", "base_model_name_or_path", "https://host/x"],
    ["A32", "base_model_name_or_path", "../../secret"],
    ["A32", "base_model_name_or_path", "\\\\host\\share\\x"],
    ["A33", "revision", "--upload-pack=touch /tmp/x"],
  ])("%s %s %s is kept as it is", (_, field, text) => {
    const { config, warnings } = read(changed(field, JSON.stringify(text)));
    const values = {
      target_modules: config.targetModules,
      exclude_modules: config.excludeModules,
      base_model_name_or_path: config.baseModelNameOrPath,
      revision: config.revision,
    };
    expect(values[field as keyof typeof values]).toBe(text);
    expect(warnings).toEqual([]);
  });

  it("A25, A26 pattern keys are kept as they are", () => {
    const { config } = read(`{"peft_type": "LORA", "rank_pattern": {"(.*)*": 8, "(": 2}, "alpha_pattern": {"(a|a)*b": 16}}`);
    expect([...config.rankPattern, ...config.alphaPattern]).toEqual([
      ["(.*)*", 8],
      ["(", 2],
      ["(a|a)*b", 16],
    ]);
  });

  it("A31 auto_mapping is data; anything but two strings is ignored", () => {
    const { config } = read(changed("auto_mapping", '{"parent_library": "os", "base_model_class": "system"}'));
    expect(config.autoMapping).toEqual({ parentLibrary: "os", baseModelClass: "system" });
    expect(read(changed("auto_mapping", '{"parent_library": ["os"]}')).config.autoMapping).toBeNull();
  });

  it("A28, A29, A48 unknown fields are one warning, and no prototype changes", () => {
    const before = Reflect.ownKeys(Object.prototype);
    const text = `{"peft_type": "LORA", "__proto__": {"r": 64}, "constructor": {"prototype": {"polluted": 1}}, "future_flag": 1,
      "rank_pattern": {"__proto__": 4, "constructor": 2}, "lowrank": {"__proto__": "x", "polluted": true}}`;
    const { config, warnings } = read(text);
    expect(warnings).toEqual(['Unknown fields of adapter_config.json are ignored: "__proto__", "constructor", "future_flag".']);
    expect(config.r).toBe(8);
    expect([...config.rankPattern]).toEqual([
      ["__proto__", 4],
      ["constructor", 2],
    ]);
    expect(Reflect.ownKeys(Object.prototype)).toEqual(before);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    expect(Object.getPrototypeOf(config)).toBe(Object.prototype);
    expect(Object.getPrototypeOf(config.lowrank)).toBeNull();
    expect(Object.keys(config.lowrank ?? {})).toEqual(["__proto__", "polluted"]);
  });

  it("hundreds of unknown names and control characters make a short, plain warning", () => {
    const names = Array.from({ length: 500 }, (_, k) => `"\\u001b[31m\\n${k}": 1`).join(",");
    const [warning] = read(`{"peft_type": "LORA", ${names}}`).warnings;
    expect(warning).toMatch(/and 490 more/);
    expect(warning).toMatch(/^[ -~]+$/);
  });

  it("settings without effect are one warning", () => {
    const { warnings } = read('{"peft_type": "LORA", "runtime_config": {"ephemeral_gpu_offload": true}, "loftq_config": {"loftq_bits": 4}}');
    expect(warnings).toEqual([expect.stringMatching(/no effect.*"loftq_config", "runtime_config"/)]);
  });
});

describe("writePeftConfig", () => {
  const whole: PeftConfig = {
    r: 16,
    loraAlpha: 32.5,
    useRslora: true,
    loraDropout: 0.05,
    targetModules: ["fc1", "block.ü\u2028😀"],
    excludeModules: ["fc2"],
    layersToTransform: [0, 3],
    layersPattern: ["h", "layers"],
    rankPattern: new Map([
      ["z", 2],
      ["10", 4],
      ["__proto__", 3],
      ["a", 7],
    ]),
    alphaPattern: new Map([["(a|b)\\.c", 1.5]]),
    fanInFanOut: true,
    initLoraWeights: "gaussian",
    ensureWeightTying: true,
    taskType: "CAUSAL_LM",
    baseModelNameOrPath: "org/model",
    revision: "main",
    peftVersion: "0.21.2",
    autoMapping: { baseModelClass: "Net", parentLibrary: "nets" },
    lowrank: { template: 'a\n"b"', hash: "00ff", steps: 12, packed: false, note: null },
  };

  it("what is written reads the same", () => {
    const text = writePeftConfig(whole as PeftConfig & { targetModules: string[] });
    const { config, warnings } = read(text);
    expect({ ...config, lowrank: { ...config.lowrank } }).toEqual(whole);
    expect([...config.rankPattern.keys()]).toEqual(["z", "10", "__proto__", "a"]);
    expect(warnings).toEqual([]);
  });

  it("is ASCII with sorted keys and PEFT's fields", () => {
    const text = writePeftConfig(whole as PeftConfig & { targetModules: string[] });
    expect(text).toMatch(/^[\n -~]*$/);
    const names = Object.keys(JSON.parse(text) as object);
    const peftNames = Object.keys(JSON.parse(golden("lora-qv").toString()) as object);
    expect(names).toEqual([...peftNames, "lowrank"].sort());
  });

  it("defaults are those of the least configuration, with the file's constants", () => {
    const written = JSON.parse(writePeftConfig({ targetModules: ["fc1"] })) as Record<string, unknown>;
    const peft = JSON.parse(golden("lora-qv").toString()) as Record<string, unknown>;
    const different = { r: 8, lora_alpha: 8, target_modules: ["fc1"], peft_version: null, base_model_name_or_path: null, task_type: null };
    expect(written).toEqual({ ...peft, ...different });
    expect(writePeftConfig({ targetModules: ["fc1"] })).toContain('"lora_dropout": 0.0,');
  });

  it.each<[string, Partial<PeftConfig>]>([
    ["rank 0", { r: 0 }],
    ["alpha NaN", { loraAlpha: Number.NaN }],
    ["dropout 1", { loraDropout: 1 }],
    ["a rank of 2,000 for one module", { rankPattern: new Map([["fc1", 2000]]) }],
    ["an expression with layers", { targetModules: ".*fc1", layersToTransform: 1 }],
  ])("refuses to write %s", (_, options) => {
    expect(errorOf(() => writePeftConfig({ targetModules: ["fc1"], ...options } as PeftConfig & { targetModules: string[] })).code).toBe(
      "ADAPTER_BAD_VALUE",
    );
  });
});
