/** @file Written files: the reference writer's bytes, read by the reference reader, refused when they would not be readable. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openSafetensors, parseSafetensors } from "../../lib/io/safetensors.js";
import { safetensorsEntry, serializeSafetensors, type TensorSource, writeSafetensors } from "../../lib/io/safetensors-write.js";
import { referenceWritten, sha256, tensorLines, verdicts } from "./reference-verdicts.js";
import { writtenFiles } from "./written-files.js";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "lowrank-write-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const bytesOf = (array: ArrayBufferView): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
const tensor = (name: string, dtype: TensorSource["dtype"], shape: number[], data: ArrayBufferView): TensorSource => ({
  name,
  dtype,
  shape,
  data: () => bytesOf(data),
});

/** The tensors of `reference_file()` in scripts/make-safetensors-verdicts.py, in another order. */
const referenceTensors: TensorSource[] = [
  tensor("é", "I16", [2], Int16Array.of(1, -1)),
  tensor("none", "F64", [0, 4], new Float64Array(0)),
  tensor("a.weight", "F32", [1, 2], Float32Array.of(1.5, -2)),
  tensor("mask", "BOOL", [3], Uint8Array.of(1, 0, 1)),
  tensor("count", "I64", [], BigInt64Array.of(7n)),
  tensor("b.weight", "F32", [2, 3], Float32Array.of(0, 1, 2, 3, 4, 5)),
  tensor("bytes", "U8", [3], Uint8Array.of(1, 2, 255)),
  tensor("half", "F16", [3], Uint16Array.of(0x3800, 0x7bff, 0x8000)),
];

describe("against the reference", () => {
  test("the same tensors give the reference writer's bytes, in memory and on disk", async () => {
    expect(Buffer.from(await serializeSafetensors(referenceTensors, { format: "pt" })).toString("latin1")).toBe(
      Buffer.from(referenceWritten).toString("latin1"),
    );
    const path = join(folder, "x.safetensors");
    await writeSafetensors(path, referenceTensors.toReversed(), new Map([["format", "pt"]]));
    expect(new Uint8Array(await readFile(path))).toEqual(referenceWritten);
  });

  test.each(Object.entries(writtenFiles))(
    "%s: the bytes that the reference reader has verified, and we read back the same",
    async (name, { tensors, metadata }) => {
      const bytes = await serializeSafetensors(tensors, metadata);
      const recorded = verdicts.written[name];
      expect(sha256(bytes)).toBe(recorded?.sha256);
      const expected = await Promise.all(
        tensors.map(async ({ name: tensorName, dtype, shape, data }) => {
          const hex = Buffer.from((await data()) as Uint8Array).toString("hex");
          return `${Buffer.from(tensorName).toString("hex")} ${dtype} [${shape.join(",")}] ${hex}`;
        }),
      );
      expect(recorded?.tensors).toEqual(expected.sort());
      expect(recorded?.metadata).toEqual(metadata);
      expect(tensorLines(bytes)).toEqual(expected);
      expect(Object.fromEntries(parseSafetensors(bytes).metadata)).toEqual(metadata);
    },
  );

  test("the data starts at a multiple of 8", async () => {
    for (let length = 1; length < 20; length++) {
      const bytes = await serializeSafetensors([tensor("n".repeat(length), "U8", [1], Uint8Array.of(1))]);
      expect((bytes.length - 1) % 8).toBe(0);
    }
  });
});

describe("sources", () => {
  test("data may come as a promise or in pieces, and is asked for once, in file order", async () => {
    const order: string[] = [];
    const path = join(folder, "x.safetensors");
    await writeSafetensors(path, [
      {
        name: "b",
        dtype: "U8",
        shape: [5],
        data: async function* () {
          order.push("b");
          yield Uint8Array.of(1, 2);
          yield new Uint8Array(0);
          yield Uint8Array.of(3, 4, 5);
        },
      },
      {
        name: "a",
        dtype: "U8",
        shape: [2],
        data: async () => {
          order.push("a");
          return Uint8Array.of(8, 9);
        },
      },
    ]);
    const opened = await openSafetensors(path);
    expect(order).toEqual(["a", "b"]);
    expect([...(await opened.readBytes("b"))]).toEqual([1, 2, 3, 4, 5]);
    expect([...(await opened.readBytes("a"))]).toEqual([8, 9]);
    await opened.close();
  });

  test.each([
    ["too few", Uint8Array.of(1)],
    ["too many", Uint8Array.of(1, 2, 3)],
  ])("%s bytes: an error, and no file", async (_, data) => {
    const source: TensorSource = { name: "t", dtype: "U8", shape: [2], data: () => data };
    await expect(writeSafetensors(join(folder, "x.safetensors"), [source])).rejects.toMatchObject({
      code: "ST_SIZE_MISMATCH",
      details: { tensor: "t", expected: 2 },
    });
    await expect(serializeSafetensors([source])).rejects.toMatchObject({ code: "ST_SIZE_MISMATCH" });
    expect(await readdir(folder)).toEqual([]);
  });

  test("writing over the file that is being read", async () => {
    const path = join(folder, "model.safetensors");
    const values = Float32Array.from({ length: 50_000 }, (_, i) => i);
    await writeSafetensors(path, [tensor("w", "F32", [50_000], values), tensor("v", "F32", [50_000], values)]);
    const source = await openSafetensors(path);
    const doubled = (name: string): TensorSource => ({
      name,
      dtype: "F32",
      shape: [50_000],
      data: async () => bytesOf(new Float32Array((await source.readBytes(name)).buffer).map((x) => 2 * x)),
    });
    await writeSafetensors(path, ["w", "v"].map(doubled));
    await source.close();
    const result = await openSafetensors(path);
    for (const name of ["w", "v"]) expect(new Float32Array((await result.readBytes(name)).buffer)).toEqual(values.map((x) => 2 * x));
    await result.close();
  });
});

