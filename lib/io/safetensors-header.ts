/**
 * @file The header of a safetensors file: 8 bytes of length N (little-endian), N bytes of JSON, then the data. Checks everything the
 * format demands, and what the reference reader leaves open (keys that stand twice, sizes that overflow only in one order of the
 * dimensions, empty names). Pure functions of the first 8 + N bytes and the file size; linear time but for one sort.
 */
import type { ErrorCode } from "../native/error-codes.js";
import { fileError, LowrankError, quoted } from "../native/errors.js";
import { byteSize, type Exact, subtract } from "./exact.js";
import { foreignType } from "./foreign-types.js";
import { checkJson, JsonCursor, type JsonRules } from "./json-scanner.js";
import { dtypeBytes, dtypeNames, isDType, type SafetensorsDType } from "./safetensors-dtype.js";

/** One tensor as the header describes it; `begin` and `end` count from the start of the data. */
export interface HeaderTensor {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** In the order of the header. */
  readonly tensors: Map<string, HeaderTensor>;
  readonly metadata: Map<string, string>;
  /** Offset in the file of the first byte of data: 8 + N. */
  readonly dataOffset: number;
  readonly warnings: string[];
}

export interface HeaderOptions {
  /** Accept bytes after the last tensor, which some writers leave; default false. */
  readonly allowTrailingBytes?: boolean;
  /** Default 200,000. */
  readonly maxTensors?: number;
}

export const headerLimits = {
  bytes: 100_000_000,
  tensors: 200_000,
  dims: 8,
  nameBytes: 1024,
  /** Any key, as written (with escapes). */
  keyBytes: 6 * 1024,
  /** All metadata values together, as written. */
  metadataBytes: 32 * 1024 * 1024,
} as const;

const damaged = "The file is damaged or was written by a faulty program; download or export it again.";
/** What to do when the file is not damaged but asks for more than we read. */
const adviceByCode: ReadonlyMap<ErrorCode, string> = new Map<ErrorCode, string>([
  ["ST_TOO_MANY_TENSORS", "Pass a larger maxTensors if the file is meant to have so many."],
  ["ST_TOO_MANY_DIMS", "Save the tensor in a shape with fewer dimensions."],
  ["ST_BAD_NAME", "Rename the tensor and save the file again."],
  ["ST_BAD_DTYPE", "Convert the tensor and save the file again."],
]);
const incomplete = "The download may be incomplete; fetch the file again.";

/**
 * Where the header ends, 8 + N, after checking N against the limit and the file size. `head`: the first bytes of the file, at least
 * 8 unless the file is shorter; more of them (512) help to name a foreign file type.
 */
export function headerEnd(head: Uint8Array, fileSize: number, path: string): number {
  try {
    return checkedHeaderEnd(head, fileSize, path);
  } catch (error) {
    throw foreignError(head, path) ?? error;
  }
}

/**
 * Parses and checks a header. `head`: the first 8 + N bytes of the file, or the whole file; `fileSize`: its size in bytes; `path`: its
 * path or name, for errors.
 * @throws LowrankError with a code `ST_…`, or `WRONG_FILE_TYPE` with `details.detected`
 */
export function parseHeader(head: Uint8Array, fileSize: number, path: string, options: HeaderOptions = {}): SafetensorsHeader {
  const end = headerEnd(head, fileSize, path);
  if (head.length < end) throw new RangeError(`parseHeader needs the first ${end} bytes of the file, got ${head.length}`);
  let jsonEnd = end;
  while (jsonEnd > 8 && head[jsonEnd - 1] === 0) jsonEnd--;
  try {
    const header = new HeaderReader(head, jsonEnd, end, fileSize, path, options).read();
    if (jsonEnd < end) throw nulPadding(path, jsonEnd, end);
    return header;
  } catch (error) {
    if (!(error instanceof LowrankError)) throw error;
    if (error.code === "ST_HEADER_NOT_UTF8") throw foreignError(head, path) ?? error;
    if (jsonEnd < end && !jsonDefects.has(error.code)) throw nulsAfterJson(path, jsonEnd, error);
    throw error;
  }
}

