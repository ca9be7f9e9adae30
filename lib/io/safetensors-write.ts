/** @file Writing safetensors files: the same bytes for the same tensors, laid out as the reference writer does. */
import type { ErrorCode } from "../native/error-codes.js";
import { fileError, type LowrankError, quoted } from "../native/errors.js";
import { type OutputFile, type WriteOptions, writeAtomic } from "./atomic.js";
import { byteSize } from "./exact.js";
import { dtypeBytes, dtypeRank, isDType, type SafetensorsDType } from "./safetensors-dtype.js";
import { headerLimits, nameProblem } from "./safetensors-header.js";

/** A tensor to be written. `data` is called once, when its turn comes, so only one tensor need be in memory. */
export interface TensorSource {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  /** The elements, little-endian and row-major, at once or in pieces. */
  readonly data: () => Uint8Array | Promise<Uint8Array> | AsyncIterable<Uint8Array>;
}

/** Text beside the tensors; written with sorted keys. */
export type WriterMetadata = ReadonlyMap<string, string> | Readonly<Record<string, string>>;

interface Plan {
  /** Length field and padded JSON. */
  readonly head: Uint8Array;
  readonly order: readonly TensorSource[];
  readonly sizes: ReadonlyMap<string, number>;
  readonly fileSize: number;
}

/**
 * Writes a safetensors file atomically (see {@link writeAtomic}). Header: `__metadata__`, then the tensors by type (as the reference
 * writer, larger types first) and name, padded with spaces to a multiple of 8 bytes; the data follows in that order.
 * @throws LowrankError ST_BAD_NAME, ST_DUPLICATE_KEY, ST_BAD_DTYPE, ST_BAD_SHAPE, ST_TOO_MANY_DIMS, ST_TOO_MANY_TENSORS,
 * ST_SHAPE_OVERFLOW, ST_BAD_METADATA, ST_HEADER_TOO_LARGE, ST_SIZE_MISMATCH (`data` gave another number of bytes), `IO_…`, ABORTED
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorSource>,
  metadata: WriterMetadata = {},
  options: WriteOptions = {},
): Promise<void> {
  const plan = makePlan(path, tensors, metadata);
  await writeAtomic(path, (file) => writePlan(plan, file, path), options);
}

/** The `write` of a {@link FolderEntry} for a safetensors file; what can be checked without the data is checked at once. */
export function safetensorsEntry(
  name: string,
  tensors: Iterable<TensorSource>,
  metadata: WriterMetadata = {},
): { name: string; write: (file: OutputFile) => Promise<void> } {
  const plan = makePlan(name, tensors, metadata);
  return { name, write: (file) => writePlan(plan, file, name) };
}

/** The bytes that {@link writeSafetensors} would write. @throws the same, `name` stands in errors */
export async function serializeSafetensors(
  tensors: Iterable<TensorSource>,
  metadata: WriterMetadata = {},
  name = "safetensors",
): Promise<Uint8Array> {
  const plan = makePlan(name, tensors, metadata);
  const bytes = new Uint8Array(plan.fileSize);
  let position = 0;
  const write = async (piece: Uint8Array): Promise<void> => {
    bytes.set(piece, position);
    position += piece.length;
  };
  await writePlan(plan, { write }, name);
  return bytes;
}

async function writePlan(plan: Plan, file: OutputFile, path: string): Promise<void> {
  await file.write(plan.head);
  for (const tensor of plan.order) {
    const expected = plan.sizes.get(tensor.name) as number;
    let written = 0;
    for await (const piece of pieces(tensor)) {
      written += piece.length;
      if (written > expected) throw sizeMismatch(path, tensor, expected, `at least ${written}`);
      await file.write(piece);
    }
    if (written !== expected) throw sizeMismatch(path, tensor, expected, `${written}`);
  }
}

async function* pieces(tensor: TensorSource): AsyncGenerator<Uint8Array> {
  const data = await tensor.data();
  if (data instanceof Uint8Array) yield data;
  else yield* data;
}

function sizeMismatch(path: string, { name, dtype, shape }: TensorSource, expected: number, actual: string): LowrankError {
  const problem = `tensor ${quoted(name)}, [${shape.join(",")}] of ${dtype}, needs ${expected} bytes, its data has ${actual}. Nothing was written.`;
  return fileError("ST_SIZE_MISMATCH", path, problem, { tensor: name, expected, actual });
}

