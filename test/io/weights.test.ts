/** @file Model folders: the corpus of malformed shard indexes (X-cases), links that lead out, one file or many. */
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { resolveInside } from "../../lib/io/inside.js";
import { serializeSafetensors } from "../../lib/io/safetensors-write.js";
import { parseShardIndex } from "../../lib/io/shard-index.js";
import { openWeights, type Weights } from "../../lib/io/weights.js";
import { LowrankError } from "../../lib/native/errors.js";

let root = "";
let folder = "";
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "lowrank-weights-"));
  folder = join(root, "model");
  await mkdir(folder);
});
afterEach(() => rm(root, { recursive: true, force: true }));

const first = "model-00001-of-00002.safetensors";
const second = "model-00002-of-00002.safetensors";

/** A file with tensors of four F32 each, filled with a value. */
function shard(tensors: Record<string, number>): Promise<Uint8Array> {
  return serializeSafetensors(
    Object.entries(tensors).map(([name, value]) => ({
      name,
      dtype: "F32" as const,
      shape: [4],
      data: () => new Uint8Array(new Float32Array(4).fill(value).buffer),
    })),
  );
}

const indexText = (weightMap: unknown, totalSize: unknown = 32): string =>
  JSON.stringify({ metadata: { total_size: totalSize }, weight_map: weightMap });

async function model(index: string, shards: Record<string, Uint8Array> = {}): Promise<void> {
  await writeFile(join(folder, first), shards[first] ?? (await shard({ a: 1 })));
  await writeFile(join(folder, second), shards[second] ?? (await shard({ b: 2 })));
  await writeFile(join(folder, "model.safetensors.index.json"), index);
}

async function failure(): Promise<LowrankError> {
  let weights: Weights;
  try {
    weights = await openWeights(folder);
  } catch (error) {
    if (!(error instanceof LowrankError)) throw error;
    expect(error.message).not.toContain(root);
    return error;
  }
  await weights.close();
  throw new Error("the model was opened");
}

const values = async (weights: Weights, name: string): Promise<number[]> => {
  const { file } = weights.tensor(name);
  return [...new Float32Array((await file.readBytes(name)).buffer)];
};

