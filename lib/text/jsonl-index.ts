/** @file Where the rows of a JSONL file begin: one pass over its bytes, 8 bytes of memory a row. */
import type { InputFile } from "../io/file.js";
import type { LowrankError } from "../native/errors.js";
import type { Work } from "./dataset-slices.js";

/** Bytes read at a time. */
export const chunkBytes = 1024 * 1024;

const blockBits = 14;
const blockRows = 2 ** blockBits;

/** Byte offsets of the lines that are not blank, in order. */
export class LineIndex {
  /** Rows in the file. */
  length = 0;
  private readonly blocks: Float64Array[] = [];
  /** Number of the line in which each block begins. */
  private readonly blockLines: number[] = [];

  /** `end`: where the last row ends, blank lines behind it included. */
  constructor(readonly end: number) {}

  add(offset: number, line: number): void {
    const place = this.length & (blockRows - 1);
    if (place === 0) {
      this.blocks.push(new Float64Array(blockRows));
      this.blockLines.push(line);
    }
    (this.blocks[this.length >>> blockBits] as Float64Array)[place] = offset;
    this.length++;
  }

  /** Byte offset of the line of row `i`; for `i` = length the end of the file. */
  offset(i: number): number {
    if (i === this.length) return this.end;
    return this.blocks[i >>> blockBits]?.[i & (blockRows - 1)] as number;
  }

  /** The nearest row at or before row `i` of which the line (from 1) is known. */
  anchor(i: number): { readonly row: number; readonly line: number } {
    const block = i >>> blockBits;
    return { row: block << blockBits, line: this.blockLines[block] as number };
  }
}

interface IndexRules {
  /** Where the text begins: behind a byte order mark. */
  readonly start: number;
  readonly maxRowBytes: number;
  /** The error of a longer row that begins at `offset` in the given line; undefined: such rows are listed like others. */
  readonly tooLong: ((line: number, offset: number) => LowrankError) | undefined;
}

/**
 * Lists the rows of a file. Lines end with LF; spaces, tabs and CR make no row. Memory beside the index: one chunk.
 * @throws LowrankError ABORTED, IO_SHORT_READ, IO_FAILED, and what `tooLong` makes
 */
export async function indexLines(file: InputFile, rules: IndexRules, work: Work): Promise<LineIndex> {
  const index = new LineIndex(file.size);
  const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, file.size));
  const refuseLong = (length: number): void => {
    if (length > rules.maxRowBytes && rules.tooLong !== undefined) throw rules.tooLong(line, lineStart);
  };
  let line = 1;
  let lineStart = rules.start;
  let isBlank = true;
  for (let position = rules.start; position < file.size; ) {
    const bytes = chunk.subarray(0, Math.min(chunk.length, file.size - position));
    await file.readAt(bytes, position);
    await work.turn();
    for (let at = 0; at < bytes.length; ) {
      if (isBlank) {
        at = skipBlanks(bytes, at);
        if (at === bytes.length) break;
        isBlank = bytes[at] === 0x0a;
      }
      const end = isBlank ? at : bytes.indexOf(0x0a, at);
      if (end < 0) break;
      if (!isBlank) {
        refuseLong(position + end - lineStart);
        index.add(lineStart, line);
      }
      at = end + 1;
      lineStart = position + at;
      isBlank = true;
      if ((++line & 1023) === 0 && work.slices.due) await work.turn();
    }
    position += bytes.length;
    if (!isBlank) refuseLong(position - lineStart);
    work.report("index", position, file.size);
  }
  if (!isBlank) index.add(lineStart, line);
  return index;
}

function skipBlanks(bytes: Uint8Array, from: number): number {
  let at = from;
  while (isBlankByte(bytes[at])) at++;
  return at;
}

/** Space, tab, CR. */
export const isBlankByte = (byte: number | undefined): boolean => byte === 0x20 || byte === 0x0d || byte === 0x09;
