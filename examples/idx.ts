/**
 * @file Reads the MNIST files (IDX format, plain or gzip). The format: big-endian 32-bit words (magic 2051 for images, 2049 for labels;
 * count; for images rows and columns), then one byte a pixel or label. Nothing in a file is trusted before it is checked.
 */
import { constants } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { join } from "node:path";
import { createGunzip } from "node:zlib";
import { LowrankError } from "lowrank";
import type { LabelledImages } from "./digits.js";
import { fileError } from "./errors.js";

/** The names of the MNIST files: `train` to train, `t10k` to test. */
export type IdxPart = "train" | "t10k";

/** No data set of this family comes near it (EMNIST by class: 0.55 GB). */
const MOST_BYTES = 2 ** 30;
/** deflate cannot make a byte into more than this. */
const MOST_GZIP_GAIN = 1032;
const GZIP_MAGIC = 0x1f8b;

interface Kind {
  name: "images" | "labels";
  magic: number;
  dims: 1 | 3;
}
const IMAGES: Kind = { name: "images", magic: 2051, dims: 3 };
const LABELS: Kind = { name: "labels", magic: 2049, dims: 1 };

/** The checked start of a file: its sizes (count first) and how many bytes follow. */
interface Header {
  sizes: number[];
  bytes: number;
}

/**
 * Images and labels of one part of a data set in the folder `dir`: `train-images-idx3-ubyte` or `train-images.idx3-ubyte`, each plain
 * or with `.gz`, and the same for labels.
 *
 * Errors: `IO_NOT_FOUND` (lists what was looked for), `IO_NOT_REGULAR_FILE`, `IO_ACCESS`, `IO_FAILED`, `IO_SHORT_READ`,
 * `WRONG_FILE_TYPE` (gzip without `.gz` or the other way round), `IDX_BAD_GZIP`, `IDX_BAD_MAGIC`, `IDX_SIZE_MISMATCH`,
 * `DATA_EMPTY`, `DATA_BAD_ITEM` (a label above 9).
 */
export async function readIdxDataset(dir: string, part: IdxPart): Promise<LabelledImages> {
  const labels = await readIdx(dir, part, LABELS);
  const images = await readIdx(dir, part, IMAGES);
  const [count, rows, cols] = images.sizes as [number, number, number];
  if (labels.data.length !== count) {
    const message = `holds ${labels.data.length} labels, but the image file holds ${count} images; take both from the same download`;
    throw fileError("IDX_SIZE_MISMATCH", labels.path, message, { expected: count, actual: labels.data.length });
  }
  const wrong = labels.data.findIndex((label) => label > 9);
  if (wrong >= 0) {
    const message = `label ${wrong} is ${labels.data[wrong]}; labels are 0 to 9`;
    throw fileError("DATA_BAD_ITEM", labels.path, message, { index: wrong, expected: "0 to 9", actual: labels.data[wrong] });
  }
  return { images: images.data, labels: labels.data, rows, cols, count };
}

async function readIdx(dir: string, part: IdxPart, kind: Kind): Promise<{ path: string; sizes: number[]; data: Uint8Array }> {
  const { path, handle } = await openFirst(dir, part, kind);
  try {
    const { size } = await handle.stat();
    const zipped = await checkGzipName(path, handle, size);
    const { header, data } = zipped ? await readZipped(path, handle, kind, size) : await readPlain(path, handle, kind, size);
    return { path, sizes: header.sizes, data };
  } catch (error) {
    throw error instanceof LowrankError ? error : systemError(path, error);
  } finally {
    await handle.close();
  }
}

async function openFirst(dir: string, part: IdxPart, kind: Kind): Promise<{ path: string; handle: FileHandle }> {
  const names = ["-", "."].flatMap((mark) => ["", ".gz"].map((ending) => `${part}-${kind.name}${mark}idx${kind.dims}-ubyte${ending}`));
  for (const name of names) {
    const path = join(dir, name);
    const handle = await openRegular(path);
    if (handle !== undefined) return { path, handle };
  }
  const folder = await stat(dir).catch(() => undefined);
  const why = folder?.isDirectory() ? `there is no ${kind.name} file` : folder ? "this is not a folder" : "this folder does not exist";
  throw fileError("IO_NOT_FOUND", dir, `${why}; looked for ${names.join(", ")}`, {
    expected: names,
    hint: "Name the folder that holds the MNIST files",
  });
}

/** Opens without ever waiting (a pipe would block until someone writes); `undefined` if nothing has this name. */
async function openRegular(path: string): Promise<FileHandle | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw systemError(path, error);
  }
  const regular = await handle.stat().then(
    (found) => found.isFile(),
    () => false,
  );
  if (regular) return handle;
  await handle.close();
  throw notRegular(path);
}

/** Whether the file is gzip; the name must say the same as the first two bytes. */
async function checkGzipName(path: string, handle: FileHandle, size: number): Promise<boolean> {
  const named = path.endsWith(".gz");
  if (size < 2) {
    throw fileError("IDX_SIZE_MISMATCH", path, `has ${size} bytes, not even a header; download it again`, { actual: size, offset: size });
  }
  const start = await readExactly(path, handle, 0, 2);
  const zipped = start.readUInt16BE(0) === GZIP_MAGIC;
  if (zipped === named) return zipped;
  const message = zipped
    ? "is compressed with gzip, but its name does not end in .gz; rename it"
    : "is named .gz, but is not compressed with gzip; if it was unpacked on the way, remove .gz from its name";
  throw fileError("WRONG_FILE_TYPE", path, message, { offset: 0, expected: named ? "gzip" : "plain IDX", actual: start.toString("hex") });
}