describe("refusals", () => {
  const one = (more: Partial<TensorSource>): TensorSource => ({ name: "t", dtype: "U8", shape: [0], data: () => new Uint8Array(0), ...more });

  test.each<[string, TensorSource[], string]>([
    ["two of one name", [one({}), one({})], "ST_DUPLICATE_KEY"],
    ["an empty name", [one({ name: "" })], "ST_BAD_NAME"],
    ["the reserved name", [one({ name: "__metadata__" })], "ST_BAD_NAME"],
    ["a NUL", [one({ name: "a\0b" })], "ST_BAD_NAME"],
    ["half a surrogate pair", [one({ name: "a\ud800" })], "ST_BAD_NAME"],
    ["a long name", [one({ name: "é".repeat(513) })], "ST_BAD_NAME"],
    ["an unknown dtype", [one({ dtype: "F33" as "F32" })], "ST_BAD_DTYPE"],
    ["a prototype's name as dtype", [one({ dtype: "toString" as "F32" })], "ST_BAD_DTYPE"],
    ["a negative size", [one({ shape: [-1, 0] })], "ST_BAD_SHAPE"],
    ["a fraction", [one({ shape: [0.5] })], "ST_BAD_SHAPE"],
    ["nine dimensions", [one({ shape: [1, 1, 1, 1, 1, 1, 1, 1, 1] })], "ST_TOO_MANY_DIMS"],
    ["more than a file holds", [one({ shape: [2 ** 40, 2 ** 40] })], "ST_SHAPE_OVERFLOW"],
    ["more than a number counts", [one({ shape: [2 ** 50] }), one({ name: "u", shape: [2 ** 53 - 1] })], "ST_SHAPE_OVERFLOW"],
  ])("%s", async (_, tensors, code) => {
    await expect(serializeSafetensors(tensors)).rejects.toMatchObject({ code });
    await expect(writeSafetensors(join(folder, "x.safetensors"), tensors)).rejects.toMatchObject({ code });
    expect(() => safetensorsEntry("x.safetensors", tensors)).toThrow(expect.objectContaining({ code }));
    expect(await readdir(folder)).toEqual([]);
  });

  test("the longest name that is allowed is read back", async () => {
    const name = "\u0001".repeat(1024);
    expect([...parseSafetensors(await serializeSafetensors([one({ name })])).tensors.keys()]).toEqual([name]);
  });

  test("too many tensors, too much text", async () => {
    await expect(serializeSafetensors(Array.from({ length: 200_001 }, (_, i) => one({ name: `t${i}` })))).rejects.toMatchObject({
      code: "ST_TOO_MANY_TENSORS",
    });
    await expect(serializeSafetensors([], { a: "x".repeat(34_000_000) })).rejects.toMatchObject({ code: "ST_BAD_METADATA" });
    await expect(serializeSafetensors([], { ["k".repeat(7000)]: "" })).rejects.toMatchObject({ code: "ST_BAD_METADATA" });
    await expect(serializeSafetensors([], { a: 1 as unknown as string })).rejects.toMatchObject({ code: "ST_BAD_METADATA" });
    await expect(serializeSafetensors([], { a: "\udc00" })).rejects.toMatchObject({ code: "ST_BAD_METADATA" });
  });

  test("an existing file survives every refusal", async () => {
    const path = join(folder, "x.safetensors");
    await writeFile(path, "old");
    await expect(
      writeSafetensors(path, [
        one({
          data: () => {
            throw new Error("source failed");
          },
        }),
      ]),
    ).rejects.toThrow("source failed");
    expect(await readFile(path, "utf8")).toBe("old");
    expect(await readdir(folder)).toEqual(["x.safetensors"]);
  });
});