/** With these the JSON itself is at fault, or the NUL bytes after it are already explained. */
const jsonDefects: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "ST_HEADER_BAD_JSON",
  "ST_NESTING_TOO_DEEP",
  "ST_DUPLICATE_KEY",
  "ST_HEADER_NUL_PADDING",
]);

function checkedHeaderEnd(head: Uint8Array, fileSize: number, path: string): number {
  if (fileSize < 8 || head.length < 8) {
    const problem = `the file has ${fileSize} bytes, too few for the 8-byte header length. ${incomplete}`;
    throw fileError("ST_HEADER_TOO_SMALL", path, problem, { expected: 8, actual: fileSize, hint: incomplete });
  }
  const view = new DataView(head.buffer, head.byteOffset, 8);
  const length = view.getBigUint64(0, true);
  if (length > BigInt(headerLimits.bytes)) {
    const swapped = view.getBigUint64(0, false);
    const hint =
      swapped + 8n <= BigInt(fileSize)
        ? `Is it a big-endian length? Read that way it is ${swapped}. Save the file again with another program.`
        : damaged;
    const problem = `the header claims ${length} bytes, the limit is ${headerLimits.bytes} (at byte 0). ${hint}`;
    throw fileError("ST_HEADER_TOO_LARGE", path, problem, { offset: 0, expected: headerLimits.bytes, actual: String(length), hint });
  }
  const end = 8 + Number(length);
  if (end > fileSize) {
    const problem = `the header needs ${end} bytes, the file has ${fileSize}. ${incomplete}`;
    throw fileError("ST_HEADER_PAST_EOF", path, problem, { offset: 0, expected: end, actual: fileSize, hint: incomplete });
  }
  return end;
}

function foreignError(head: Uint8Array, path: string): LowrankError | undefined {
  const type = foreignType(head);
  if (type === undefined) return undefined;
  const problem = `expected a safetensors file, found ${type.what}. ${type.remedy}`;
  return fileError("WRONG_FILE_TYPE", path, problem, { expected: "safetensors", actual: type.detected, detected: type.detected, hint: type.remedy });
}

function nulPadding(path: string, from: number, to: number): LowrankError {
  const hint = "A faulty exporter pads with NUL bytes where the format wants spaces; save the file again with another program.";
  return fileError("ST_HEADER_NUL_PADDING", path, `the header ends in ${to - from} NUL bytes (at byte ${from}). ${hint}`, { offset: from, hint });
}

function nulsAfterJson(path: string, offset: number, cause: LowrankError): LowrankError {
  const problem = `not valid JSON: NUL bytes follow the header's JSON text (at byte ${offset}), and without them the file is not right either. ${damaged}`;
  return fileError("ST_HEADER_BAD_JSON", path, problem, { offset, hint: damaged }, cause);
}

/** A tensor whose offsets are not yet checked against the file. */
interface Candidate {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly begin: Exact;
  readonly end: Exact;
}

interface TensorFields {
  dtype?: number;
  shape?: number;
  data_offsets?: number;
}

class HeaderReader {
  private readonly candidates: Candidate[] = [];
  private readonly metadata = new Map<string, string>();
  private readonly maxTensors: number;
  private readonly rules: JsonRules;
  private firstUnknownField: string | undefined;
  private unknownFields = 0;

