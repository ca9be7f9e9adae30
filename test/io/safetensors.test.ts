/** @file Reading tensors: pieces, dtypes, files that change or are no files, aborting, closing. */
import { execFileSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openInput, readSmallFile } from "../../lib/io/file.js";
import { firstNonFinite } from "../../lib/io/finite.js";
import { openSafetensors, openSource, parseSafetensors } from "../../lib/io/safetensors.js";
import { parseHeader } from "../../lib/io/safetensors-header.js";
import { referenceWritten } from "./reference-verdicts.js";
import { file, manyTensors } from "./safetensors-cases.js";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "lowrank-read-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const header = (dtype: string, shape: readonly number[], bytes: number): string =>
  `{"t":{"dtype":"${dtype}","shape":[${shape.join(",")}],"data_offsets":[0,${bytes}]}}`;

async function written(bytes: Uint8Array, name = "model.safetensors"): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

describe("tensors of a file", () => {
  test("a file of the reference writer, from disk and from memory", async () => {
    for (const opened of [await openSafetensors(await written(referenceWritten)), parseSafetensors(referenceWritten, "memory")]) {
      expect(Object.fromEntries([...opened.tensors].map(([name, { dtype, shape, bytes }]) => [name, { dtype, shape, bytes }]))).toEqual({
        "b.weight": { dtype: "F32", shape: [2, 3], bytes: 24 },
        "a.weight": { dtype: "F32", shape: [1, 2], bytes: 8 },
        half: { dtype: "F16", shape: [3], bytes: 6 },
        count: { dtype: "I64", shape: [], bytes: 8 },
        mask: { dtype: "BOOL", shape: [3], bytes: 3 },
        bytes: { dtype: "U8", shape: [3], bytes: 3 },
        none: { dtype: "F64", shape: [0, 4], bytes: 0 },
        é: { dtype: "I16", shape: [2], bytes: 4 },
      });
      expect(opened.metadata).toEqual(new Map([["format", "pt"]]));
      expect(new Float32Array((await opened.readBytes("b.weight")).buffer)).toEqual(Float32Array.of(0, 1, 2, 3, 4, 5));
      expect(new Float32Array((await opened.readBytes("a.weight")).buffer)).toEqual(Float32Array.of(1.5, -2));
      expect(new BigInt64Array((await opened.readBytes("count")).buffer)).toEqual(BigInt64Array.of(7n));
      expect(new Int16Array((await opened.readBytes("é")).buffer)).toEqual(Int16Array.of(1, -1));
      expect(await opened.readBytes("none")).toEqual(new Uint8Array(0));
      await opened.close();
    }
  });

  test("place and descriptor lead to the bytes", async () => {
    const path = await written(referenceWritten);
    const opened = await openSafetensors(path);
    const { offset, bytes } = opened.tensor("a.weight");
    expect((await readFile(path)).subarray(offset, offset + bytes)).toEqual(Buffer.from(Float32Array.of(1.5, -2).buffer));
    expect(opened.fd).toBeGreaterThan(2);
    expect(parseSafetensors(referenceWritten).fd).toBe(undefined);
    await opened.close();
  });

  test.each([4, 12, 13, 100, 4096, 1 << 20])("pieces of at most %i bytes hold whole elements and make up the tensor", async (chunkBytes) => {
    const values = Float32Array.from({ length: 999 }, (_, i) => i * 1.5);
    const opened = await openSafetensors(await written(file(header("F32", [999], 3996), new Uint8Array(values.buffer))));
    const result = new Uint8Array(3996);
    let expectedOffset = 0;
    await opened.readInto(
      "t",
      async (chunk, offset) => {
        expect(offset).toBe(expectedOffset);
        expect(chunk.length % 4).toBe(0);
        expect(chunk.length).toBeLessThanOrEqual(chunkBytes);
        await Promise.resolve();
        result.set(chunk, offset);
        expectedOffset += chunk.length;
      },
      chunkBytes,
    );
    expect(new Float32Array(result.buffer)).toEqual(values);
    await expect(opened.readInto("t", () => undefined, 3)).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
    await opened.close();
  });

  test("an empty tensor gives no piece, an error of the sink comes through", async () => {
    const opened = parseSafetensors(referenceWritten);
    await opened.readInto("none", () => {
      throw new Error("called");
    });
    const sink = new Error("the sink failed");
    await expect(
      opened.readInto("half", () => {
        throw sink;
      }),
    ).rejects.toBe(sink);
  });

  test("BOOL is 0 or 1, and the caller's bytes stay as they are", async () => {
    const bytes = file(header("BOOL", [5], 5), Uint8Array.of(2, 0, 255, 1, 128));
    const opened = parseSafetensors(bytes);
    expect(await opened.readBytes("t")).toEqual(Uint8Array.of(1, 0, 1, 1, 1));
    expect([...bytes.subarray(-5)]).toEqual([2, 0, 255, 1, 128]);
  });

  test("C64 is inspected but not used", () => {
    const opened = parseSafetensors(file(header("C64", [2], 16)));
    expect(opened.tensor("t")).toMatchObject({ dtype: "C64", bytes: 16 });
    expect(() => opened.tensorOf("t", ["F32", "BF16"])).toThrow(expect.objectContaining({ code: "DTYPE_UNSUPPORTED" }));
    expect(opened.tensorOf("t", ["C64"]).shape).toEqual([2]);
  });

  test("a missing tensor names the nearest", () => {
    const opened = parseSafetensors(referenceWritten, "/secret/place/adapter.safetensors");
    expect(() => opened.tensor("b.weigth")).toThrow(/^adapter\.safetensors: .*"b\.weight"/);
    expect(() => opened.tensor("toString")).toThrow(expect.objectContaining({ code: "TENSOR_MISSING" }));
  });

  test("an empty tensor may be listed after the one that starts at the same byte", () => {
    const text = '{"full":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"none":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}';
    expect([...parseSafetensors(file(text, Uint8Array.of(1, 2))).tensors.keys()]).toEqual(["full", "none"]);
  });

  test("a tensor named __proto__ is a tensor", async () => {
    const opened = parseSafetensors(file(header("U8", [1], 1).replace('"t"', '"__proto__"'), Uint8Array.of(9)));
    expect([...opened.tensors.keys()]).toEqual(["__proto__"]);
    expect(await opened.readBytes("__proto__")).toEqual(Uint8Array.of(9));
    expect(Object.getOwnPropertyNames({}).length).toBe(0);
  });
});

