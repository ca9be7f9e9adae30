import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  type AttachOptions,
  attach,
  Linear,
  Module,
  manualSeed,
  memory,
  type Parameter,
  sum,
  type Tensor,
  tensor,
  tidy,
  valueAndGrad,
} from "../../lib/index.js";
import { boundedNet, inBounds, loadNet, type Net, ramp } from "./net.js";

manualSeed(0); // makes the random state of the environment, which stays

let net: Net;
let x: Tensor;
let base: Map<string, Float32Array>;
let tensorsBefore: number;
beforeEach(async () => {
  tensorsBefore = memory().cpu.tensors;
  ({ net, x, base } = await loadNet());
});
afterEach(() => {
  net.dispose();
  x.dispose();
  expect(memory().cpu.tensors).toBe(tensorsBefore);
});

const data = async (tensor: Tensor): Promise<Float32Array> => {
  const values = (await tensor.data()) as Float32Array;
  tensor.dispose();
  return values;
};

const errorOf = (options: unknown): unknown => {
  try {
    attach(net, options as AttachOptions).dispose();
  } catch (error) {
    return error;
  }
  return undefined;
};

describe("attach", () => {
  it("names parameters as the PEFT file does, and says what each pattern matched", () => {
    using adapter = attach(net, { rank: 3, targetModules: ["up", "head"], excludeModules: ["layers.0.up"] });
    expect([...adapter.parameters().keys()]).toEqual([
      "base_model.model.layers.1.up.lora_A.weight",
      "base_model.model.layers.1.up.lora_B.weight",
      "base_model.model.head.lora_A.weight",
      "base_model.model.head.lora_B.weight",
    ]);
    expect([...adapter.parameters().values()].map(({ shape }) => [...shape])).toEqual([
      [3, 16],
      [24, 3],
      [3, 16],
      [10, 3],
    ]);
    expect(adapter.trainableCount).toBe(3 * (16 + 24 + 16 + 10));
    expect(adapter.targets).toEqual(["layers.1.up", "head"]);
    expect(adapter.ledger).toContainEqual({ option: "targetModules", pattern: "up", hits: ["layers.1.up"] });
    expect(adapter.ledger).toContainEqual({ option: "excludeModules", pattern: "layers.0.up", hits: ["layers.0.up"] });
  });

  it.each<[string, AttachOptions["targetModules"], string[]]>([
    ["a list", ["layers.0.up"], ["layers.0.up"]],
    ["a regular expression", "layers\\.\\d+\\.down", ["layers.0.down", "layers.1.down"]],
    ["all-linear", "all-linear", ["layers.0.up", "layers.0.down", "layers.1.up", "layers.1.down", "head"]],
  ])("targets by %s", (_, targetModules, paths) => {
    using adapter = attach(net, { targetModules });
    expect(adapter.targets).toEqual(paths);
  });

  it.each<["lora" | "sigma"]>([["lora"], ["sigma"]])("%s computes the same before training", async (method) => {
    const { value, error } = boundedNet(base);
    using _ = attach(net, { method, targetModules: "all-linear" });
    expect(inBounds(await data(tidy(() => net.forward(x))), value, error)).toBeLessThanOrEqual(1);
  });

  it("fills A uniformly in ±1/√I, as a function of seed and path alone, and B with zeros", async () => {
    const read = async (options: AttachOptions, name: string): Promise<number[]> => {
      using adapter = attach(net, options);
      const parameter = adapter.parameters().get(name) as Parameter;
      return [...((await parameter.value.data()) as Float32Array)];
    };
    const nameA = "base_model.model.layers.1.up.lora_A.weight";
    const a = await read({ rank: 64, targetModules: ["layers.1.up"] }, nameA);
    expect(Math.max(...a.map(Math.abs))).toBeLessThanOrEqual(1 / 4);
    // Of 1,024 uniform values the mean is within 5 standard errors, and the mean square within 5 of its own.
    const mean = a.reduce((total, value) => total + value, 0) / a.length;
    const square = a.reduce((total, value) => total + value * value, 0) / a.length;
    expect(Math.abs(mean)).toBeLessThan((5 * 0.25) / Math.sqrt(3 * 1024));
    expect(Math.abs(square - 1 / 48)).toBeLessThan((5 * (1 / 16) * Math.sqrt(4 / 45)) / 32);
    expect(await read({ rank: 64, targetModules: "all-linear" }, nameA)).toEqual(a);
    expect(await read({ rank: 64, targetModules: ["up"], seed: 1 }, nameA)).not.toEqual(a);
    expect(await read({ rank: 64, targetModules: ["up"] }, nameA.replace("1", "0"))).not.toEqual(a);
    expect(new Set(await read({ rank: 64, targetModules: ["up"] }, nameA.replace("_A", "_B")))).toEqual(new Set([0]));
  });

  it("keeps all trained values in one buffer, and works inside a tidy scope", async () => {
    using adapter = attach(net, { rank: 2, targetModules: "all-linear", rankPattern: { head: 3 } });
    const parameters = [...adapter.parameters().values()];
    expect(new Set(parameters.map(({ value }) => value.storage)).size).toBe(1);
    expect(parameters[0]?.value.storage.bytes).toBe(4 * adapter.trainableCount);
    expect(parameters.at(-1)?.shape).toEqual([10, 3]);
  });

  it("freezes the module, and gives gradients to the adapter alone", () => {
    const bias = net.head.bias as NonNullable<typeof net.head.bias>;
    bias.trainable = false;
    const first = attach(net, { targetModules: ["up"] });
    const second = attach(net, { method: "sigma", targetModules: ["head"] });
    expect([...net.parameters().values()].some(({ trainable }) => trainable)).toBe(false);
    valueAndGrad(() => sum(net.forward(x))).dispose();
    expect([...net.parameters().values()].every(({ grad }) => grad === undefined)).toBe(true);
    for (const adapter of [first, second]) for (const [name, { grad }] of adapter.parameters()) expect(grad, name).toBeDefined();
    first.detach();
    expect(net.head.weight.trainable).toBe(false);
    second.dispose();
    expect([...net.parameters()].filter(([, { trainable }]) => !trainable).map(([name]) => name)).toEqual(["head.bias"]);
    first.dispose();
  });

  it("drops inputs of the branch only while gradients are recorded", async () => {
    using adapter = attach(net, { targetModules: ["head"], dropout: 0.5 });
    const b = adapter.parameters().get("base_model.model.head.lora_B.weight");
    const values = tensor(ramp(80), [10, 8]);
    b?.assign(values);
    values.dispose();
    const plain = await data(tidy(() => net.forward(x)));
    expect(await data(tidy(() => net.forward(x)))).toEqual(plain);
    const total = plain.reduce((a, c) => a + c, 0);
    const trained = await data(valueAndGrad(() => sum(net.forward(x))));
    expect(Math.abs((trained[0] as number) - total)).toBeGreaterThan(1e-2);
  });
});