async function readPlain(path: string, handle: FileHandle, kind: Kind, size: number): Promise<{ header: Header; data: Uint8Array }> {
  const start = headerBytes(kind);
  const header = parseHeader(path, kind, await readExactly(path, handle, 0, Math.min(size, start)));
  if (size !== start + header.bytes) throw wrongLength(path, kind, header, size - start, "has");
  return { header, data: await readExactly(path, handle, start, header.bytes) };
}

/** Unpacks as a stream and keeps at most what the header promises; stops at the first byte too many. */
async function readZipped(path: string, handle: FileHandle, kind: Kind, size: number): Promise<{ header: Header; data: Uint8Array }> {
  const start = headerBytes(kind);
  const source = handle.createReadStream({ start: 0, autoClose: false });
  const gunzip = createGunzip();
  source.once("error", (error) => gunzip.destroy(error));
  const parts: Buffer[] = [];
  let header: Header | undefined;
  let length = 0;
  try {
    for await (const part of source.pipe(gunzip) as AsyncIterable<Buffer>) {
      parts.push(part);
      length += part.length;
      if (header === undefined && length >= start) {
        header = parseHeader(path, kind, Buffer.concat(parts));
        if (header.bytes > size * MOST_GZIP_GAIN) throw wrongLength(path, kind, header, size * MOST_GZIP_GAIN, "can unpack to at most");
      }
      if (header !== undefined && length > start + header.bytes) throw wrongLength(path, kind, header, length - start, "unpacks to at least");
    }
  } catch (error) {
    throw zlibError(path, gunzip.bytesWritten, error);
  } finally {
    source.destroy();
  }
  const whole = Buffer.concat(parts);
  header ??= parseHeader(path, kind, whole);
  if (length !== start + header.bytes) throw wrongLength(path, kind, header, length - start, "unpacks to");
  if (gunzip.bytesWritten !== size) {
    const message = `${size - gunzip.bytesWritten} bytes follow the end of the gzip stream; download it again`;
    throw fileError("IDX_SIZE_MISMATCH", path, message, { offset: gunzip.bytesWritten, expected: gunzip.bytesWritten, actual: size });
  }
  return { header, data: new Uint8Array(whole.buffer, whole.byteOffset + start, header.bytes) };
}

function headerBytes(kind: Kind): number {
  return 4 * (1 + kind.dims);
}

function parseHeader(path: string, kind: Kind, start: Buffer): Header {
  if (start.length >= 4) checkMagic(path, kind, start);
  const expected = headerBytes(kind);
  if (start.length < expected) {
    const message = `ends after ${start.length} bytes, inside its ${expected}-byte header; download it again`;
    throw fileError("IDX_SIZE_MISMATCH", path, message, { offset: start.length, expected, actual: start.length });
  }
  const sizes = Array.from({ length: kind.dims }, (_, i) => start.readUInt32BE(4 + 4 * i));
  if (sizes[0] === 0) throw fileError("DATA_EMPTY", path, `holds no ${kind.name}; download it again`, { offset: 4, actual: 0 });
  const bytes = sizes.reduce((product, size) => product * size, 1);
  if (bytes === 0 || bytes > MOST_BYTES) {
    const message = `its header says ${sizes.join(" × ")} bytes; from 1 to ${MOST_BYTES} can be read here`;
    throw fileError("IDX_SIZE_MISMATCH", path, message, { offset: 4, expected: `1 to ${MOST_BYTES}`, actual: sizes });
  }
  return { sizes, bytes };
}

function checkMagic(path: string, kind: Kind, start: Buffer): void {
  const magic = start.readUInt32BE(0);
  if (magic === kind.magic) return;
  const other = kind === IMAGES ? LABELS : IMAGES;
  const hint =
    magic === other.magic
      ? `this is a file of ${other.name}; are two names exchanged?`
      : start.readUInt32LE(0) === kind.magic
        ? "its bytes are in little-endian order, IDX is big-endian"
        : "this is not an IDX file, or a damaged one; download it again";
  const message = `starts with ${magic}, a file of ${kind.name} with ${kind.magic}; ${hint}`;
  throw fileError("IDX_BAD_MAGIC", path, message, { offset: 0, expected: kind.magic, actual: magic, hint });
}

function wrongLength(path: string, kind: Kind, header: Header, actual: number, verb: string): LowrankError {
  const message = `${verb} ${actual} bytes after its header, which says ${header.sizes.join(" × ")} = ${header.bytes}; download it again`;
  return fileError("IDX_SIZE_MISMATCH", path, message, { offset: headerBytes(kind), expected: header.bytes, actual });
}

async function readExactly(path: string, handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, length - done, position + done);
    if (bytesRead === 0) {
      const message = `ended at byte ${position + done} while it was read; ${position + length} were expected`;
      throw fileError("IO_SHORT_READ", path, message, { offset: position + done, expected: position + length, actual: position + done });
    }
    done += bytesRead;
  }
  return bytes;
}

/** A fault of the compressed bytes as `IDX_BAD_GZIP`; any other error as it is. */
function zlibError(path: string, offset: number, error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (error instanceof LowrankError || !code?.startsWith("Z_")) return error;
  return fileError("IDX_BAD_GZIP", path, `the gzip stream is damaged or cut off (${message}); download it again`, { offset }, error);
}

function notRegular(path: string): LowrankError {
  return fileError(
    "IO_NOT_REGULAR_FILE",
    path,
    "is not a regular file (a folder, pipe, socket or device); name the folder that holds the files themselves",
  );
}

function systemError(path: string, error: unknown): LowrankError {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "EACCES" || code === "EPERM") return fileError("IO_ACCESS", path, "may not be opened; check its permissions", {}, error);
  if (code === "EISDIR" || code === "ENXIO") return notRegular(path);
  return fileError("IO_FAILED", path, `could not be read (${code ?? String(error)})`, {}, error);
}
