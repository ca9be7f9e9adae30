import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type ModuleKind, matchTargets, type TargetModule, type TargetOptions } from "../../lib/lora/targets.js";
import { orderFreePatterns, valueFor, valuesFor } from "../../lib/lora/value-patterns.js";
import { LowrankError } from "../../lib/native/errors.js";

interface PeftOptions {
  target_modules: string[] | string;
  exclude_modules?: string[] | string;
  modules_to_save?: string[];
  layers_to_transform?: number | number[];
  layers_pattern?: string | string[];
}
interface Fixture {
  peft: string;
  models: Record<string, [string, ModuleKind][]>;
  cases: { model: string; options: PeftOptions; selected: string[] }[];
  keys: { keys: string[]; first: Record<string, string> }[];
}
const fixture = JSON.parse(readFileSync(new URL("../fixtures/targets.json", import.meta.url), "utf8")) as Fixture;

function modulesOf(model: string): TargetModule[] {
  return (fixture.models[model] ?? []).map(([path, kind]) => ({ path, kind, isOutputLayer: path === "lm_head" }));
}
const llama = modulesOf("llama");
const mlp: TargetModule[] = [
  { path: "", kind: "other" },
  { path: "fc1", kind: "linear" },
  { path: "act", kind: "other" },
  { path: "fc2", kind: "linear" },
];