describe("checkFinite", () => {
  /** Non-finite bit patterns, listed from the definitions of the types (IEEE 754, OCP OFP8 and MX, ONNX "FNUZ"). */
  const all = (bits: number): number[] => Array.from({ length: 2 ** bits }, (_, i) => i);
  const isBadHalf =
    (mantissaBits: number) =>
    (bits: number): boolean =>
      ((bits >> mantissaBits) & ((1 << (15 - mantissaBits)) - 1)) === (1 << (15 - mantissaBits)) - 1;

  test.each([
    ["F8_E5M2", [0x7c, 0x7d, 0x7e, 0x7f, 0xfc, 0xfd, 0xfe, 0xff]],
    ["F8_E4M3", [0x7f, 0xff]],
    ["F8_E8M0", [0xff]],
    ["F8_E4M3FNUZ", [0x80]],
    ["F8_E5M2FNUZ", [0x80]],
    ["U8", []],
  ] as const)("%s: exactly the patterns of the definition", (dtype, bad) => {
    expect(all(8).filter((bits) => firstNonFinite(dtype, Uint8Array.of(bits)) === 0)).toEqual(bad);
  });

  test.each([
    ["F16", 10],
    ["BF16", 7],
  ] as const)("%s: exactly the patterns with an exponent of ones", (dtype, mantissaBits) => {
    const found = all(16).filter((bits) => firstNonFinite(dtype, new Uint8Array(Uint16Array.of(bits).buffer)) === 0);
    expect(found).toEqual(all(16).filter(isBadHalf(mantissaBits)));
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])("%d in F32, F64 and C64 gives name and index", async (bad) => {
    const f32 = new Float32Array(3000).fill(1);
    f32[2501] = bad;
    const f64 = Float64Array.of(1, 2, bad);
    const bytes = (array: Float32Array | Float64Array): Uint8Array => new Uint8Array(array.buffer);
    const check = (dtype: string, shape: number[], data: Uint8Array): Promise<void> =>
      parseSafetensors(file(header(dtype, shape, data.length), data)).checkFinite("t");
    await expect(check("F32", [3000], bytes(f32))).rejects.toMatchObject({ code: "TENSOR_NONFINITE", details: { tensor: "t", index: 2501 } });
    await expect(check("F64", [3], bytes(f64))).rejects.toMatchObject({ details: { index: 2 } });
    await expect(check("C64", [1500], bytes(f32))).rejects.toMatchObject({ details: { index: 1250 } });
    await check("F32", [2501], bytes(f32).subarray(0, 4 * 2501));
    await check("I32", [3000], bytes(f32));
    expect((await parseSafetensors(file(header("F32", [3000], 12_000), bytes(f32))).readBytes("t")).length).toBe(12_000);
  });

  test("the index counts across pieces", async () => {
    const values = new Float32Array(1_500_000);
    values[1_400_000] = Number.NaN;
    const opened = parseSafetensors(file(header("F32", [1_500_000], 6_000_000), new Uint8Array(values.buffer)));
    await expect(opened.checkFinite("t")).rejects.toMatchObject({ details: { index: 1_400_000 } });
  });
});

