import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readIdxDataset } from "../../examples/idx.js";
import { LowrankError } from "../../lib/native/errors.js";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "lowrank-idx-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** Big-endian words, then bytes: written by hand, not by the reader under test. */
function idx(words: number[], payload: Iterable<number>): Buffer {
  const head = Buffer.alloc(4 * words.length);
  words.forEach((word, i) => head.writeUInt32BE(word, 4 * i));
  return Buffer.concat([head, Buffer.from([...payload])]);
}

const PIXELS = Array.from({ length: 3 * 2 * 4 }, (_, i) => (i * 37) % 256);
const IMAGES = idx([2051, 3, 2, 4], PIXELS);
const LABELS = idx([2049, 3], [7, 0, 9]);

async function put(name: string, bytes: Uint8Array): Promise<void> {
  await writeFile(join(dir, name), bytes);
}

async function failure(part: "train" | "t10k" = "train", from = dir): Promise<LowrankError> {
  const error = await readIdxDataset(from, part).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof LowrankError)) throw new Error(`expected a LowrankError, got ${String(error)}`);
  return error;
}

async function failureWith(images: Uint8Array, labels: Uint8Array = LABELS, ending = ""): Promise<LowrankError> {
  await put(`train-images-idx3-ubyte${ending}`, images);
  await put(`train-labels-idx1-ubyte${ending}`, labels);
  return failure();
}

describe("readIdxDataset reads", () => {
  for (const [what, imagesName, labelsName] of [
    ["dashes", "train-images-idx3-ubyte", "train-labels-idx1-ubyte"],
    ["dots", "train-images.idx3-ubyte", "train-labels.idx1-ubyte"],
    ["gzip", "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"],
    ["a mixture", "train-images.idx3-ubyte.gz", "train-labels-idx1-ubyte"],
  ] as const) {
    it(what, async () => {
      await put(imagesName, imagesName.endsWith(".gz") ? gzipSync(IMAGES) : IMAGES);
      await put(labelsName, labelsName.endsWith(".gz") ? gzipSync(LABELS) : LABELS);
      const set = await readIdxDataset(dir, "train");
      expect({ rows: set.rows, cols: set.cols, count: set.count }).toEqual({ rows: 2, cols: 4, count: 3 });
      expect([...set.images]).toEqual(PIXELS);
      expect([...set.labels]).toEqual([7, 0, 9]);
    });
  }

  it("the test part under its own names", async () => {
    await put("t10k-images-idx3-ubyte", IMAGES);
    await put("t10k-labels-idx1-ubyte", LABELS);
    expect((await readIdxDataset(dir, "t10k")).count).toBe(3);
    expect((await failure("train")).code).toBe("IO_NOT_FOUND");
  });

  it("gzip of several members, as parallel compressors write it, over many chunks", async () => {
    const payload = Array.from({ length: 400 * 28 * 28 }, (_, i) => (i * i) % 251);
    const file = idx([2051, 400, 28, 28], payload);
    await put("train-images-idx3-ubyte.gz", Buffer.concat([gzipSync(file.subarray(0, 9)), gzipSync(file.subarray(9))]));
    await put("train-labels-idx1-ubyte.gz", gzipSync(idx([2049, 400], new Uint8Array(400).fill(4))));
    const set = await readIdxDataset(dir, "train");
    expect(Buffer.compare(Buffer.from(set.images), Buffer.from(payload))).toBe(0);
  });
});