function makePlan(path: string, tensors: Iterable<TensorSource>, metadata: WriterMetadata): Plan {
  const order = [...tensors].map((tensor) => ({ tensor, key: Buffer.from(tensor.name, "utf8") }));
  if (order.length > headerLimits.tensors)
    throw refusal("ST_TOO_MANY_TENSORS", path, `${order.length} tensors are more than ${headerLimits.tensors}. Split the file.`);
  const sizes = new Map<string, number>();
  for (const { tensor } of order) {
    if (sizes.has(tensor.name))
      throw refusal("ST_DUPLICATE_KEY", path, `two tensors have the name ${quoted(tensor.name)}. Give each its own.`, tensor.name);
    sizes.set(tensor.name, checkedSize(path, tensor));
  }
  order.sort((a, b) => dtypeRank(b.tensor.dtype) - dtypeRank(a.tensor.dtype) || Buffer.compare(a.key, b.key));
  const sorted = order.map(({ tensor }) => tensor);
  const members = metadataMember(path, metadata);
  let dataSize = 0;
  for (const { name, dtype, shape } of sorted) {
    const begin = dataSize;
    dataSize += sizes.get(name) as number;
    members.push(`${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(",")}],"data_offsets":[${begin},${dataSize}]}`);
  }
  if (!Number.isSafeInteger(dataSize)) throw refusal("ST_SHAPE_OVERFLOW", path, "the tensors together are too large for a file.");
  const head = headBytes(path, `{${members.join(",")}}`);
  return { head, order: sorted, sizes, fileSize: head.length + dataSize };
}

function headBytes(path: string, json: string): Uint8Array {
  const length = Math.ceil(Buffer.byteLength(json) / 8) * 8;
  if (length > headerLimits.bytes) {
    throw refusal(
      "ST_HEADER_TOO_LARGE",
      path,
      `the header would have ${length} bytes, the limit is ${headerLimits.bytes}. Split the file or shorten the metadata.`,
    );
  }
  const head = Buffer.alloc(8 + length, " ");
  head.writeBigUInt64LE(BigInt(length), 0);
  head.write(json, 8, "utf8");
  return head;
}

/** Half of a surrogate pair: it has no UTF-8 form. */
const loneSurrogate = /\p{Surrogate}/u;

/** The `__metadata__` member, if there is anything to say. */
function metadataMember(path: string, metadata: WriterMetadata): string[] {
  const entries = metadata instanceof Map ? [...metadata] : Object.entries(metadata as Readonly<Record<string, string>>);
  if (entries.length === 0) return [];
  let bytes = 0;
  const members = entries
    .sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map(([key, value]) => {
      if (typeof value !== "string") throw refusal("ST_BAD_METADATA", path, `the metadata value of ${quoted(key)} is not a string. Convert it.`);
      if (loneSurrogate.test(key) || loneSurrogate.test(value))
        throw refusal("ST_BAD_METADATA", path, `the metadata of ${quoted(key)} holds half a surrogate pair. Remove it.`);
      if (Buffer.byteLength(JSON.stringify(key)) - 2 > headerLimits.keyBytes)
        throw refusal("ST_BAD_METADATA", path, `the metadata key ${quoted(key)} is too long.`);
      const text = JSON.stringify(value);
      bytes += Buffer.byteLength(text) - 2;
      return `${JSON.stringify(key)}:${text}`;
    });
  if (bytes > headerLimits.metadataBytes)
    throw refusal("ST_BAD_METADATA", path, `the metadata has ${bytes} bytes, the limit is ${headerLimits.metadataBytes}. Shorten it.`);
  return [`"__metadata__":{${members.join(",")}}`];
}

/** The size of a tensor's data, after checking all that the reader would check. */
function checkedSize(path: string, { name, dtype, shape }: TensorSource): number {
  const problem = name === "__metadata__" ? "is reserved" : loneSurrogate.test(name) ? "holds half a surrogate pair" : nameProblem(name);
  if (problem !== undefined) throw refusal("ST_BAD_NAME", path, `the tensor name ${quoted(name)} ${problem}. Choose another.`, name);
  if (!isDType(dtype)) throw refusal("ST_BAD_DTYPE", path, `tensor ${quoted(name)} has the unknown dtype ${quoted(String(dtype))}.`, name);
  if (shape.length > headerLimits.dims)
    throw refusal("ST_TOO_MANY_DIMS", path, `tensor ${quoted(name)} has ${shape.length} dimensions, the limit is ${headerLimits.dims}.`, name);
  if (!shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) {
    throw refusal("ST_BAD_SHAPE", path, `the shape [${shape.join(",")}] of tensor ${quoted(name)} is not made of non-negative integers.`, name);
  }
  const size = byteSize(shape, dtypeBytes[dtype]);
  if (typeof size !== "number")
    throw refusal("ST_SHAPE_OVERFLOW", path, `the shape [${shape.join(",")}] of tensor ${quoted(name)} is too large for a file.`, name);
  return size;
}

function refusal(code: ErrorCode, path: string, problem: string, tensor?: string): LowrankError {
  return fileError(code, path, problem, tensor === undefined ? {} : { tensor: tensor.slice(0, 120) });
}