describe("attach refuses", () => {
  it.each<[string, unknown, string, RegExp]>([
    ["no options", null, "BAD_ARGUMENT", /options/],
    ["an unknown option", { targetModules: ["up"], lora_alpha: 3 }, "UNKNOWN_OPTION", /lora_alpha/],
    ["a misspelt option", { targetModules: ["up"], rnk: 3 }, "UNKNOWN_OPTION", /mean rank/],
    ["an unknown method", { targetModules: ["up"], method: "toString" }, "BAD_ARGUMENT", /"lora" or "sigma"/],
    ["no targets", {}, "BAD_ARGUMENT", /targetModules/],
    ["rank 0", { targetModules: ["up"], rank: 0 }, "BAD_ARGUMENT", /rank/],
    ["rank 2.5", { targetModules: ["up"], rank: 2.5 }, "BAD_ARGUMENT", /rank/],
    ["a rank that could not be saved", { targetModules: ["up"], rank: 1025 }, "BAD_ARGUMENT", /rank is 1025; expected an integer from 1 to 1024/],
    ["a rank in a pattern that could not be saved", { targetModules: ["up"], rankPattern: { up: 1025 } }, "BAD_ARGUMENT", /rankPattern.* 1 to 1024/],
    ["a rank as text", { targetModules: ["up"], rank: "4" }, "BAD_ARGUMENT", /rank/],
    ["alpha NaN", { targetModules: ["up"], alpha: Number.NaN }, "BAD_ARGUMENT", /alpha/],
    ["dropout 1", { targetModules: ["up"], dropout: 1 }, "BAD_ARGUMENT", /dropout/],
    ["a negative seed", { targetModules: ["up"], seed: -1 }, "BAD_ARGUMENT", /seed/],
    ["useRslora as text", { targetModules: ["up"], useRslora: "yes" }, "BAD_ARGUMENT", /useRslora/],
    ["bias all", { targetModules: ["up"], bias: "all" }, "BAD_ARGUMENT", /bias/],
    ["a list as rankPattern", { targetModules: ["up"], rankPattern: ["up"] }, "BAD_ARGUMENT", /rankPattern/],
    ["a rank of 0 in a pattern", { targetModules: ["up"], rankPattern: { up: 0 } }, "BAD_ARGUMENT", /rankPattern/],
    ["alpha for sigma", { method: "sigma", targetModules: ["up"], alpha: 3 }, "BAD_ARGUMENT", /sigma has no alpha/],
    ["a number as baseModelName", { targetModules: ["up"], baseModelName: 7 }, "BAD_ARGUMENT", /baseModelName/],
    ["an empty taskType", { targetModules: ["up"], taskType: "" }, "BAD_ARGUMENT", /taskType/],
    ["baseModelName for sigma", { method: "sigma", targetModules: ["up"], baseModelName: "net" }, "BAD_ARGUMENT", /sigma has no baseModelName/],
    ["a target that matches nothing", { targetModules: ["up", "upp"] }, "TARGET_UNMATCHED", /"up"/],
    ["an exclusion that matches nothing", { targetModules: ["up"], excludeModules: ["dwn"] }, "TARGET_UNMATCHED", /"down"/],
    ["a pattern key that matches nothing", { targetModules: ["up"], rankPattern: { down: 2 } }, "TARGET_UNMATCHED", /rankPattern/],
    ["a container", { targetModules: ["layers.0"] }, "TARGET_UNSUPPORTED", /"up"/],
    ["a bad expression", { targetModules: "layers.(" }, "PATTERN_SYNTAX", /targetModules/],
    ["a look-ahead", { targetModules: "(?!head).*" }, "PATTERN_UNSUPPORTED", /look-ahead/],
  ])("%s", (_, options, code, text) => {
    const trainable = [...net.parameters().values()].map((parameter) => parameter.trainable);
    const error = errorOf(options);
    expect(error).toMatchObject({ code });
    expect((error as Error).message).toMatch(text);
    expect([...net.parameters().values()].map((parameter) => parameter.trainable)).toEqual(trainable);
    expect([...net.modules().values()].flatMap((module) => (module instanceof Linear ? module.branches : []))).toEqual([]);
  });

  it("sigma on weights without values, and leaves nothing behind", () => {
    class Empty extends Module {
      first = new Linear(3, 2).initialize(0);
      second = new Linear(2, 2);
    }
    const empty = new Empty();
    const before = memory().cpu.tensors;
    expect(() => attach(empty, { method: "sigma", targetModules: "all-linear" })).toThrow(expect.objectContaining({ code: "NOT_INITIALIZED" }));
    expect(memory().cpu.tensors).toBe(before);
    expect(empty.first.branches).toEqual([]);
    expect(empty.first.weight.trainable).toBe(true);
    attach(empty, { targetModules: ["second"] }).dispose(); // lora needs no values
    empty.dispose();
  });
});
