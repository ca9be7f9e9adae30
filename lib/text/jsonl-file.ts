/** @file A JSONL file: its rows by number. Only the index and the row that is asked for are in memory. */
import { type InputFile, openInput } from "../io/file.js";
import { type ForeignType, foreignData } from "../io/foreign-types.js";
import type { ErrorCode } from "../native/error-codes.js";
import { type ErrorDetails, fileError, type LowrankError } from "../native/errors.js";
import type { Work } from "./dataset-slices.js";
import { chunkBytes, indexLines, isBlankByte, type LineIndex } from "./jsonl-index.js";

/** Longer rows are refused. The tokenizer takes texts of 2^21 characters: no row that it could take is longer. */
export const maxRowBytes = 16 * 1024 * 1024;

/** What can be wrong with one row; the file and the line are added later. */
export class RowError extends Error {
  /** `details.column`, `details.offset`: characters from 1, bytes from 0, in the row. */
  constructor(
    readonly code: ErrorCode,
    readonly problem: string,
    readonly details: ErrorDetails = {},
    cause?: unknown,
  ) {
    super(problem, { cause });
  }
}

const longRow = (): RowError => {
  const hint = "Split it into several rows, or remove it; is a line end missing?";
  return new RowError("DATA_ROW_TOO_LARGE", `the row has more than ${maxRowBytes} bytes. ${hint}`, { expected: maxRowBytes, hint });
};

/** Bytes are read first so many, and more only if the row goes on. */
const firstRead = 65_536;

export class JsonlFile {
  private constructor(
    private readonly file: InputFile,
    private readonly index: LineIndex,
  ) {}