describe("readIdxDataset refuses", () => {
  it("a missing file, listing what it looked for", async () => {
    const error = await failure();
    expect(error.code).toBe("IO_NOT_FOUND");
    for (const name of ["train-labels-idx1-ubyte", "train-labels.idx1-ubyte", "train-labels-idx1-ubyte.gz", "train-labels.idx1-ubyte.gz"]) {
      expect(error.message).toContain(name);
    }
    await put("train-labels-idx1-ubyte", LABELS);
    expect((await failure()).message).toContain("train-images-idx3-ubyte");
  });

  it("a folder that does not exist or is a file", async () => {
    expect((await failure("train", join(dir, "nowhere"))).message).toContain("does not exist");
    await put("file", LABELS);
    const error = await failure("train", join(dir, "file"));
    expect([error.code, error.message]).toEqual(["IO_NOT_FOUND", expect.stringContaining("not a folder")]);
  });

  it("a folder in place of a file", async () => {
    await mkdir(join(dir, "train-labels-idx1-ubyte"));
    expect((await failure()).code).toBe("IO_NOT_REGULAR_FILE");
  });

  // Windows has no FIFOs in its file system (and no mkfifo to make one).
  it.skipIf(process.platform === "win32")("a pipe, without waiting for a writer", async () => {
    execFileSync("mkfifo", [join(dir, "train-labels-idx1-ubyte")]);
    expect((await failure()).code).toBe("IO_NOT_REGULAR_FILE");
  });

  it("files cut anywhere in the header or the data, and files too long", async () => {
    for (let length = 0; length < IMAGES.length; length++) {
      expect((await failureWith(IMAGES.subarray(0, length))).code, `images of ${length} bytes`).toBe("IDX_SIZE_MISMATCH");
    }
    for (let length = 0; length < LABELS.length; length++) {
      expect((await failureWith(IMAGES, LABELS.subarray(0, length))).code, `labels of ${length} bytes`).toBe("IDX_SIZE_MISMATCH");
    }
    expect((await failureWith(Buffer.concat([IMAGES, Buffer.alloc(1)]))).code).toBe("IDX_SIZE_MISMATCH");
    expect((await failureWith(IMAGES, Buffer.concat([LABELS, Buffer.alloc(1)]))).code).toBe("IDX_SIZE_MISMATCH");
  });

  it("the same inside gzip", async () => {
    for (const length of [0, 1, 3, 4, 8, 15, 16, 17, IMAGES.length - 1]) {
      expect((await failureWith(gzipSync(IMAGES.subarray(0, length)), gzipSync(LABELS), ".gz")).code, `${length} bytes`).toBe("IDX_SIZE_MISMATCH");
    }
    const long = gzipSync(Buffer.concat([IMAGES, Buffer.alloc(1)]));
    expect((await failureWith(long, gzipSync(LABELS), ".gz")).code).toBe("IDX_SIZE_MISMATCH");
  });

  it("wrong magic numbers, saying what they look like", async () => {
    expect((await failureWith(idx([2049, 3], [1, 2, 3]))).message).toContain("a file of labels");
    expect((await failureWith(IMAGES, IMAGES)).message).toContain("a file of images");
    const swapped = Buffer.from(IMAGES);
    swapped.subarray(0, 16).swap32();
    expect((await failureWith(swapped)).message).toContain("little-endian");
    for (let byte = 0; byte < 4; byte++) {
      const broken = Buffer.from(IMAGES);
      broken[byte] = (broken[byte] ?? 0) ^ 0x40;
      const error = await failureWith(broken);
      expect([error.code, error.details.expected, error.details.file]).toEqual(["IDX_BAD_MAGIC", 2051, "train-images-idx3-ubyte"]);
    }
    expect((await failureWith(gzipSync("<!doctype html><title>404</title>"), gzipSync(LABELS), ".gz")).code).toBe("IDX_BAD_MAGIC");
  });

  it("huge and zero sizes, plain and inside gzip", async () => {
    const huge = 2 ** 32 - 1;
    for (const sizes of [
      [huge, huge, huge],
      [huge, 1, 1],
      [3, huge, 4],
      [3, 2, huge],
      [3, 0, 4],
      [3, 2, 0],
      [2 ** 30, 1, 1],
      [3, 2, 5],
      [65536, 65536, 1],
    ]) {
      const file = idx([2051, ...sizes], PIXELS);
      expect((await failureWith(file)).code, sizes.join("×")).toBe("IDX_SIZE_MISMATCH");
      await rm(join(dir, "train-images-idx3-ubyte"));
      expect((await failureWith(gzipSync(file), gzipSync(LABELS), ".gz")).code, `${sizes.join("×")} in gzip`).toBe("IDX_SIZE_MISMATCH");
      await rm(join(dir, "train-labels-idx1-ubyte.gz"));
      await rm(join(dir, "train-images-idx3-ubyte.gz"));
    }
    expect((await failureWith(idx([2051, 0, 2, 4], []))).code).toBe("DATA_EMPTY");
  });

  it("more or fewer labels than images, and labels above 9", async () => {
    expect((await failureWith(IMAGES, idx([2049, 2], [1, 2]))).code).toBe("IDX_SIZE_MISMATCH");
    expect((await failureWith(IMAGES, idx([2049, 4], [1, 2, 3, 4]))).code).toBe("IDX_SIZE_MISMATCH");
    const error = await failureWith(IMAGES, idx([2049, 3], [9, 10, 3]));
    expect([error.code, error.details.index, error.details.actual]).toEqual(["DATA_BAD_ITEM", 1, 10]);
  });

  it("gzip under a plain name and plain bytes under a .gz name", async () => {
    expect((await failureWith(gzipSync(IMAGES))).code).toBe("WRONG_FILE_TYPE");
    await rm(join(dir, "train-images-idx3-ubyte"));
    await put("train-images-idx3-ubyte.gz", IMAGES);
    const error = await failure();
    expect([error.code, error.message]).toEqual(["WRONG_FILE_TYPE", expect.stringContaining("remove .gz")]);
  });

  it("a gzip file cut at any byte", async () => {
    const zipped = gzipSync(IMAGES);
    for (let length = 0; length < zipped.length; length++) {
      const { code } = await failureWith(zipped.subarray(0, length), gzipSync(LABELS), ".gz");
      expect(code, `${length} of ${zipped.length} bytes`).toBe(length < 2 ? "IDX_SIZE_MISMATCH" : "IDX_BAD_GZIP");
    }
  });

  it("a gzip file with a wrong checksum or bytes after its end", async () => {
    const zipped = gzipSync(IMAGES);
    const damaged = Buffer.from(zipped);
    damaged.writeUInt32LE((damaged.readUInt32LE(zipped.length - 8) ^ 1) >>> 0, zipped.length - 8);
    expect((await failureWith(damaged, gzipSync(LABELS), ".gz")).code).toBe("IDX_BAD_GZIP");
    expect((await failureWith(Buffer.concat([zipped, Buffer.alloc(5)]), gzipSync(LABELS), ".gz")).code).toBe("IDX_SIZE_MISMATCH");
    expect((await failureWith(Buffer.concat([zipped, Buffer.from("more")]), gzipSync(LABELS), ".gz")).code).toBe("IDX_BAD_GZIP");
  });

  it("a gzip bomb, having unpacked little of it", async () => {
    const bomb = gzipSync(Buffer.concat([IMAGES, Buffer.alloc(64 * 2 ** 20)]));
    const before = process.memoryUsage().arrayBuffers;
    const error = await failureWith(bomb, gzipSync(LABELS), ".gz");
    expect(error.code).toBe("IDX_SIZE_MISMATCH");
    expect(error.details.actual).toBeLessThan(2 ** 20);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 2 ** 20);
  });
});
