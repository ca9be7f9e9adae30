import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Adapter, attach, type LowrankError, loadAdapter, memory, type Tensor, tensor, tidy } from "../../lib/index.js";
import { openSafetensors } from "../../lib/io/safetensors.js";
import type { SafetensorsDType } from "../../lib/io/safetensors-dtype.js";
import { writeSafetensors } from "../../lib/io/safetensors-write.js";
import { boundedNet, inBounds, loadNet, type Net, peftFixture, peftOutputs, ramp, type Update } from "./net.js";
import { attachCase, writtenCases } from "./written.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "lowrank-files-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

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

const forward = async (): Promise<Float32Array> => {
  const y = tidy(() => net.forward(x));
  const values = (await y.data()) as Float32Array;
  y.dispose();
  return values;
};

/** The factors of an adapter in plain numbers. */
async function updatesOf(adapter: Adapter): Promise<Map<string, Update>> {
  const read = async (tensor: Tensor): Promise<number[]> => Array.from((await tensor.data()) as Float32Array);
  const entries = adapter.layers.map(async ({ path, branch }) => {
    const [a, b, middle] = await Promise.all([read(branch.a.value), read(branch.b.value), branch.middle && read(branch.middle.value)]);
    const rank = branch.a.shape[0] as number;
    return [path, { a, b: b.map((value, i) => value * (middle?.[i % rank] ?? 1)), rank, scale: branch.scale }] as const;
  });
  return new Map(await Promise.all(entries));
}

describe("what attach was told of the base", () => {
  it("stands in the file, where other programs look for it", async () => {
    const dir = join(folder, "named-base");
    using adapter = attach(net, { rank: 2, targetModules: ["up"], baseModelName: "owner/net", taskType: "CAUSAL_LM" });
    await adapter.save(dir);
    const config = JSON.parse(await readFile(join(dir, "adapter_config.json"), "utf8"));
    expect(config).toMatchObject({ base_model_name_or_path: "owner/net", task_type: "CAUSAL_LM" });
    using plain = attach(net, { rank: 2, targetModules: ["up"] });
    await plain.save(dir);
    const without = JSON.parse(await readFile(join(dir, "adapter_config.json"), "utf8"));
    expect(without).toMatchObject({ base_model_name_or_path: null, task_type: null });
  });
});

describe("what PEFT wrote", async () => {
  const expected = await peftOutputs();

  it.each(Object.keys(expected))("%s gives PEFT's outputs", async (name) => {
    const plain = await forward();
    const adapter = await loadAdapter(net, peftFixture(name));
    const { error } = boundedNet(base, await updatesOf(adapter));
    const actual = await forward();
    expect(inBounds(actual, expected[name] as number[], error)).toBeLessThanOrEqual(1);
    expect(inBounds(plain, expected[name] as number[], error)).toBeGreaterThan(1000);
    expect(adapter.warnings).toEqual(name === "plain-f64" ? ["6 tensors are stored as F64; they were rounded to f32."] : []);
    // Saved by us and loaded again: the same bits, the same names.
    await adapter.save(join(folder, `again-${name}`));
    const bytes = await adapter.toBytes();
    const names = [...adapter.parameters().keys()];
    const file = await openSafetensors(peftFixture(`${name}/adapter_model.safetensors`));
    expect([...names].sort()).toEqual([...file.tensors.keys()].sort());
    await file.close();
    adapter.dispose();
    for (const source of [join(folder, `again-${name}`), bytes]) {
      const again = await loadAdapter(net, source);
      expect([...again.parameters().keys()]).toEqual(names);
      expect(await forward()).toEqual(actual);
      again.dispose();
    }
  });
});

