/**
 * @file The first pass over JSON that comes from a file: strict RFC 8259 syntax, strict UTF-8, bounded depth, no key twice in one
 * object, no lone surrogate. It builds nothing and keeps its own stack, so hostile input costs neither memory nor call stack.
 */
import type { ErrorCode } from "../native/error-codes.js";
import { fileError, type LowrankError, quoted } from "../native/errors.js";
import { firstInvalidUtf8 } from "./utf8.js";

/** Which error code stands for which kind of defect; every file format brings its own. */
export interface JsonCodes {
  readonly syntax: ErrorCode;
  readonly duplicate: ErrorCode;
  readonly depth: ErrorCode;
  readonly utf8: ErrorCode;
  /** An escape for one half of a surrogate pair; `syntax` if absent. */
  readonly surrogate?: ErrorCode;
  /** A key longer than `maxKeyBytes`, or more than 32 MiB of keys; `syntax` if absent. */
  readonly longKey?: ErrorCode;
  /** More than `maxKeys` keys; `syntax` if absent. */
  readonly manyKeys?: ErrorCode;
}

export interface JsonRules {
  /** Path or name of the file, for errors. */
  readonly path: string;
  readonly codes: JsonCodes;
  /** The JSON text is `bytes[start, end)`; offsets in errors count from `bytes[0]`. */
  readonly start?: number;
  readonly end?: number;
  /** Levels of nested arrays and objects; default 32. */
  readonly maxDepth?: number;
  /** Keys in all objects that are open at the same time; default 1,000,000. */
  readonly maxKeys?: number;
  /** Length of one key as written; default 65,536. */
  readonly maxKeyBytes?: number;
  /** How errors give the place; default "byte". */
  readonly place?: "byte" | "line";
  /** What the user can do; ends every message. */
  readonly advice?: string;
}