  constructor(
    private readonly head: Uint8Array,
    jsonEnd: number,
    private readonly dataOffset: number,
    private readonly fileSize: number,
    private readonly path: string,
    private readonly options: HeaderOptions,
  ) {
    this.maxTensors = options.maxTensors ?? headerLimits.tensors;
    this.rules = {
      path,
      codes: {
        syntax: "ST_HEADER_BAD_JSON",
        duplicate: "ST_DUPLICATE_KEY",
        depth: "ST_NESTING_TOO_DEEP",
        utf8: "ST_HEADER_NOT_UTF8",
        longKey: "ST_BAD_NAME",
        manyKeys: "ST_TOO_MANY_TENSORS",
      },
      start: 8,
      end: jsonEnd,
      maxKeys: 2 * this.maxTensors + 16,
      maxKeyBytes: headerLimits.keyBytes,
      advice: damaged,
    };
  }

  read(): SafetensorsHeader {
    const cursor = new JsonCursor(checkJson(this.head, this.rules));
    if (cursor.kind() !== "object") this.fail("ST_HEADER_NOT_OBJECT", cursor.offset, `the header is a JSON ${cursor.kind()}, not an object`);
    cursor.object((name, offset) => (name === "__metadata__" ? this.readMetadata(cursor) : this.readTensor(cursor, name, offset)));
    this.checkLayout();
    const tensors = new Map<string, HeaderTensor>();
    for (const { name, dtype, shape, begin, end } of this.candidates) tensors.set(name, { dtype, shape, begin: Number(begin), end: Number(end) });
    return { tensors, metadata: this.metadata, dataOffset: this.dataOffset, warnings: this.warnings() };
  }

  private warnings(): string[] {
    if (this.firstUnknownField === undefined) return [];
    const others = this.unknownFields > 1 ? ` and ${this.unknownFields - 1} more` : "";
    return [`unknown fields of tensors are ignored: ${this.firstUnknownField}${others}`];
  }

  private readMetadata(cursor: JsonCursor): void {
    const kind = cursor.kind();
    if (kind === "null") return;
    if (kind !== "object") this.fail("ST_BAD_METADATA", cursor.offset, `__metadata__ is a JSON ${kind}, not an object of strings`);
    let bytes = 0;
    cursor.object((key, offset) => {
      const found = cursor.kind();
      if (found !== "string") this.fail("ST_BAD_METADATA", offset, `the value of ${quoted(key)} in __metadata__ is a JSON ${found}, not a string`);
      bytes += cursor.textBytes();
      if (bytes > headerLimits.metadataBytes)
        this.fail("ST_BAD_METADATA", offset, `__metadata__ holds more than ${headerLimits.metadataBytes} bytes`);
      this.metadata.set(key, cursor.text());
    });
  }

  private readTensor(cursor: JsonCursor, name: string, offset: number): void {
    if (this.candidates.length === this.maxTensors) this.fail("ST_TOO_MANY_TENSORS", offset, `the file has more than ${this.maxTensors} tensors`);
    const problem = nameProblem(name);
    if (problem !== undefined) this.fail("ST_BAD_NAME", offset, `the tensor name ${quoted(name)} ${problem}`, name);
    const fields = this.findFields(cursor, name);
    const end = cursor.offset;
    const dtype = this.readDType(cursor, this.field(fields, "dtype", name, offset), name);
    const dims = this.readShape(cursor, this.field(fields, "shape", name, offset), name);
    const [begin, stop] = this.readOffsets(cursor, this.field(fields, "data_offsets", name, offset), name);
    cursor.seek(end);
    this.checkSize(name, offset, dtype, dims, begin, stop);
    this.candidates.push({ name, dtype, shape: dims.map(Number), begin, end: stop });
  }

  /** The offsets of the values of the three fields; counts others. */
  private findFields(cursor: JsonCursor, name: string): TensorFields {
    const fields: TensorFields = {};
    if (cursor.kind() !== "object") {
      this.fail(
        "ST_MISSING_FIELD",
        cursor.offset,
        `tensor ${quoted(name)} is a JSON ${cursor.kind()}, not an object with dtype, shape and data_offsets`,
        name,
      );
    }
    cursor.object((key) => {
      if (key === "dtype" || key === "shape" || key === "data_offsets") fields[key] = cursor.offset;
      else if (this.unknownFields++ === 0) this.firstUnknownField = `${quoted(key)} of ${quoted(name)}`;
    });
    return fields;
  }

