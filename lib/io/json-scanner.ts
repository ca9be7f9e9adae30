/**
 * @file Strict JSON from files. {@link checkJson} validates, then either {@link JsonCursor} walks the text without building anything
 * (large headers), or {@link parseJson} builds a tree (small configuration files). Integers are exact, objects are Maps: a key from a
 * file never becomes a property of an ordinary object.
 */
import { quoted } from "../native/errors.js";
import { asBuffer, type CheckedJson, checkJson, decodeString, isSpace, type JsonRules } from "./json-check.js";

export { type CheckedJson, checkJson, type JsonCodes, type JsonRules, jsonError } from "./json-check.js";

export type JsonKind = "object" | "array" | "string" | "number" | "boolean" | "null";

/** A number as written. `integer` is set when it is written without fraction and exponent: exact, a `bigint` outside ±(2^53 - 1). */
export interface JsonNumber {
  readonly kind: "number";
  readonly offset: number;
  readonly text: string;
  readonly integer?: number | bigint;
}

/** A value with the byte offset of its first character. */
export type JsonNode =
  | JsonNumber
  | { readonly kind: "object"; readonly offset: number; readonly members: Map<string, JsonNode> }
  | { readonly kind: "array"; readonly offset: number; readonly items: JsonNode[] }
  | { readonly kind: "string"; readonly offset: number; readonly value: string }
  | { readonly kind: "boolean"; readonly offset: number; readonly value: boolean }
  | { readonly kind: "null"; readonly offset: number };

/** A plain value: objects have no prototype; integers beyond 2^53 stay exact as `bigint`. */
export type JsonValue = null | boolean | number | bigint | string | JsonValue[] | { [key: string]: JsonValue };

/** Whether a number, or a word like true, ends before this byte. */
function endsScalar(byte: number | undefined): boolean {
  return byte === undefined || byte === 0x2c || byte === 0x7d || byte === 0x5d || isSpace(byte);
}

/**
 * Walks JSON text that {@link checkJson} accepted. The cursor stands before a value; `object`, `array`, `text`, `number`, `boolean`
 * and `skip` consume it. Calling the method of another kind than {@link kind} says is a mistake of the caller and throws TypeError.
 */
export class JsonCursor {
  private at: number;
  private readonly bytes: Buffer;

  constructor(checked: CheckedJson) {
    this.bytes = asBuffer(checked.bytes.subarray(0, checked.end));
    this.at = checked.start;
    this.skipSpace();
  }

  /** Byte offset of the value that comes next. */
  get offset(): number {
    return this.at;
  }

  /** Goes back to a value whose {@link offset} was remembered. */
  seek(offset: number): void {
    this.at = offset;
  }

  kind(): JsonKind {
    switch (this.bytes[this.at]) {
      case 0x7b:
        return "object";
      case 0x5b:
        return "array";
      case 0x22:
        return "string";
      case 0x74:
      case 0x66:
        return "boolean";
      case 0x6e:
        return "null";
      default:
        return "number";
    }
  }

  /** Calls `visit` before each member's value; a value that `visit` does not consume is skipped. */
  object(visit: (key: string, keyOffset: number) => void): void {
    this.expect("object");
    while (this.another(0x7d)) {
      const keyOffset = this.at;
      const key = this.text();
      this.next();
      const offset = this.at;
      visit(key, keyOffset);
      if (this.at === offset) this.skip();
    }
  }

  /** Calls `visit` before each item; an item that `visit` does not consume is skipped. */
  array(visit: (index: number) => void): void {
    this.expect("array");
    for (let index = 0; this.another(0x5d); index++) {
      const offset = this.at;
      visit(index);
      if (this.at === offset) this.skip();
    }
  }

  /** Consumes a string. */
  text(): string {
    this.expect("string");
    const start = this.at + 1;
    this.skipString();
    const end = this.at - 1;
    this.skipSpace();
    return decodeString(this.bytes, start, end);
  }

  /** Length in bytes, as written between the quotes, of the string that comes next. Does not consume it: look before you decode. */
  textBytes(): number {
    this.expect("string");
    const start = this.at;
    this.skipString();
    const length = this.at - start - 2;
    this.at = start;
    return length;
  }