  /**
   * Opens a file and lists its rows. A row that is too long is an error now if `refuseLong`, else when it is read.
   * @throws LowrankError IO_…, WRONG_FILE_TYPE, DATA_ENCODING, DATA_NOT_JSONL, DATA_EMPTY, DATA_ROW_TOO_LARGE, ABORTED
   */
  static async open(path: string, refuseLong: boolean, work: Work): Promise<JsonlFile> {
    work.check();
    const file = await openInput(path);
    try {
      const head = Buffer.alloc(Math.min(headBytes, file.size));
      await file.readAt(head, 0);
      const start = checkHead(head, file);
      const tooLong = refuseLong ? (line: number, offset: number) => located(file.path, line, offset, longRow()) : undefined;
      const index = await indexLines(file, { start, maxRowBytes, tooLong }, work);
      if (index.length === 0) throw fileError("DATA_EMPTY", file.path, "the file has no row. Write one JSON object a line.", { actual: file.size });
      return new JsonlFile(file, index);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get path(): string {
    return this.file.path;
  }

  /** Rows: lines that are not blank. */
  get length(): number {
    return this.index.length;
  }

  /**
   * The bytes of row `i`, without its line end. @throws RowError DATA_ROW_TOO_LARGE; LowrankError DATA_CHANGED, IO_SHORT_READ, IO_FAILED
   */
  async row(i: number): Promise<Buffer> {
    const range = this.range(i);
    const most = Math.min(range.end - range.start, maxRowBytes + 2);
    let bytes = await this.read(range.start, Math.min(most, firstRead));
    if (bytes.length < most && bytes.indexOf(0x0a, 1) < 0)
      bytes = Buffer.concat([bytes, await this.read(range.start + bytes.length, most - bytes.length)]);
    return this.cut(bytes, i);
  }

  /** Reads rows in rising order, many at a time. The bytes are valid until the next call. */
  inOrder(): (i: number) => Promise<Buffer> {
    let start = 0;
    let window: Buffer = Buffer.alloc(0);
    return async (i) => {
      const range = this.range(i);
      if (range.end - range.start > chunkBytes) return this.row(i);
      if (range.start < start || range.end > start + window.length) {
        start = range.start;
        window = await this.read(start, Math.min(chunkBytes, this.file.size - start), window);
      }
      return this.cut(window.subarray(range.start - start, range.end - start), i);
    };
  }

  /** The error of row `i`, with file, line and column. It counts lines, so it may read on. */
  async error(i: number, { code, problem, details, cause }: RowError): Promise<LowrankError> {
    return located(this.path, await this.line(i), this.index.offset(i), new RowError(code, problem, details, cause));
  }

  /** The line (from 1) in which row `i` stands. @throws LowrankError IO_SHORT_READ, IO_FAILED */
  async line(i: number): Promise<number> {
    const anchor = this.index.anchor(i);
    let { line } = anchor;
    let position = this.index.offset(anchor.row);
    for (const end = this.index.offset(i); position < end; ) {
      const bytes = await this.read(position, Math.min(chunkBytes, end - position));
      for (let at = bytes.indexOf(0x0a); at >= 0; at = bytes.indexOf(0x0a, at + 1)) line++;
      position += bytes.length;
    }
    return line;
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  /** From the line end before row `i` to the line end before the next row. */
  private range(i: number): { start: number; end: number } {
    const end = this.index.offset(i + 1);
    return { start: Math.max(0, this.index.offset(i) - 1), end: i + 1 === this.index.length ? end : end - 1 };
  }

  /** Row `i` in the bytes of its range. They must lie as they did when the file was listed. */
  private cut(bytes: Buffer, i: number): Buffer {
    const start = this.index.offset(i) === 0 ? 0 : 1;
    if (start === 1 && i > 0 && bytes[0] !== 0x0a) throw this.changed();
    const lineEnd = bytes.indexOf(0x0a, start);
    if ((lineEnd < 0 ? bytes.length : lineEnd) - start > maxRowBytes) throw longRow();
    if (lineEnd < 0) return bytes.subarray(start);
    for (let at = lineEnd; at < bytes.length; at++) if (bytes[at] !== 0x0a && !isBlankByte(bytes[at])) throw this.changed();
    return bytes.subarray(start, lineEnd);
  }

  private async read(offset: number, length: number, reuse?: Buffer): Promise<Buffer> {
    const bytes = reuse !== undefined && reuse.length >= length ? reuse.subarray(0, length) : Buffer.allocUnsafeSlow(length);
    await this.file.readAt(bytes, offset);
    return bytes;
  }

  /** The error of a file that is no longer as it was. */
  changed(): LowrankError {
    const hint = "Leave the file alone while it is in use, and open it again.";
    return fileError("DATA_CHANGED", this.path, `the file is not what it was when it was opened. ${hint}`, { hint });
  }
}

function located(path: string, line: number, offset: number, { code, problem, details, cause }: RowError): LowrankError {
  const column = typeof details["column"] === "number" ? `, column ${details["column"]}` : "";
  const facts = { ...details, line, offset: offset + (details.offset ?? 0) };
  return fileError(code, path, `line ${line}${column}: ${problem}`, facts, cause);
}

const headBytes = 4096;

/** Refuses what is no JSONL file; gives the length of the byte order mark. */
function checkHead(head: Buffer, { path, size }: InputFile): number {
  const text = head.toString("latin1");
  const foreign = foreignData(head);
  if (foreign !== undefined) throw wrongType(path, foreign);
  const wide = /^\u00ff\u00fe|^[{["]\0/.test(text) ? "utf-16le" : /^\u00fe\u00ff|^\0[{["]/.test(text) ? "utf-16be" : undefined;
  if (wide !== undefined) {
    const hint = "Save it as UTF-8.";
    throw fileError("DATA_ENCODING", path, `the file is ${wide}, not UTF-8. ${hint}`, { expected: "utf-8", actual: wide, offset: 0, hint });
  }
  const start = text.startsWith("\u00ef\u00bb\u00bf") ? 3 : 0;
  const found = otherJson(head.subarray(start).toString("utf8"), size <= head.length);
  if (found !== undefined) {
    const hint = "Write one JSON object a line, without brackets around them or commas between them (jq -c '.[]' converts an array).";
    throw fileError("DATA_NOT_JSONL", path, `the file is ${found}, not JSONL. ${hint}`, { expected: "one JSON object a line", actual: found, hint });
  }
  return start;
}

function wrongType(path: string, { detected, what, remedy }: ForeignType): LowrankError {
  const details = { expected: "jsonl", actual: detected, detected, hint: remedy };
  return fileError("WRONG_FILE_TYPE", path, `expected a JSONL file, found ${what}. ${remedy}`, details);
}

/** What JSON a file is that is not JSONL. A first line that is a whole array, with more lines to come, is a bad row. */
function otherJson(head: string, isAll: boolean): string | undefined {
  const text = head.trimStart();
  const lineEnd = text.indexOf("\n");
  const line = (lineEnd < 0 ? text : text.slice(0, lineEnd)).trim();
  if (line === "{" && lineEnd >= 0) return "a JSON object over several lines";
  if (!text.startsWith("[")) return undefined;
  const isOnly = isAll && (lineEnd < 0 || text.slice(lineEnd).trim() === "");
  return isOnly || lineEnd < 0 || !isJson(line) ? "a JSON array" : undefined;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