  /** All three fields are demanded before the first is read, so that a missing field wins over a wrong one. */
  private field(fields: TensorFields, wanted: keyof TensorFields, name: string, offset: number): number {
    for (const field of ["dtype", "shape", "data_offsets"] as const) {
      if (fields[field] === undefined) this.fail("ST_MISSING_FIELD", offset, `tensor ${quoted(name)} has no ${field}`, name, { expected: field });
    }
    return fields[wanted] as number;
  }

  private readDType(cursor: JsonCursor, offset: number, name: string): SafetensorsDType {
    cursor.seek(offset);
    const readable = cursor.kind() === "string" && cursor.textBytes() <= 64;
    const text = readable ? cursor.text() : "";
    if (isDType(text)) return text;
    const found = readable ? quoted(text) : `a JSON ${cursor.kind()}`;
    const meant = isDType(text.toUpperCase()) ? ` (did the writer mean ${text.toUpperCase()}?)` : "";
    const problem = `the dtype of tensor ${quoted(name)} is ${found}${meant}, accepted are ${dtypeNames.join(", ")}`;
    return this.fail("ST_BAD_DTYPE", offset, problem, name, { expected: dtypeNames, actual: found });
  }

  private readShape(cursor: JsonCursor, offset: number, name: string): Exact[] {
    cursor.seek(offset);
    if (cursor.kind() !== "array")
      this.fail("ST_BAD_SHAPE", offset, `the shape of tensor ${quoted(name)} is a JSON ${cursor.kind()}, not an array`, name);
    const dims: Exact[] = [];
    cursor.array((index) => {
      if (index === headerLimits.dims) {
        this.fail("ST_TOO_MANY_DIMS", offset, `tensor ${quoted(name)} has more than ${headerLimits.dims} dimensions`, name, {
          expected: headerLimits.dims,
        });
      }
      const place = cursor.offset;
      const dim = readUnsigned(cursor);
      if (dim === undefined) this.fail("ST_BAD_SHAPE", place, `dimension ${index} of tensor ${quoted(name)} is not a non-negative integer`, name);
      dims.push(dim);
    });
    return dims;
  }

  private readOffsets(cursor: JsonCursor, offset: number, name: string): readonly [Exact, Exact] {
    cursor.seek(offset);
    const found: Exact[] = [];
    if (cursor.kind() === "array") {
      cursor.array((index) => {
        const value = index < 2 ? readUnsigned(cursor) : undefined;
        if (value === undefined) this.badOffsets(offset, name);
        found.push(value);
      });
    }
    const [begin, end] = found;
    if (begin === undefined || end === undefined || begin > end || end > maxOffset) this.badOffsets(offset, name);
    return [begin, end];
  }

  private badOffsets(offset: number, name: string): never {
    return this.fail("ST_BAD_OFFSETS", offset, `the data_offsets of tensor ${quoted(name)} are not two rising non-negative integers`, name);
  }

  private checkSize(name: string, offset: number, dtype: SafetensorsDType, dims: readonly Exact[], begin: Exact, end: Exact): void {
    const bytes = byteSize(dims, dtypeBytes[dtype]);
    const shape = `[${dims.join(",")}]`;
    if (bytes === undefined)
      this.fail(
        "ST_SHAPE_OVERFLOW",
        offset,
        `the sizes of tensor ${quoted(name)}, ${shape} of ${dtype}, multiply to more than a file can hold`,
        name,
      );
    const range = subtract(end, begin);
    if (bytes === range) return;
    const problem = `tensor ${quoted(name)}, ${shape} of ${dtype}, needs ${bytes} bytes, its data_offsets [${begin},${end}] hold ${range}`;
    this.fail("ST_SIZE_MISMATCH", offset, problem, name, { expected: plain(bytes), actual: plain(range) });
  }