describe("a sharded model", () => {
  test("the base case", async () => {
    await model(indexText({ a: first, b: second }));
    const weights = await openWeights(folder);
    expect([...weights.tensors.keys()]).toEqual(["a", "b"]);
    expect(weights.warnings).toEqual([]);
    expect(await values(weights, "a")).toEqual([1, 1, 1, 1]);
    expect(await values(weights, "b")).toEqual([2, 2, 2, 2]);
    expect(() => weights.tensor("c")).toThrow(expect.objectContaining({ code: "TENSOR_MISSING" }));
    await weights.close();
    await expect(values(weights, "a")).rejects.toMatchObject({ code: "DISPOSED" });
  });

  test.each([
    ["X01", "../x.safetensors"],
    ["X02", "sub/../../x.safetensors"],
    ["X03", "<ABS>/x.safetensors"],
    ["X04", "..\\x.safetensors"],
    ["X05", "\\\\host\\share\\x.safetensors"],
    ["X06", "C:x.safetensors"],
    ["X06", "x.safetensors:stream"],
    ["X07", "CON.safetensors"],
    ["X07", "nul.safetensors"],
    ["X07", "COM1.safetensors"],
    ["X07", "aux.model.safetensors"],
    ["X08", "x.safetensors\u0000.bin"],
    ["X10", ""],
    ["X10", `${"n".repeat(300)}.safetensors`],
    ["X10", ".safetensors"],
    ["X10", "-rf.safetensors"],
    ["more", "a..b.safetensors"],
    ["more", "x.safetensors\n"],
    ["more", "x.SAFETENSORS"],
    ["more", "x.json"],
    ["more", "é.safetensors"],
  ])("%s: the name %j is not allowed", async (_, name) => {
    // Where the name points to there is a file that would load.
    await writeFile(join(root, "x.safetensors"), await shard({ a: 9 }));
    await model(indexText({ a: name.replace("<ABS>", root), b: second }));
    const error = await failure();
    expect(error.code).toBe("PATH_NOT_ALLOWED");
    expect(error.details).toMatchObject({ tensor: "a", file: "model.safetensors.index.json" });
  });

  test("X09: a pickle is not opened", async () => {
    await model(indexText({ a: "pytorch_model.bin", b: second }));
    expect(await failure()).toMatchObject({ code: "WRONG_FILE_TYPE", details: { detected: "pickle" } });
  });

  test.each([1, null, [first], { a: first }, true])("X11: a value %j", async (value) => {
    await model(indexText({ a: value, b: second }));
    expect((await failure()).code).toBe("INDEX_BAD_JSON");
  });

  test("X12: all missing files are listed at once", async () => {
    await model(indexText({ a: first, b: "gone-1.safetensors", c: "gone-2.safetensors" }));
    const error = await failure();
    expect(error).toMatchObject({ code: "SHARD_MISSING", details: { missing: ["gone-1.safetensors", "gone-2.safetensors"] } });
    expect(error.message).toContain("gone-1.safetensors, gone-2.safetensors");
  });

  test("X13: a tensor that is not in its file", async () => {
    await model(indexText({ a: first, b: second, c: second }));
    expect(await failure()).toMatchObject({ code: "SHARD_TENSOR_MISSING", details: { tensor: "c", shard: second } });
    await model(indexText({ a: first, b: first, c: second }), { [second]: await shard({ b: 2, c: 3 }) });
    const error = await failure();
    expect(error).toMatchObject({ code: "SHARD_TENSOR_MISSING", details: { tensor: "b", shard: first } });
    expect(error.message).toContain(second);
  });

  test("X14: a tensor that the index does not list is not loaded", async () => {
    await model(indexText({ a: first, b: second }), { [first]: await shard({ a: 1, extra: 3 }) });
    const weights = await openWeights(folder);
    expect([...weights.tensors.keys()]).toEqual(["a", "b"]);
    expect(weights.warnings).toHaveLength(1);
    expect(weights.warnings[0]).toContain('"extra"');
    await weights.close();
  });

  test("X15: the same tensor in two files", async () => {
    await model(indexText({ a: first, b: second }), { [first]: await shard({ a: 1, b: 9 }) });
    const error = await failure();
    expect(error).toMatchObject({ code: "SHARD_DUPLICATE_TENSOR", details: { tensor: "b", file: second, other: first } });
  });

  test("X16: a key twice", async () => {
    await model(`{"weight_map":{"a":"${first}","b":"${second}","a":"${second}"}}`);
    expect((await failure()).code).toBe("ST_DUPLICATE_KEY");
  });

  test.each(['{"weight_map":[]}', '{"metadata":{}}', "[]", "null", "{", '{"weight_map":{}} x', `{"weight_map":"${first}"}`, ""])(
    "X17: the index %s",
    async (text) => {
      await model(text);
      const error = await failure();
      expect(error.code).toBe("INDEX_BAD_JSON");
      expect(error.message).toContain("line 1");
    },
  );

  test("X18: too many different files", async () => {
    const names = (count: number): string => indexText(Object.fromEntries(Array.from({ length: count }, (_, k) => [`t${k}`, `s${k}.safetensors`])));
    await model(names(10_000));
    expect((await failure()).code).toBe("INDEX_TOO_MANY_SHARDS");
    expect(parseShardIndex(Buffer.from(names(1024)), "x").shards.length).toBe(1024);
    expect(() => parseShardIndex(Buffer.from(names(1025)), "x")).toThrow(expect.objectContaining({ code: "INDEX_TOO_MANY_SHARDS" }));
  });

  test("X19: a wrong total_size is a warning, an absurd one is ignored", async () => {
    await model(indexText({ a: first, b: second }, 33));
    const weights = await openWeights(folder);
    expect(weights.warnings).toHaveLength(1);
    expect(weights.warnings[0]).toMatch(/33.*32/);
    await weights.close();
    for (const size of ["big", -1, null, 1.5]) expect(parseShardIndex(Buffer.from(indexText({ a: first }, size)), "x").totalSize).toBe(undefined);
  });

  test("a damaged file keeps its own error and nothing stays open", async () => {
    await model(indexText({ a: first, b: second }), { [second]: (await shard({ b: 2 })).subarray(0, -1) });
    const error = await failure();
    expect(error).toMatchObject({ code: "ST_TRUNCATED_DATA", details: { file: second } });
    if (process.platform === "linux") {
      const open = async (): Promise<number> => (await readdir("/proc/self/fd")).length;
      const before = await open();
      for (let k = 0; k < 5; k++) await failure();
      expect(await open()).toBe(before);
    }
  });

  test("tensor names from the index touch no prototype", async () => {
    const bytes = Buffer.from(`{"weight_map":{"__proto__":"${first}","constructor":"${first}"},"__proto__":{"polluted":1}}`);
    expect([...parseShardIndex(bytes, "x").weightMap]).toEqual([
      ["__proto__", first],
      ["constructor", first],
    ]);
    expect(({} as Record<string, unknown>)["polluted"]).toBe(undefined);
  });

  test("a byte order mark before the index is taken off", () => {
    expect(parseShardIndex(Buffer.from(`\ufeff${indexText({ a: first })}`), "x").shards).toEqual([first]);
  });
});