describe("what we write", async () => {
  const { outputs } = JSON.parse(await readFile(peftFixture("written/peft.json"), "utf8")) as { outputs: Record<string, number[]> };

  it("has a fixture for every case", () => {
    expect(Object.keys(outputs)).toEqual(Object.keys(writtenCases));
  });

  it.each(Object.keys(writtenCases))("%s: the bytes that PEFT has read, and its outputs", async (name) => {
    const adapter = attachCase(net, name);
    const written = join(folder, name);
    await adapter.exportAsLora(written);
    const { error } = boundedNet(base, await updatesOf(adapter));
    expect(inBounds(await forward(), outputs[name] as number[], error)).toBeLessThanOrEqual(1);
    adapter.dispose();
    expect((await readdir(written)).sort()).toEqual(["adapter_config.json", "adapter_model.safetensors"]);
    const same = async (file: string): Promise<void> => {
      expect(Buffer.compare(await readFile(join(written, file)), await readFile(peftFixture(`written/${name}/${file}`))), file).toBe(0);
    };
    await same("adapter_config.json");
    if (writtenCases[name]?.method !== "sigma") await same("adapter_model.safetensors"); // singular vectors vary in the last bits
    const loaded = await loadAdapter(net, written);
    expect(inBounds(await forward(), outputs[name] as number[], error)).toBeLessThanOrEqual(1);
    loaded.dispose();
  });

  it("is not written when a value is not finite", async () => {
    const adapter = attach(net, { rank: 1, targetModules: ["head"] });
    const nan = tensor(
      ramp(10).map((value, i) => (i === 4 ? Number.NaN : value)),
      [10, 1],
    );
    adapter.parameters().get("base_model.model.head.lora_B.weight")?.assign(nan);
    nan.dispose();
    const error = { code: "TENSOR_NONFINITE", details: { tensor: "base_model.model.head.lora_B.weight", index: 4 } };
    await expect(adapter.save(join(folder, "nan"))).rejects.toMatchObject(error);
    await expect(adapter.toBytes()).rejects.toMatchObject(error);
    await expect(readdir(join(folder, "nan"))).rejects.toMatchObject({ code: "ENOENT" });
    adapter.dispose();
  });

  it("replaces an older adapter, or leaves it as it was", async () => {
    const target = join(folder, "replaced");
    const adapter = attach(net, { rank: 1, targetModules: ["head"] });
    await adapter.save(target);
    const before = await readFile(join(target, "adapter_model.safetensors"));
    await expect(adapter.save(target, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
    expect(Buffer.compare(await readFile(join(target, "adapter_model.safetensors")), before)).toBe(0);
    expect((await readdir(target)).length).toBe(2);
    adapter.dispose();
  });

  it("holds the values of one moment", async () => {
    const adapter = attach(net, { rank: 1, targetModules: ["head"] });
    const bytes = await adapter.toBytes();
    const later = adapter.toBytes();
    const other = tensor(ramp(10), [10, 1]);
    adapter.parameters().get("base_model.model.head.lora_B.weight")?.assign(other);
    other.dispose();
    expect(Buffer.compare(await later, bytes)).toBe(0);
    expect(Buffer.compare(await adapter.toBytes(), bytes)).not.toBe(0);
    adapter.dispose();
  });
});

interface Stored {
  name: string;
  dtype: SafetensorsDType;
  shape: number[];
  bytes: Uint8Array;
}

/** A copy of the plain adapter of PEFT with other tensors or another config. */
async function altered(change: (tensors: Stored[], config: Record<string, unknown>) => Stored[] | undefined): Promise<string> {
  const target = await mkdtemp(join(folder, "case-"));
  const file = await openSafetensors(peftFixture("plain/adapter_model.safetensors"));
  const tensors: Stored[] = [];
  for (const [name, { dtype, shape }] of file.tensors) tensors.push({ name, dtype, shape: [...shape], bytes: await file.readBytes(name) });
  await file.close();
  const config = JSON.parse(await readFile(peftFixture("plain/adapter_config.json"), "utf8")) as Record<string, unknown>;
  const kept = change(tensors, config) ?? tensors;
  await writeSafetensors(
    join(target, "adapter_model.safetensors"),
    kept.map(({ bytes, ...rest }) => ({ ...rest, data: () => bytes })),
    { format: "pt" },
  );
  await writeFile(join(target, "adapter_config.json"), JSON.stringify(config));
  return target;
}

const find = (tensors: Stored[], end: string): Stored => tensors.find(({ name }) => name.endsWith(end)) as Stored;
type Change = Parameters<typeof altered>[0];
const field =
  (name: string, value: unknown): Change =>
  (_, config) =>
    void Object.assign(config, { [name]: value });
const renamed =
  (from: string, to: string): Change =>
  (tensors) =>
    tensors.map((one) => ({ ...one, name: one.name.replace(from, to) }));
const floats = (tensor: Stored): Float32Array => new Float32Array(tensor.bytes.buffer);
const upB = "layers.1.up.lora_B.weight";

describe("a damaged or foreign adapter", () => {
  const refused: [string, Change, string, RegExp][] = [
    [
      "A35 a renamed module",
      (t) => void Object.assign(find(t, upB), { name: "base_model.model.layers.1.upp.lora_B.weight" }),
      "ADAPTER_TENSOR_UNMATCHED",
      /Nearest: "layers\.1\.up"/,
    ],
    ["A36 a half without its partner", (t) => t.filter((one) => one !== find(t, upB)), "ADAPTER_PAIR_INCOMPLETE", /layers\.1\.up\.lora_B\.weight/],
    [
      "A37 a wrong input size",
      (t) => void Object.assign(find(t, "layers.0.up.lora_A.weight"), { shape: [4, 17], bytes: new Uint8Array(4 * 4 * 17) }),
      "ADAPTER_SHAPE_MISMATCH",
      /is \[4, 17\]; "layers\.0\.up" \[24, 16\] needs \[rank, 16\]/,
    ],
    ["A matrix with three axes", (t) => void Object.assign(find(t, upB), { shape: [24, 2, 2] }), "ADAPTER_SHAPE_MISMATCH", /\[24, 2, 2\]/],
    [
      "A38 two ranks in a pair",
      (t) => void Object.assign(find(t, upB), { shape: [24, 8], bytes: new Uint8Array(4 * 24 * 8) }),
      "ADAPTER_RANK_MISMATCH",
      /rank 4.*rank 8|rank 8.*rank 4/,
    ],
    ["A09 another rank than the config", field("r", 8), "ADAPTER_RANK_MISMATCH", /rank 4, adapter_config\.json says 8/],
    ["A10 no rank in the config", (_, config) => void delete config["r"], "ADAPTER_RANK_MISMATCH", /says 8/],
    ["A39 a layer that does not exist", renamed("layers.1", "layers.99"), "ADAPTER_TENSOR_UNMATCHED", /2 of 6 tensors.*"layers\.99\.up"/],
    [
      "A40 another base",
      (t) =>
        void t.forEach(
          (one) =>
            void Object.assign(one, {
              shape: one.name.includes("_A") ? [4, 32] : [48, 4],
              bytes: new Uint8Array(one.name.includes("_A") ? 512 : 768),
            }),
        ),
      "ADAPTER_SHAPE_MISMATCH",
      /6 of 6 tensors do not fit/,
    ],
    ["A42 a NaN", (t) => void floats(find(t, upB)).set([Number.NaN], 7), "TENSOR_NONFINITE", /lora_B.*element 7/],
    ["A42 an infinity", (t) => void floats(find(t, upB)).set([Number.NEGATIVE_INFINITY], 0), "TENSOR_NONFINITE", /element 0/],
    [
      "A44 F64 beyond f32",
      (t) => void Object.assign(find(t, upB), { dtype: "F64", bytes: new Uint8Array(new Float64Array(96).fill(1e300).buffer) }),
      "TENSOR_NONFINITE",
      /element 0/,
    ],
    ["A44 I32", (t) => void Object.assign(find(t, upB), { dtype: "I32" }), "DTYPE_UNSUPPORTED", /I32/],
    ["A44 BOOL", (t) => void Object.assign(find(t, upB), { dtype: "BOOL", bytes: new Uint8Array(96) }), "DTYPE_UNSUPPORTED", /BOOL/],
    [
      "A45 two adapters in one file",
      (t) => [...t, ...t.map((one) => ({ ...one, name: one.name.replace(".weight", ".other.weight") }))],
      "ADAPTER_TENSOR_UNMATCHED",
      /same factor of the same module/,
    ],
    ["A47 target_modules with a number", field("target_modules", ["up", 7, null]), "ADAPTER_BAD_VALUE", /target_modules/],
    [
      "an embedding",
      (t) => [...t, { name: "base_model.model.head.lora_embedding_A", dtype: "F32", shape: [1], bytes: new Uint8Array(4) }],
      "ADAPTER_TENSOR_UNMATCHED",
      /not the name of a factor/,
    ],
    [
      "a magnitude vector",
      (t) => [...t, { name: "base_model.model.head.lora_magnitude_vector", dtype: "F32", shape: [10], bytes: new Uint8Array(40) }],
      "ADAPTER_TENSOR_UNMATCHED",
      /not the name of a factor/,
    ],
    [
      "a container as target",
      (t) => [
        ...t,
        ...["A", "B"].map(
          (half): Stored => ({ name: `base_model.model.layers.0.lora_${half}.weight`, dtype: "F32", shape: [1, 1], bytes: new Uint8Array(4) }),
        ),
      ],
      "TARGET_UNSUPPORTED",
      /"layers\.0", which is no Linear/,
    ],
    ["no tensors", () => [], "TENSOR_MISSING", /no tensor/],
    ["DoRA", field("use_dora", true), "ADAPTER_UNSUPPORTED_FEATURE", /use_dora/],
    ["fan_in_fan_out on a Linear", field("fan_in_fan_out", true), "ADAPTER_BAD_VALUE", /fan_in_fan_out/],
    ["IA3", field("peft_type", "IA3"), "ADAPTER_UNSUPPORTED_TYPE", /IA3/],
    ["an alpha pattern that cannot be matched", field("alpha_pattern", { "(?!x)up": 3 }), "PATTERN_UNSUPPORTED", /alpha_pattern/],
  ];

  it.each(refused)("%s", async (_, change, code, text) => {
    const { tensors } = memory().cpu;
    const trainable = [...net.parameters().values()].map((parameter) => parameter.trainable);
    const before = await forward();
    const error = await loadAdapter(net, await altered(change)).then(
      () => undefined,
      (reason: LowrankError) => reason,
    );
    expect(error).toMatchObject({ code });
    expect(error?.message).toMatch(text);
    expect(error?.message.length).toBeLessThan(1200);
    expect(memory().cpu.tensors).toBe(tensors);
    expect([...net.parameters().values()].map((parameter) => parameter.trainable)).toEqual(trainable);
    expect(await forward()).toEqual(before);
  });

  const accepted: [string, Change, RegExp | undefined][] = [
    ["A34 names without the prefix", renamed("base_model.model.", ""), undefined],
    ["A45 names with the adapter's", renamed(".weight", ".lora.weight"), undefined],
    ["A46 no target_modules", field("target_modules", []), /target_modules is empty/],
    ["A48 an unknown field", field("future_flag", 1), /"future_flag"/],
    ["A25 a rank pattern that means something else", field("rank_pattern", { "(.*)*": 8 }), undefined],
    ["A20 an exponential expression", field("target_modules", "(a+)+$"), undefined],
  ];

  it.each(accepted)("is accepted where nothing is lost: %s", async (_, change, warning) => {
    const expected = (await peftOutputs())["plain"] as number[];
    const adapter = await loadAdapter(net, await altered(change));
    const { error } = boundedNet(base, await updatesOf(adapter));
    expect(inBounds(await forward(), expected, error)).toBeLessThanOrEqual(1);
    expect(adapter.warnings).toHaveLength(warning === undefined ? 0 : 1);
    if (warning !== undefined) expect(adapter.warnings[0]).toMatch(warning);
    adapter.dispose();
  });

  it("A41 that changes nothing is loaded with a warning", async () => {
    const zero = await altered((tensors) => void tensors.filter(({ name }) => name.includes("_B")).forEach((one) => void one.bytes.fill(0)));
    const adapter = await loadAdapter(net, zero);
    expect(adapter.warnings).toEqual([expect.stringMatching(/is an identity/)]);
    adapter.dispose();
  });
});

describe("loadAdapter", () => {
  it("never opens a pickle (A43)", async () => {
    const target = join(folder, "pickle");
    await cp(peftFixture("plain"), target, { recursive: true });
    await rename(join(target, "adapter_model.safetensors"), join(target, "adapter_model.bin"));
    await expect(loadAdapter(net, target)).rejects.toMatchObject({
      code: "WRONG_FILE_TYPE",
      message: expect.stringMatching(/^adapter_model\.bin: .*save_pretrained/),
    });
  });

  it("names the file that is not there", async () => {
    await expect(loadAdapter(net, join(folder, "nowhere"))).rejects.toMatchObject({ code: "IO_NOT_FOUND", details: { file: "nowhere" } });
    const target = join(folder, "half");
    await mkdir(target);
    await cp(peftFixture("plain/adapter_config.json"), join(target, "adapter_config.json"));
    await expect(loadAdapter(net, target)).rejects.toMatchObject({ code: "IO_NOT_FOUND", details: { file: "adapter_model.safetensors" } });
    await expect(loadAdapter(net, 7 as unknown as string)).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
  });

  it("takes only bytes that hold their configuration", async () => {
    const bare = await readFile(peftFixture("plain/adapter_model.safetensors"));
    await expect(loadAdapter(net, bare)).rejects.toMatchObject({ code: "ADAPTER_MISSING_FIELD" });
    await expect(loadAdapter(net, new Uint8Array(3))).rejects.toMatchObject({ code: "ST_HEADER_TOO_SMALL" });
  });

  it("stops when it is told to", async () => {
    const reason = new Error("enough");
    const error = { code: "ABORTED", cause: reason };
    await expect(loadAdapter(net, peftFixture("plain"), { signal: AbortSignal.abort(reason) })).rejects.toMatchObject(error);
    const adapter = attach(net, { targetModules: ["head"] });
    const bytes = await adapter.toBytes();
    adapter.dispose();
    await expect(loadAdapter(net, bytes, { signal: AbortSignal.abort(reason) })).rejects.toMatchObject(error);
    expect(net.head.branches).toEqual([]);
  });

  it("goes on training where it was", async () => {
    const adapter = await loadAdapter(net, peftFixture("plain"), { name: "support" });
    expect(adapter.name).toBe("support");
    expect([...adapter.parameters().values()].every(({ trainable, dtype }) => trainable && dtype === "f32")).toBe(true);
    expect(new Set([...adapter.parameters().values()].map(({ value }) => value.storage)).size).toBe(1);
    expect([...net.parameters().values()].some(({ trainable }) => trainable)).toBe(false);
    adapter.dispose();
    expect([...net.parameters().values()].every(({ trainable }) => trainable)).toBe(true);
  });
});
