/** @file Reading safetensors files: the header is checked as a whole when the file is opened, tensors are read when asked for. */
import { basename } from "node:path";
import { fileError, LowrankError, nearest, quoted } from "../native/errors.js";
import { openInput, shortRead, throwIfAborted } from "./file.js";
import { canBeNonFinite, firstNonFinite } from "./finite.js";
import { sniffLength } from "./foreign-types.js";
import { dtypeBytes, type SafetensorsDType } from "./safetensors-dtype.js";
import { type HeaderOptions, headerEnd, parseHeader, type SafetensorsHeader } from "./safetensors-header.js";

export interface TensorInfo {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  /** Size of the data. */
  readonly bytes: number;
  /** Offset of the data in the file; with {@link SafetensorsFile.fd} what native `pread` needs. */
  readonly offset: number;
}

export interface OpenOptions extends HeaderOptions {
  readonly signal?: AbortSignal;
}

/** Receives a piece of a tensor: `chunk` is valid until the call returns or its promise settles; `offset` counts from the tensor's start. */
export type ChunkSink = (chunk: Uint8Array, offset: number) => void | Promise<void>;

interface ByteSource {
  readonly path: string;
  readonly fd: number | undefined;
  readonly size: number;
  readAt(into: Uint8Array, offset: number): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens a safetensors file and checks its header. Allocates 8 + N bytes for a header of N bytes, and what the header describes.
 * @throws LowrankError `IO_…`, `ST_…`, `WRONG_FILE_TYPE`, `ABORTED`
 */
export async function openSafetensors(path: string, options: OpenOptions = {}): Promise<SafetensorsFile> {
  throwIfAborted(options.signal, path);
  return openSource(await openInput(path), options);
}

/** As {@link openSafetensors}, for a source that is already open; closes it when the header is not right. */
export async function openSource(source: ByteSource, options: OpenOptions = {}): Promise<SafetensorsFile> {
  try {
    let head = new Uint8Array(Math.min(source.size, sniffLength));
    await source.readAt(head, 0);
    const end = headerEnd(head, source.size, source.path);
    if (end > head.length) {
      throwIfAborted(options.signal, source.path);
      const whole = new Uint8Array(end);
      whole.set(head);
      await source.readAt(whole.subarray(head.length), head.length);
      head = whole;
    }
    throwIfAborted(options.signal, source.path);
    return new SafetensorsFile(source, parseHeader(head, source.size, source.path, options), options.signal);
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** A safetensors file that is already in memory; `name` stands in errors. The bytes are not copied: do not change them meanwhile. */
export function parseSafetensors(bytes: Uint8Array, name = "safetensors", options: HeaderOptions = {}): SafetensorsFile {
  return new SafetensorsFile(new MemorySource(name, bytes), parseHeader(bytes, bytes.length, name, options), undefined);
}

class MemorySource implements ByteSource {
  readonly fd = undefined;

  constructor(
    readonly path: string,
    private readonly content: Uint8Array,
  ) {}

  get size(): number {
    return this.content.length;
  }

  async readAt(into: Uint8Array, offset: number): Promise<void> {
    const piece = this.content.subarray(offset, offset + into.length);
    if (piece.length < into.length) throw shortRead(this.path, offset, into.length, piece.length);
    into.set(piece);
  }

  async close(): Promise<void> {}
}

/** An open safetensors file with a valid header. Close it, or declare it with `await using`. */
export class SafetensorsFile {
  /** In the order of the header. A Map: names from files are never properties of objects. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: ReadonlyMap<string, string>;
  readonly warnings: readonly string[];
  private closed = false;

  constructor(
    private readonly source: ByteSource,
    header: SafetensorsHeader,
    private readonly signal: AbortSignal | undefined,
  ) {
    const tensors = new Map<string, TensorInfo>();
    for (const [name, { dtype, shape, begin, end }] of header.tensors) {
      tensors.set(name, { dtype, shape, bytes: end - begin, offset: header.dataOffset + begin });
    }
    this.tensors = tensors;
    this.metadata = header.metadata;
    this.warnings = header.warnings;
  }

  /** Full path, or the name given to {@link parseSafetensors}. */
  get path(): string {
    return this.source.path;
  }

  /** File name without folder. */
  get name(): string {
    return basename(this.source.path);
  }

  /** The file descriptor, for native reads at `TensorInfo.offset`; undefined for a file in memory. */
  get fd(): number | undefined {
    this.demandOpen();
    return this.source.fd;
  }

  /** Dtype, shape and place of a tensor. @throws LowrankError TENSOR_MISSING */
  tensor(name: string): TensorInfo {
    const info = this.tensors.get(name);
    if (info !== undefined) return info;
    const near = this.tensors.size <= 10_000 ? nearest(name, this.tensors.keys(), 1)[0] : undefined;
    const hint = near === undefined ? "" : ` Did you mean ${quoted(near)}?`;
    throw fileError("TENSOR_MISSING", this.path, `there is no tensor ${quoted(name)} among the ${this.tensors.size} of this file.${hint}`, {
      tensor: name,
    });
  }

  /** As {@link tensor}, for callers that can use certain dtypes only. @throws LowrankError DTYPE_UNSUPPORTED, TENSOR_MISSING */
  tensorOf(name: string, accepted: readonly SafetensorsDType[]): TensorInfo {
    const info = this.tensor(name);
    if (accepted.includes(info.dtype)) return info;
    const problem = `tensor ${quoted(name)} has dtype ${info.dtype}, usable here are ${accepted.join(", ")}. Convert the file first.`;
    throw fileError("DTYPE_UNSUPPORTED", this.path, problem, { tensor: name, expected: accepted, actual: info.dtype });
  }

  /**
   * Reads a tensor in pieces of at most `chunkBytes` (whole elements) and hands them to `sink` in order; one buffer serves all pieces.
   * Elements of BOOL arrive as 0 or 1 whatever the file holds. An empty tensor gives no piece.
   * @throws LowrankError TENSOR_MISSING, IO_SHORT_READ, IO_FAILED, ABORTED, DISPOSED; and what `sink` throws
   */
  async readInto(name: string, sink: ChunkSink, chunkBytes = 4 * 1024 * 1024): Promise<void> {
    const info = this.tensor(name);
    const elementBytes = dtypeBytes[info.dtype];
    if (!(chunkBytes >= elementBytes)) {
      throw new LowrankError(
        "BAD_ARGUMENT",
        `readInto: chunkBytes is ${chunkBytes}, one element of ${info.dtype} has ${elementBytes} bytes. Give a larger size.`,
      );
    }
    const buffer = new Uint8Array(Math.min(info.bytes, Math.floor(chunkBytes / elementBytes) * elementBytes));
    for (let offset = 0; offset < info.bytes; offset += buffer.length) {
      const chunk = buffer.subarray(0, Math.min(buffer.length, info.bytes - offset));
      await this.readPiece(info, chunk, offset);
      await sink(chunk, offset);
    }
  }

  /** The bytes of a tensor, little-endian and row-major, as a copy of its own. @throws as {@link readInto} */
  async readBytes(name: string): Promise<Uint8Array> {
    const info = this.tensor(name);
    const bytes = new Uint8Array(info.bytes);
    await this.readPiece(info, bytes, 0);
    return bytes;
  }

  /** Reads the whole tensor and throws TENSOR_NONFINITE, with the index of the element, if it holds NaN or infinity. */
  async checkFinite(name: string): Promise<void> {
    const { dtype } = this.tensor(name);
    if (!canBeNonFinite(dtype)) return;
    await this.readInto(name, (chunk, offset) => {
      const index = firstNonFinite(dtype, chunk);
      if (index < 0) return;
      const element = offset / dtypeBytes[dtype] + index;
      const problem = `tensor ${quoted(name)} holds a value that is not finite at element ${element}. The training that wrote it has diverged, or the file is damaged.`;
      throw fileError("TENSOR_NONFINITE", this.path, problem, { tensor: name, index: element });
    });
  }

  /** Closes the file; later reads throw DISPOSED. May be called again. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.source.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private async readPiece(info: TensorInfo, into: Uint8Array, offset: number): Promise<void> {
    this.demandOpen();
    throwIfAborted(this.signal, this.path);
    await this.source.readAt(into, info.offset + offset);
    if (info.dtype === "BOOL") for (let k = 0; k < into.length; k++) into[k] = into[k] === 0 ? 0 : 1;
  }

  private demandOpen(): void {
    if (this.closed) throw fileError("DISPOSED", this.path, "the file was closed before this read.");
  }
}