describe("one file", () => {
  test("model.safetensors wins over an index", async () => {
    await model(indexText({ a: first, b: second }));
    await writeFile(join(folder, "model.safetensors"), await shard({ only: 5 }));
    const weights = await openWeights(folder);
    expect([...weights.tensors.keys()]).toEqual(["only"]);
    expect(weights.tensor("only").file.name).toBe("model.safetensors");
    await weights.close();
  });

  test("a folder with neither, and no folder", async () => {
    expect((await failure()).code).toBe("IO_NOT_FOUND");
    await rm(folder, { recursive: true });
    expect((await failure()).code).toBe("IO_NOT_FOUND");
  });

  test("an aborted signal", async () => {
    await model(indexText({ a: first, b: second }));
    await expect(openWeights(folder, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
  });
});

// Windows makes links only with a privilege that a test cannot count on.
describe.runIf(process.platform !== "win32")("X20: links", () => {
  const link = (target: string, at = join(folder, "model.safetensors")): Promise<void> => symlink(target, at);
  const opens = async (at = folder, options = {}): Promise<number[]> => {
    const weights = await openWeights(at, options);
    try {
      expect(weights.files[0]?.name).toBe("model.safetensors");
      return await values(weights, "w");
    } finally {
      await weights.close();
    }
  };

  test("a plain file and a link inside the folder", async () => {
    await writeFile(join(folder, "real.safetensors"), await shard({ w: 3 }));
    await link("real.safetensors");
    expect(await opens()).toEqual([3, 3, 3, 3]);
  });

  test.each([
    ["the parent", () => "../outside.safetensors"],
    ["an absolute path", () => join(root, "outside.safetensors")],
    ["a link inside that leads out", () => "hop.safetensors"],
    ["a folder whose name starts alike", () => "../model2/outside.safetensors"],
  ])("to %s: refused unless allowed", async (_, target) => {
    await mkdir(join(root, "model2"));
    for (const at of [join(root, "outside.safetensors"), join(root, "model2", "outside.safetensors")]) await writeFile(at, await shard({ w: 4 }));
    await link("../outside.safetensors", join(folder, "hop.safetensors"));
    await link(target());
    const error = await failure();
    expect(error).toMatchObject({ code: "PATH_SYMLINK_ESCAPE", details: { file: "model.safetensors" } });
    expect(error.details.hint).toContain("allowSymlinks");
    expect(await opens(folder, { allowSymlinks: true })).toEqual([4, 4, 4, 4]);
  });

  test("links in a circle and links to nothing", async () => {
    await link("model.safetensors");
    expect((await failure()).code).toBe("PATH_SYMLINK_ESCAPE");
    await rm(join(folder, "model.safetensors"));
    await link("nothing.safetensors");
    expect((await failure()).code).toBe("IO_NOT_FOUND");
  });

  test("the cache of Hugging Face: blobs of the same repository only", async () => {
    const repository = join(root, "models--org--name");
    const snapshot = join(repository, "snapshots", "abc");
    const other = join(root, "models--org--other", "blobs");
    for (const path of [snapshot, join(repository, "blobs"), other]) await mkdir(path, { recursive: true });
    await writeFile(join(repository, "blobs", "0123"), await shard({ w: 5 }));
    await writeFile(join(other, "0123"), await shard({ w: 6 }));
    const at = join(snapshot, "model.safetensors");
    await link("../../blobs/0123", at);
    expect(await opens(snapshot)).toEqual([5, 5, 5, 5]);
    await symlink(snapshot, join(root, "shortcut"));
    expect(await opens(join(root, "shortcut"))).toEqual([5, 5, 5, 5]);
    await rm(at);
    await link("../../../models--org--other/blobs/0123", at);
    await expect(openWeights(snapshot)).rejects.toMatchObject({ code: "PATH_SYMLINK_ESCAPE" });
    await rm(at);
    await link("../../blobs", at);
    await expect(openWeights(snapshot)).rejects.toMatchObject({ code: "PATH_SYMLINK_ESCAPE" });
  });

  test("the index itself may not be a link out", async () => {
    await model(indexText({ a: first, b: second }));
    await rm(join(folder, "model.safetensors.index.json"));
    await writeFile(join(root, "index.json"), indexText({ a: first, b: second }));
    await link("../index.json", join(folder, "model.safetensors.index.json"));
    expect((await failure()).code).toBe("PATH_SYMLINK_ESCAPE");
  });

  test("resolveInside gives the real path", async () => {
    await writeFile(join(folder, "real.json"), "{}");
    await link("real.json", join(folder, "config.json"));
    expect((await resolveInside(folder, "config.json")).endsWith(join("model", "real.json"))).toBe(true);
  });
});