  number(): JsonNumber {
    this.expect("number");
    const offset = this.at;
    this.skipScalar();
    const text = this.bytes.toString("latin1", offset, this.at);
    this.skipSpace();
    if (!/^-?[0-9]+$/.test(text)) return { kind: "number", offset, text };
    const integer = Number(text);
    return { kind: "number", offset, text, integer: Number.isSafeInteger(integer) ? integer : BigInt(text) };
  }

  boolean(): boolean {
    this.expect("boolean");
    const value = this.bytes[this.at] === 0x74;
    this.skip();
    return value;
  }

  /** Consumes a value of any kind, with a constant amount of stack. */
  skip(): void {
    let depth = 0;
    do {
      const byte = this.bytes[this.at];
      if (byte === 0x22) {
        this.skipString();
      } else if (byte === 0x7b || byte === 0x5b) {
        depth++;
        this.at++;
      } else if (byte === 0x7d || byte === 0x5d) {
        depth--;
        this.at++;
      } else if (byte === 0x2c || byte === 0x3a || isSpace(byte)) {
        this.at++;
      } else {
        this.skipScalar();
      }
    } while (depth > 0);
    this.skipSpace();
  }

  /** From an opening bracket or the end of an item to the next item: true, or behind `close`: false. */
  private another(close: number): boolean {
    const inside = this.bytes[this.at] !== close;
    this.next();
    if (!inside || this.bytes[this.at] !== close) return inside;
    this.next();
    return false;
  }

  /** Consumes one byte and the space behind it. */
  private next(): void {
    this.at++;
    this.skipSpace();
  }

  private skipString(): void {
    let at = this.at + 1;
    while (this.bytes[at] !== 0x22) at += this.bytes[at] === 0x5c ? 2 : 1;
    this.at = at + 1;
  }

  private skipScalar(): void {
    let at = this.at;
    while (!endsScalar(this.bytes[at])) at++;
    this.at = at;
  }

  private skipSpace(): void {
    while (isSpace(this.bytes[this.at])) this.at++;
  }

  private expect(kind: JsonKind): void {
    if (this.kind() !== kind) throw new TypeError(`JsonCursor stands before a value of kind ${this.kind()}, not ${kind}`);
  }
}

/**
 * Checks and parses a whole JSON text. Meant for small files: the tree can take some fifty times the bytes of the text, so bound
 * those first. @throws LowrankError with the codes of `rules`.
 */
export function parseJson(bytes: Uint8Array, rules: JsonRules): JsonNode {
  return readNode(new JsonCursor(checkJson(bytes, rules)));
}

/** Consumes the next value as a tree; recursion is as deep as the text, which {@link checkJson} has bounded. */
export function readNode(cursor: JsonCursor): JsonNode {
  const offset = cursor.offset;
  const kind = cursor.kind();
  switch (kind) {
    case "object": {
      const members = new Map<string, JsonNode>();
      cursor.object((key) => members.set(key, readNode(cursor)));
      return { kind, offset, members };
    }
    case "array": {
      const items: JsonNode[] = [];
      cursor.array(() => items.push(readNode(cursor)));
      return { kind, offset, items };
    }
    case "string":
      return { kind, offset, value: cursor.text() };
    case "number":
      return cursor.number();
    case "boolean":
      return { kind, offset, value: cursor.boolean() };
    case "null":
      cursor.skip();
      return { kind, offset };
  }
}

/** The plain value of a node, see {@link JsonValue}. A number too large for a float64 becomes ±Infinity, as with JSON.parse. */
export function plainValue(node: JsonNode): JsonValue {
  switch (node.kind) {
    case "object": {
      const plain = Object.create(null) as { [key: string]: JsonValue };
      for (const [key, value] of node.members) plain[key] = plainValue(value);
      return plain;
    }
    case "array":
      return node.items.map(plainValue);
    case "number":
      return node.integer ?? Number(node.text);
    case "null":
      return null;
    default:
      return node.value;
  }
}

/** `bytes` without the UTF-8 byte order mark that some editors put before the text. */
export function withoutByteOrderMark(bytes: Uint8Array): Uint8Array {
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes;
}

/** A value from a file as it may stand in a message. */
export function describeNode(node: JsonNode | undefined): string {
  if (node === undefined) return "absent";
  if (node.kind === "string") return quoted(node.value);
  if (node.kind === "number") return node.text.length > 40 ? `${node.text.slice(0, 39)}…` : node.text;
  if (node.kind === "boolean") return String(node.value);
  if (node.kind === "null") return "null";
  return node.kind === "array" ? `a list of ${node.items.length}` : "an object";
}