describe("files that are none, or change", () => {
  // Windows has no FIFOs and devices in its file system, no modes, and links only with a privilege.
  const isPosix = process.platform !== "win32";

  test.runIf(isPosix)("a FIFO is refused without waiting for a writer", async () => {
    const path = join(folder, "pipe.safetensors");
    execFileSync("mkfifo", [path]);
    await expect(openSafetensors(path)).rejects.toMatchObject({ code: "IO_NOT_REGULAR_FILE" });
  });

  test.runIf(isPosix)("a device is refused", async () => {
    await expect(openSafetensors("/dev/zero")).rejects.toMatchObject({ code: "IO_NOT_REGULAR_FILE" });
  });

  test("a folder is refused, a missing file is named without its folder", async () => {
    const directory = join(folder, "sub.safetensors");
    await mkdir(directory);
    await expect(openSafetensors(directory)).rejects.toMatchObject({ code: "IO_NOT_REGULAR_FILE" });
    const missing = join(folder, "missing.safetensors");
    await expect(openSafetensors(missing)).rejects.toMatchObject({ code: "IO_NOT_FOUND", details: { path: missing, errno: "ENOENT" } });
    await expect(openSafetensors(missing)).rejects.toThrow(/^missing\.safetensors: cannot be opened/);
    await expect(openSafetensors(missing)).rejects.not.toThrow(folder);
  });

  test.runIf(isPosix)("a file without permission", async () => {
    const path = await written(referenceWritten);
    await chmod(path, 0);
    // Root may read everything, so root asks as somebody else.
    const isRoot = process.getuid?.() === 0;
    if (isRoot) {
      await chmod(folder, 0o755);
      process.seteuid?.(65_534);
    }
    try {
      await expect(openSafetensors(path)).rejects.toMatchObject({ code: "IO_ACCESS" });
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
  });

  test("a file that shrinks while it is read is a short read at every length", async () => {
    const data = new Uint8Array(1000).fill(7);
    const whole = file(header("U8", [1000], 1000), data);
    for (let length = whole.length - 1; length >= 0; length -= 53) {
      const path = await written(whole);
      const opened = await openSafetensors(path);
      await truncate(path, length);
      await expect(opened.readBytes("t")).rejects.toMatchObject({ code: "IO_SHORT_READ", details: { expected: 1000 } });
      await opened.close();
    }
  });

  test("a source that ends inside the header is a short read and is closed", async () => {
    const bytes = file(manyTensors(100), new Uint8Array(100));
    let closed = 0;
    const source = {
      path: "x.safetensors",
      fd: undefined,
      size: bytes.length,
      readAt: async (into: Uint8Array, offset: number) => {
        if (offset > 0) throw Object.assign(new Error("gone"), { code: "EIO" });
        into.set(bytes.subarray(0, into.length));
      },
      close: async () => void closed++,
    };
    await expect(openSource(source)).rejects.toThrow("gone");
    expect(closed).toBe(1);
  });

  test("a small file has a limit", async () => {
    const path = await written(new Uint8Array(100), "adapter_config.json");
    expect((await readSmallFile(path, 100)).length).toBe(100);
    await expect(readSmallFile(path, 99)).rejects.toMatchObject({ code: "CONFIG_TOO_LARGE", details: { expected: 99, actual: 100 } });
  });

  test.runIf(isPosix)("a link is followed only when that is wanted", async () => {
    const path = await written(referenceWritten);
    const link = join(folder, "link.safetensors");
    execFileSync("ln", ["-s", path, link]);
    await (await openInput(link)).close();
    await expect(openInput(link, { followLink: false })).rejects.toMatchObject({ code: "IO_FAILED" });
  });
});

describe("aborting and closing", () => {
  test("an aborted signal stops opening and reading", async () => {
    const path = await written(file(header("U8", [64], 64), new Uint8Array(64)));
    await expect(openSafetensors(path, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
    const controller = new AbortController();
    const opened = await openSafetensors(path, { signal: controller.signal });
    let pieces = 0;
    const reading = opened.readInto("t", () => void (++pieces === 3 && controller.abort()), 8);
    await expect(reading).rejects.toMatchObject({ code: "ABORTED" });
    expect(pieces).toBe(3);
    await opened.close();
  });

  test("a closed file says so, closing twice is allowed", async () => {
    const opened = await openSafetensors(await written(referenceWritten));
    await opened.close();
    await opened.close();
    await expect(opened.readBytes("half")).rejects.toMatchObject({ code: "DISPOSED" });
    expect(() => opened.fd).toThrow(expect.objectContaining({ code: "DISPOSED" }));
    expect(opened.tensors.has("half")).toBe(true);
  });

  // Open descriptors are counted in /proc/self/fd.
  test.runIf(process.platform === "linux")("no descriptor is left open by files that fail to load", async () => {
    const { readdir } = await import("node:fs/promises");
    const count = async (): Promise<number> => (await readdir("/proc/self/fd")).length;
    const path = await written(file("[]"));
    const before = await count();
    for (let k = 0; k < 20; k++) await openSafetensors(path).catch(() => undefined);
    expect(await count()).toBe(before);
  });
});

describe("options of the header", () => {
  test("trailing bytes are accepted on request and belong to no tensor", async () => {
    const bytes = Buffer.concat([file(header("U8", [2], 2), Uint8Array.of(5, 6)), Buffer.from("trailing")]);
    expect(() => parseSafetensors(bytes)).toThrow(expect.objectContaining({ code: "ST_TRAILING_DATA" }));
    expect(await parseSafetensors(bytes, "x", { allowTrailingBytes: true }).readBytes("t")).toEqual(Uint8Array.of(5, 6));
  });

  test("the limit of tensors can be changed", () => {
    const bytes = file(manyTensors(50), new Uint8Array(50));
    expect(() => parseSafetensors(bytes, "x", { maxTensors: 49 })).toThrow(expect.objectContaining({ code: "ST_TOO_MANY_TENSORS" }));
    expect(() => parseSafetensors(bytes, "x", { maxTensors: 10 })).toThrow(expect.objectContaining({ code: "ST_TOO_MANY_TENSORS" }));
    expect(parseSafetensors(bytes, "x", { maxTensors: 50 }).tensors.size).toBe(50);
    expect(parseSafetensors(file(manyTensors(200_000), new Uint8Array(200_000))).tensors.size).toBe(200_000);
  });

  test("metadata has a limit in total", () => {
    const half = "m".repeat(17 * 1024 * 1024);
    expect(() => parseSafetensors(file(`{"__metadata__":{"a":"${half}","b":"${half}"}}`, ""))).toThrow(
      expect.objectContaining({ code: "ST_BAD_METADATA" }),
    );
    expect(parseSafetensors(file(`{"__metadata__":{"a":"${half}"}}`, "")).metadata.get("a")).toBe(half);
  });

  test("parseHeader needs only the header, and says so when it gets less", () => {
    const bytes = file(header("U8", [2], 2), Uint8Array.of(5, 6));
    const head = bytes.subarray(0, bytes.length - 2);
    expect(parseHeader(head, bytes.length, "x").tensors.get("t")).toEqual({ dtype: "U8", shape: [2], begin: 0, end: 2 });
    expect(() => parseHeader(head.subarray(0, 20), bytes.length, "x")).toThrow(RangeError);
  });
});