  /** In order of their offsets the tensors must follow each other without gap or overlap and fill the data exactly. */
  private checkLayout(): void {
    const sorted = [...this.candidates].sort((a, b) => compare(a.begin, b.begin) || compare(a.end, b.end));
    let position: Exact = 0;
    let previous: string | undefined;
    const before = (): string => (previous === undefined ? "the start of the data" : `tensor ${quoted(previous)}`);
    for (const { name, begin, end } of sorted) {
      if (begin > position) {
        const problem = `bytes ${position} to ${begin} of the data, between ${before()} and tensor ${quoted(name)}, belong to no tensor`;
        this.fail("ST_OFFSET_GAP", undefined, problem, name, { expected: plain(position), actual: plain(begin) });
      }
      if (begin < position) {
        if (begin === end) this.fail("ST_BAD_OFFSETS", undefined, `the empty tensor ${quoted(name)} lies at byte ${begin}, inside ${before()}`, name);
        const problem = `tensor ${quoted(name)} starts at byte ${begin} of the data, before ${before()} ends at ${position}`;
        this.fail("ST_OFFSET_OVERLAP", undefined, problem, name, { expected: plain(position), actual: plain(begin) });
      }
      position = end;
      previous = name;
    }
    this.checkDataSize(position);
  }

  private checkDataSize(expected: Exact): void {
    const actual = this.fileSize - this.dataOffset;
    if (expected > actual) {
      const problem = `the tensors need ${expected} bytes of data, the file has ${actual}. ${incomplete}`;
      throw fileError("ST_TRUNCATED_DATA", this.path, problem, { expected: plain(expected), actual, hint: incomplete });
    }
    if (expected < actual && this.options.allowTrailingBytes !== true) {
      const extra = actual - Number(expected);
      const offset = this.dataOffset + Number(expected);
      const hint = "If the bytes are harmless, pass allowTrailingBytes.";
      const problem = `${extra} ${extra === 1 ? "byte follows" : "bytes follow"} the last tensor (at byte ${offset}). ${hint}`;
      throw fileError("ST_TRAILING_DATA", this.path, problem, { offset, expected: plain(expected), actual, hint });
    }
  }

  private fail(
    code: ErrorCode,
    offset: number | undefined,
    problem: string,
    tensor?: string,
    details: { expected?: unknown; actual?: unknown } = {},
  ): never {
    const place = offset === undefined ? "" : ` (at byte ${offset})`;
    const where = { ...(offset === undefined ? {} : { offset }), ...(tensor === undefined ? {} : { tensor: tensor.slice(0, 120) }) };
    const hint = adviceByCode.get(code) ?? damaged;
    throw fileError(code, this.path, `${problem}${place}. ${hint}`, { ...where, ...details, hint });
  }
}

/** What is wrong with a tensor name, as a verb phrase; undefined for a good one. */
export function nameProblem(name: string): string | undefined {
  if (name === "") return "is empty";
  if (name.includes("\0")) return "contains a NUL character";
  const bytes = Buffer.byteLength(name);
  return bytes > headerLimits.nameBytes ? `has ${bytes} bytes, more than ${headerLimits.nameBytes}` : undefined;
}

/** Offsets are unsigned 64-bit integers. */
const maxOffset = 2n ** 64n - 1n;

/** A non-negative integer written without sign, fraction and exponent; undefined for anything else, then nothing is consumed. */
function readUnsigned(cursor: JsonCursor): Exact | undefined {
  if (cursor.kind() !== "number") return undefined;
  const { integer, text } = cursor.number();
  return text.startsWith("-") ? undefined : integer;
}

function compare(a: Exact, b: Exact): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** For `details`, which must survive JSON: a number, or its digits beyond 2^53. */
function plain(value: Exact): number | string {
  return typeof value === "bigint" ? String(value) : value;
}