function fromPeft(options: PeftOptions): TargetOptions {
  return {
    targetModules: options.target_modules,
    ...(options.exclude_modules === undefined ? {} : { excludeModules: options.exclude_modules }),
    ...(options.modules_to_save === undefined ? {} : { modulesToSave: options.modules_to_save }),
    ...(options.layers_to_transform === undefined ? {} : { layersToTransform: options.layers_to_transform }),
    ...(options.layers_pattern === undefined ? {} : { layersPattern: options.layers_pattern }),
  };
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

describe(`matchTargets against PEFT ${fixture.peft}`, () => {
  const outcomes = fixture.cases.map((testCase) => {
    try {
      return { ...testCase, match: matchTargets(modulesOf(testCase.model), fromPeft(testCase.options)) };
    } catch (error) {
      if (error instanceof LowrankError) return { ...testCase, error };
      throw error;
    }
  });

  it("selects exactly what PEFT selects", () => {
    const compared = outcomes.flatMap((outcome) => ("match" in outcome ? [outcome] : []));
    expect(compared.length).toBeGreaterThan(120);
    expect(compared.map(({ model, options, match }) => ({ model, options, selected: match.matched }))).toEqual(
      compared.map(({ model, options, selected }) => ({ model, options, selected })),
    );
    const used = (option: keyof PeftOptions) => compared.filter(({ options }) => options[option] !== undefined).length;
    expect(used("exclude_modules")).toBeGreaterThan(15);
    expect(used("modules_to_save")).toBeGreaterThan(5);
    expect(used("layers_to_transform")).toBeGreaterThan(20);
    expect(used("layers_pattern")).toBeGreaterThan(10);
  });

  it("refuses only what names nothing or cannot be adapted", () => {
    for (const outcome of outcomes) {
      if (!("error" in outcome)) continue;
      expect(["TARGET_UNMATCHED", "TARGET_UNSUPPORTED"]).toContain(outcome.error.code);
      if (outcome.error.code === "TARGET_UNSUPPORTED") expect(outcome.selected).toContain(outcome.error.details.module);
      const { option, pattern } = outcome.error.details as { option?: string; pattern: string };
      if (option !== "targetModules" || typeof outcome.options.target_modules === "string") continue;
      const hits = outcome.selected.filter((path) => path === pattern || path.endsWith(`.${pattern}`));
      expect([pattern, hits]).toEqual([pattern, []]);
    }
  });

  it("takes the first key that matches, as get_pattern_key does", () => {
    for (const { keys, first } of fixture.keys) {
      const patterns = new Map(keys.map((key, index) => [key, index]));
      for (const [path] of (fixture.models.llama ?? []).filter(([, kind]) => kind === "linear").slice(0, 14)) {
        const expected = first[path] === undefined ? -1 : keys.indexOf(first[path]);
        expect([keys, path, valueFor(path, patterns, -1)]).toEqual([keys, path, expected]);
      }
    }
    expect(fixture.keys.filter(({ first }) => Object.keys(first).length > 0).length).toBeGreaterThan(30);
  });

  it("all-linear gives the list that PEFT writes for a Llama", () => {
    const written = JSON.parse(readFileSync(new URL("../fixtures/adapters/lora-all-linear.json", import.meta.url), "utf8")) as PeftOptions;
    const twoLayers = llama.filter(({ path }) => !/^model\.layers\.([2-9]|1[01])(\.|$)/.test(path));
    for (const targetModules of ["all-linear", "ALL-linear"]) {
      const { matched } = matchTargets(twoLayers, { targetModules });
      expect([...matched].sort()).toEqual([...written.target_modules].sort());
    }
  });
});

describe("matchTargets", () => {
  it("all-linear on a model without an output layer takes every linear", () => {
    expect(matchTargets(mlp, { targetModules: "all-linear" })).toEqual({
      matched: ["fc1", "fc2"],
      ledger: [{ option: "targetModules", pattern: "all-linear", hits: ["fc1", "fc2"] }],
    });
  });

  it("all-linear takes conv1d and no embedding", () => {
    const { matched } = matchTargets(modulesOf("gpt2"), { targetModules: "all-linear" });
    expect(matched).toHaveLength(8);
    expect(matched.every((path) => /c_(attn|proj|fc)$/.test(path))).toBe(true);
  });

  it("lm_head may be excluded from all-linear, though it is left out anyway", () => {
    const { matched, ledger } = matchTargets(llama, { targetModules: "all-linear", excludeModules: ["lm_head"] });
    expect(matched).toHaveLength(84);
    expect(ledger[1]).toEqual({ option: "excludeModules", pattern: "lm_head", hits: ["lm_head"] });
  });

  it("the ledger says what every entry did", () => {
    const { matched, ledger } = matchTargets(llama, {
      targetModules: ["q_proj", "model.layers.11.mlp.up_proj"],
      excludeModules: ["layers.1.self_attn.q_proj"],
      layersToTransform: [0, 2],
      layersPattern: "layers",
    });
    const q = (layer: number) => `model.layers.${layer}.self_attn.q_proj`;
    const up = "model.layers.11.mlp.up_proj";
    expect(matched).toEqual([q(0), q(2), up]);
    const everyQ = Array.from({ length: 12 }, (_, layer) => q(layer));
    expect(ledger).toEqual([
      { option: "targetModules", pattern: "q_proj", hits: [q(0), q(2)] },
      { option: "targetModules", pattern: "model.layers.11.mlp.up_proj", hits: [up] },
      { option: "excludeModules", pattern: "layers.1.self_attn.q_proj", hits: [q(1)] },
      { option: "layersPattern", pattern: "layers", hits: everyQ },
      { option: "layersToTransform", pattern: "0", hits: [q(0)] },
      { option: "layersToTransform", pattern: "2", hits: [q(2)] },
    ]);
  });

  it.each<[string, TargetOptions, RegExp]>([
    ["a slip", { targetModules: ["q_proj", "v_porj"] }, /targetModules: "v_porj" matches no module\. Nearest names: .*"v_proj"/],
    ["a slip in two parts", { targetModules: ["self_atn.q_proj"] }, /"self_attn\.q_proj"/],
    ["a substring", { targetModules: ["proj"] }, /"proj" matches no module/],
    ["nothing alike", { targetModules: ["query_key_value"] }, /could match: .*"q_proj"/],
    ["a list entry given as a string", { targetModules: "q_proj" }, /regular expression for the whole path; write \["q_proj"\]/],
    ["an expression that matches nothing", { targetModules: ".*\\.c_attn" }, /matches no module/],
    ["an unknown exclusion", { targetModules: ["q_proj"], excludeModules: ["k_porj"] }, /excludeModules: "k_porj" matches no module/],
    ["an exclusion of something not targeted", { targetModules: ["q_proj"], excludeModules: ["k_proj"] }, /"k_proj" leaves nothing out/],
    [
      "an exclusion of a container",
      { targetModules: ["q_proj"], excludeModules: ["layers.0"] },
      /"layers\.0" leaves nothing out.*not for those inside/,
    ],
    [
      "an entry that is excluded",
      { targetModules: ["q_proj", "k_proj"], excludeModules: ["k_proj"] },
      /everything that "k_proj" matches .* is left out/,
    ],
    ["an entry that is saved whole", { targetModules: ["q_proj", "lm_head"], modulesToSave: ["lm_head"] }, /everything that "lm_head" matches/],
    ["an unknown module to save", { targetModules: ["q_proj"], modulesToSave: ["classifier"] }, /modulesToSave: "classifier" matches no module/],
    ["a layer that is not there", { targetModules: ["q_proj"], layersToTransform: [0, 12] }, /layersToTransform: "12" selects no module.*"0", "1"/],
    [
      "a list of layers that is not there",
      { targetModules: ["q_proj"], layersToTransform: 0, layersPattern: "h" },
      /everything that "q_proj" matches/,
    ],
    [
      "one name of two for the list of layers",
      { targetModules: ["q_proj"], layersToTransform: 0, layersPattern: ["layers", "h"] },
      /layersPattern: "h" selects no module/,
    ],
  ])("TARGET_UNMATCHED: %s", (_, options, message) => {
    const error = errorOf(() => matchTargets(llama, options));
    expect(error.code).toBe("TARGET_UNMATCHED");
    expect(error.message).toMatch(message);
  });

  it("names the pattern, the module and the layers inside when a module cannot be adapted", () => {
    const error = errorOf(() => matchTargets(llama, { targetModules: ["q_proj", "mlp"] }));
    expect(error.code).toBe("TARGET_UNSUPPORTED");
    expect(error.message).toMatch(/"mlp" matches "model\.layers\.0\.mlp".*"gate_proj", "up_proj", "down_proj"/);
    expect(errorOf(() => matchTargets(llama, { targetModules: ".*" })).code).toBe("TARGET_UNSUPPORTED");
    expect(errorOf(() => matchTargets(llama, { targetModules: ["norm"] })).code).toBe("TARGET_UNSUPPORTED");
    expect(errorOf(() => matchTargets(llama, { targetModules: ["embed_tokens"] }, ["linear"])).code).toBe("TARGET_UNSUPPORTED");
    expect(matchTargets(llama, { targetModules: ["embed_tokens"] }).matched).toEqual(["model.embed_tokens"]);
  });

  it("modules to save leave out everything inside them", () => {
    const { matched } = matchTargets(llama, { targetModules: ["q_proj", "up_proj"], modulesToSave: ["model.layers.0", "layers.3.mlp"] });
    expect(matched).not.toContain("model.layers.0.self_attn.q_proj");
    expect(matched).not.toContain("model.layers.3.mlp.up_proj");
    expect(matched).toContain("model.layers.3.self_attn.q_proj");
    expect(matched).toHaveLength(21);
  });

  it.each<[string, unknown]>([
    ["an empty list", { targetModules: [] }],
    ["an empty name", { targetModules: ["q_proj", ""] }],
    ["an empty string", { targetModules: "" }],
    ["no targets", {}],
    ["a number among the names", { targetModules: ["q_proj", 7] }],
    ["null", { targetModules: null }],
    ["a Set", { targetModules: new Set(["q_proj"]) }],
    ["a string for modulesToSave", { targetModules: ["q_proj"], modulesToSave: "lm_head" }],
    ["layers with a string", { targetModules: "all-linear", layersToTransform: [0] }],
    ["a name of layers without numbers", { targetModules: ["q_proj"], layersPattern: "layers" }],
    ["no layers", { targetModules: ["q_proj"], layersToTransform: [] }],
    ["a negative layer", { targetModules: ["q_proj"], layersToTransform: -1 }],
    ["half a layer", { targetModules: ["q_proj"], layersToTransform: [0.5] }],
    ["no names of layers", { targetModules: ["q_proj"], layersToTransform: 0, layersPattern: [] }],
  ])("BAD_ARGUMENT: %s", (_, options) => {
    expect(errorOf(() => matchTargets(llama, options as TargetOptions)).code).toBe("BAD_ARGUMENT");
  });

  it.each([
    ["(", "PATTERN_SYNTAX"],
    ["[", "PATTERN_SYNTAX"],
    ["a{1000000}", "PATTERN_TOO_COMPLEX"],
    ["(?i)q_proj", "PATTERN_UNSUPPORTED"],
    ["(?!x)q_proj", "PATTERN_UNSUPPORTED"],
    ["\\1", "PATTERN_UNSUPPORTED"],
    ["x".repeat(5000), "PATTERN_TOO_COMPLEX"],
  ])("A23, A24: %s is %s on new training", (targetModules, code) => {
    expect(errorOf(() => matchTargets(llama, { targetModules })).code).toBe(code);
  });

  it("A24: a named group is supported", () => {
    expect(matchTargets(llama, { targetModules: ".*(?P<n>q_proj)" }).matched).toHaveLength(12);
  });
});

describe("values by pattern", () => {
  const paths = ["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.q_proj"];

  it("gives every path the value of the first key that matches", () => {
    const patterns = { "layers.0.self_attn.q_proj": 24, q_proj: 10 };
    expect([...valuesFor(paths, patterns, 8, "alphaPattern").values()]).toEqual([24, 8, 10]);
    expect([...valuesFor(paths, new Map(Object.entries(patterns).reverse()), 8, "alphaPattern").values()]).toEqual([10, 8, 10]);
    expect(valueFor("model.layers.0.self_attn.v_proj", patterns, 8)).toBe(8);
  });

  it("every key must match on new training, none need to for a file", () => {
    const error = errorOf(() => valuesFor(paths, { q_proj: 4, v_porj: 2 }, 8, "rankPattern"));
    expect(error.code).toBe("TARGET_UNMATCHED");
    expect(error.message).toMatch(/^rankPattern: "v_porj" matches none .*"v_proj"/);
    expect([...valuesFor(paths, { q_proj: 4, k_proj: 2 }, 8, "rank_pattern", "any").values()]).toEqual([4, 8, 4]);
  });

  it("A26: a catastrophic key of a file is matched, not run", () => {
    const long = "a".repeat(200);
    expect(valueFor(long, new Map([["(a|a)*b", 16]]), 8, "alpha_pattern")).toBe(8);
    expect(valueFor(`${long}b`, new Map([["(a|a)*b", 16]]), 8, "alpha_pattern")).toBe(16);
    expect(errorOf(() => valueFor("a", new Map([["(?=a)a", 16]]), 8, "alpha_pattern")).code).toBe("PATTERN_UNSUPPORTED");
  });

  it("many hard keys on many paths end in an error, not in a long wait", () => {
    const keys = new Map(Array.from({ length: 400 }, (_, key) => [`${key}|(.{0,40}){0,200}x`, key]));
    const many = Array.from({ length: 400 }, (_, path) => `${"m.".repeat(60)}${path}`);
    expect(errorOf(() => valuesFor(many, keys, 8, "alpha_pattern", "any")).code).toBe("PATTERN_TOO_COMPLEX");
  });

  it("a value of its own for each module of a large model is no burden", () => {
    const many = Array.from({ length: 560 }, (_, k) => `model.layers.${Math.floor(k / 7)}.self_attn.${"qkvogud"[k % 7]}_proj`);
    const values = new Map(many.map((path, k) => [path, k]));
    expect([...valuesFor(many, values, -1, "rankPattern").values()]).toEqual(many.map((_, k) => k));
  });

  it("__proto__ is a key like any other", () => {
    expect(valueFor("model.__proto__", new Map([["__proto__", 3]]), 8)).toBe(3);
    expect(valueFor("model.fc1", JSON.parse('{"__proto__": 3}'), 8)).toBe(8);
  });

  it("patterns that depend on their order are written path by path", () => {
    const patterns = { q_proj: 10, "layers.0.self_attn.q_proj": 24 };
    const written = orderFreePatterns(paths, patterns, 8, "alphaPattern");
    expect([...written]).toEqual([
      ["^model\\.layers\\.0\\.self_attn\\.q_proj", 10],
      ["^model\\.layers\\.1\\.self_attn\\.q_proj", 10],
    ]);
    expect(valuesFor(paths, written, 8, "alphaPattern")).toEqual(valuesFor(paths, { q_proj: 10 }, 8, "alphaPattern"));
  });

  it("patterns that do not overlap are only sorted", () => {
    expect([...orderFreePatterns(paths, { v_proj: 3, q_proj: 4 }, 8, "rankPattern")]).toEqual([
      ["q_proj", 4],
      ["v_proj", 3],
    ]);
  });
});