/** JSON text that has passed {@link checkJson}. */
export interface CheckedJson {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/** Numbers with more characters than this are refused: no real file has them and exact arithmetic on them is not linear. */
const maxNumberLength = 1024;

/** Bytes, as written, of all keys in objects that are open at the same time. */
const maxOpenKeyBytes = 32 * 1024 * 1024;

/** What keeps a text from being strict JSON. */
export interface JsonProblem {
  readonly code: ErrorCode;
  readonly offset: number;
  readonly problem: string;
}

/** Throws unless `bytes[start, end)` is one strict JSON value, see the file comment. */
export function checkJson(bytes: Uint8Array, rules: JsonRules): CheckedJson {
  const found = findJsonProblem(bytes, rules);
  if (found !== undefined) throw jsonError(bytes, rules, found.code, found.offset, found.problem);
  return { bytes, start: rules.start ?? 0, end: rules.end ?? bytes.length };
}

/** The first problem of a JSON text, for callers who word errors themselves. Linear time; memory for the open keys only. */
export function findJsonProblem(bytes: Uint8Array, rules: JsonRules): JsonProblem | undefined {
  const { start = 0, end = bytes.length, codes } = rules;
  const offset = firstInvalidUtf8(bytes, start, end);
  if (offset >= 0) return { code: codes.utf8, offset, problem: `byte 0x${hex(bytes[offset] as number, 2)} is not valid UTF-8` };
  try {
    new JsonChecker(bytes, start, end, rules).run();
    return undefined;
  } catch (error) {
    if (error instanceof Failed) return error.found;
    throw error;
  }
}

/** Ends the check. */
class Failed extends Error {
  constructor(readonly found: JsonProblem) {
    super();
  }
}

/** An error at a place of a JSON text, as `rules` want it said. */
export function jsonError(bytes: Uint8Array, rules: JsonRules, code: ErrorCode, offset: number, problem: string): LowrankError {
  const advice = rules.advice === undefined ? "" : ` ${rules.advice}`;
  const hint = rules.advice === undefined ? {} : { hint: rules.advice };
  if (rules.place !== "line") return fileError(code, rules.path, `${problem} (at byte ${offset}).${advice}`, { offset, ...hint });
  const { line, column } = lineAndColumn(bytes, rules.start ?? 0, offset);
  return fileError(code, rules.path, `${problem} (at line ${line}, column ${column}).${advice}`, { offset, line, column, ...hint });
}

/** 1-based line and column (in code points) of a byte of a UTF-8 text. */
export function lineAndColumn(bytes: Uint8Array, start: number, offset: number): { line: number; column: number } {
  let line = 1;
  let column = 1;
  for (let at = start; at < offset; at++) {
    const byte = bytes[at] as number;
    if (byte === 0x0a) {
      line++;
      column = 1;
    } else if ((byte & 0xc0) !== 0x80) {
      column++;
    }
  }
  return { line, column };
}

/** The value of a valid string whose content is `text[start, end)`; its quotes stand at start - 1 and end. */
export function decodeString(text: Buffer, start: number, end: number): string {
  const bytes = text.toString("latin1", start, end);
  if (!/[\\\x80-\xff]/.test(bytes)) return bytes;
  return bytes.includes("\\") ? JSON.parse(text.toString("utf8", start - 1, end + 1)) : text.toString("utf8", start, end);
}

/** The same memory as a Buffer. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** What may stand behind a backslash, beside `u`. */
const escapeLetters: ReadonlySet<number> = new Set(Buffer.from('"\\/bfnrt'));

/** The four hexadecimal digits at `at` as a number, or -1. */
function hexAt(bytes: Uint8Array, at: number): number {
  let value = 0;
  for (let k = at; k < at + 4; k++) {
    const digit = hexDigit(bytes[k]);
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

function hexDigit(byte: number | undefined): number {
  if (byte === undefined) return -1;
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x61 + 10 : -1;
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}

export function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

const literals = new Map([
  [0x74, "true"],
  [0x66, "false"],
  [0x6e, "null"],
]);

class JsonChecker {
  private at: number;
  private depth = 0;
  private openKeys = 0;
  private openKeyBytes = 0;
  private readonly text: Buffer;
  private readonly maxDepth: number;
  private readonly maxKeys: number;
  private readonly maxKeyBytes: number;
  /** Per open level: the keys of an object and their length, or undefined for an array. */
  private readonly open: ({ readonly keys: Set<string>; bytes: number } | undefined)[] = [];

  constructor(
    private readonly bytes: Uint8Array,
    start: number,
    private readonly end: number,
    private readonly rules: JsonRules,
  ) {
    this.at = start;
    this.text = asBuffer(bytes);
    this.maxDepth = rules.maxDepth ?? 32;
    this.maxKeys = rules.maxKeys ?? 1_000_000;
    this.maxKeyBytes = rules.maxKeyBytes ?? 65_536;
  }

  run(): void {
    do {
      while (this.startValue());
    } while (this.finishValue());
    if (this.peek() !== undefined) this.fail(`unexpected ${this.found()} after the end of the JSON text`);
  }

  /** Reads one scalar or opens one container. True when another value must start now: the first one inside the container. */
  private startValue(): boolean {
    const byte = this.peek();
    if (byte === 0x7b || byte === 0x5b) return this.openContainer(byte);
    if (byte === 0x22) this.string();
    else if (byte === 0x2d || isDigit(byte)) this.number();
    else this.literal(byte);
    return false;
  }

  private openContainer(byte: number): boolean {
    if (this.depth === this.maxDepth) this.fail(`arrays and objects are nested more than ${this.maxDepth} levels deep`, this.rules.codes.depth);
    this.at++;
    this.open[this.depth++] = byte === 0x7b ? { keys: new Set(), bytes: 0 } : undefined;
    if (this.peek() === (byte === 0x7b ? 0x7d : 0x5d)) {
      this.close();
      return false;
    }
    if (byte === 0x7b) this.key();
    return true;
  }

  /** After a value: closes what ends here. True when a comma follows, so that another value must start. */
  private finishValue(): boolean {
    while (this.depth > 0) {
      const inObject = this.open[this.depth - 1] !== undefined;
      const byte = this.peek();
      if (byte === 0x2c) {
        this.at++;
        if (inObject) this.key();
        return true;
      }
      if (byte !== (inObject ? 0x7d : 0x5d)) this.fail(`expected "," or "${inObject ? "}" : "]"}", found ${this.found()}`);
      this.close();
    }
    return false;
  }

  private close(): void {
    this.at++;
    const level = this.open[--this.depth];
    this.openKeys -= level?.keys.size ?? 0;
    this.openKeyBytes -= level?.bytes ?? 0;
    this.open[this.depth] = undefined;
  }

  private key(): void {
    if (this.peek() !== 0x22) this.fail(`expected a key in double quotes, found ${this.found()}`);
    const start = this.at;
    this.string();
    const length = this.at - start - 2;
    const { codes } = this.rules;
    if (length > this.maxKeyBytes) this.fail(`a key of ${length} bytes is longer than ${this.maxKeyBytes}`, codes.longKey ?? codes.syntax, start);
    if (this.openKeyBytes + length > maxOpenKeyBytes)
      this.fail(`the keys have more than ${maxOpenKeyBytes} bytes`, codes.longKey ?? codes.syntax, start);
    const key = decodeString(this.text, start + 1, this.at - 1);
    const level = this.open[this.depth - 1] as { keys: Set<string>; bytes: number };
    if (level.keys.has(key)) this.fail(`the key ${quoted(key)} stands twice in the same object`, codes.duplicate, start);
    if (this.openKeys === this.maxKeys) this.fail(`more than ${this.maxKeys} keys`, codes.manyKeys ?? codes.syntax, start);
    level.keys.add(key);
    level.bytes += length;
    this.openKeys++;
    this.openKeyBytes += length;
    if (this.peek() !== 0x3a) this.fail(`expected ":" after the key ${quoted(key)}, found ${this.found()}`);
    this.at++;
  }

  private string(): void {
    const start = this.at;
    const { bytes, end } = this;
    let at = start + 1;
    while (at < end && bytes[at] !== 0x22) {
      const byte = bytes[at] as number;
      if (byte < 0x20) this.fail(`a control character (0x${hex(byte, 2)}) stands unescaped inside a string`, this.rules.codes.syntax, at);
      at += byte === 0x5c ? this.escapeLength(at) : 1;
    }
    if (at >= end) this.fail("a string is not closed", this.rules.codes.syntax, start);
    this.at = at + 1;
  }

  /** Bytes of the escape that begins at `at`. */
  private escapeLength(at: number): number {
    const letter = at + 1 < this.end ? (this.bytes[at + 1] as number) : -1;
    const { surrogate, syntax } = this.rules.codes;
    if (letter !== 0x75) {
      if (!escapeLetters.has(letter)) this.fail("a backslash does not start a known escape", syntax, at);
      return 2;
    }
    const code = this.unicodeEscape(at);
    const isHigh = code >= 0xd800 && code < 0xdc00;
    const isLow = code >= 0xdc00 && code < 0xe000;
    const next = isHigh ? this.unicodeEscape(at + 6) : -1;
    if (isLow || (isHigh && (next < 0xdc00 || next >= 0xe000)))
      this.fail(`\\u${hex(code, 4)} is one half of a surrogate pair`, surrogate ?? syntax, at);
    return isHigh ? 12 : 6;
  }

  /** The code unit of `\uXXXX` at `at`, or -1 if no such escape begins there. */
  private unicodeEscape(at: number): number {
    if (at + 1 >= this.end || this.bytes[at] !== 0x5c || this.bytes[at + 1] !== 0x75) return -1;
    const code = at + 6 > this.end ? -1 : hexAt(this.bytes, at + 2);
    if (code < 0) this.fail("\\u is not followed by four hexadecimal digits", this.rules.codes.syntax, at);
    return code;
  }

  private number(): void {
    const start = this.at;
    if (this.current() === 0x2d) this.at++;
    if (this.current() === 0x30) {
      this.at++;
      if (isDigit(this.current())) this.fail("a number starts with a superfluous zero", this.rules.codes.syntax, start);
    } else {
      this.digits();
    }
    if (this.current() === 0x2e) {
      this.at++;
      this.digits();
    }
    if (this.current() === 0x65 || this.current() === 0x45) {
      this.at++;
      if (this.current() === 0x2b || this.current() === 0x2d) this.at++;
      this.digits();
    }
    if (this.at - start > maxNumberLength) this.fail(`a number has more than ${maxNumberLength} characters`, this.rules.codes.syntax, start);
  }

  private digits(): void {
    if (!isDigit(this.current())) this.fail(`expected a digit, found ${this.found()}`);
    while (isDigit(this.current())) this.at++;
  }

  private literal(byte: number | undefined): void {
    const word = byte === undefined ? undefined : literals.get(byte);
    if (word === undefined) this.fail(`expected a JSON value, found ${this.found()}`);
    for (let k = 0; k < word.length; k++) {
      if (this.at + k >= this.end || this.bytes[this.at + k] !== word.charCodeAt(k))
        this.fail(`expected a JSON value, found text that is not "${word}"`);
    }
    this.at += word.length;
  }

  private current(): number | undefined {
    return this.at < this.end ? this.bytes[this.at] : undefined;
  }

  /** Skips white space and looks at the next byte; undefined at the end. */
  private peek(): number | undefined {
    while (this.at < this.end && isSpace(this.bytes[this.at])) this.at++;
    return this.current();
  }

  private found(): string {
    const byte = this.current();
    if (byte === undefined) return "the end of the text";
    return byte > 0x20 && byte < 0x7f ? quoted(String.fromCharCode(byte)) : `byte 0x${hex(byte, 2)}`;
  }

  private fail(problem: string, code: ErrorCode = this.rules.codes.syntax, offset = this.at): never {
    throw new Failed({ code, offset, problem: code === this.rules.codes.syntax ? `not valid JSON: ${problem}` : problem });
  }
}
