/** @file Typed access to the fields of an adapter_config.json. Every refusal names the field, what was found and what is expected. */
import { describeNode, type JsonNode, type JsonRules, jsonError, parseJson } from "../io/json-scanner.js";
import type { ErrorCode } from "../native/error-codes.js";
import { fileError, type LowrankError, quoted } from "../native/errors.js";

const maxBytes = 1 << 20;
const maxTextLength = 4096;

/** The fields of one file; every method takes the name that the field has in the file. */
export class PeftFields {
  private readonly bytes: Uint8Array;
  private readonly rules: JsonRules;
  private readonly members: ReadonlyMap<string, JsonNode>;

  /**
   * @param file path or name of the file, for messages
   * @throws LowrankError `CONFIG_TOO_LARGE`, `ADAPTER_BAD_JSON`, `ADAPTER_DUPLICATE_KEY`
   */
  constructor(bytes: Uint8Array, file: string) {
    if (bytes.length > maxBytes) {
      const message = `the file has ${bytes.length} bytes; an adapter configuration has at most ${maxBytes}. Give the adapter_config.json that PEFT wrote.`;
      throw fileError("CONFIG_TOO_LARGE", file, message, { expected: maxBytes, actual: bytes.length });
    }
    this.bytes = bytes;
    this.rules = {
      path: file,
      codes: {
        syntax: "ADAPTER_BAD_JSON",
        duplicate: "ADAPTER_DUPLICATE_KEY",
        depth: "ADAPTER_BAD_JSON",
        utf8: "ADAPTER_BAD_JSON",
        longKey: "ADAPTER_BAD_VALUE",
      },
      start: bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0,
      place: "line",
      advice: "Correct the file, or save the adapter again.",
    };
    const root = parseJson(bytes, this.rules);
    if (root.kind !== "object") throw this.error("ADAPTER_BAD_JSON", root, `expected a JSON object, found ${describeNode(root)}`);
    this.members = root.members;
  }

  /** The names of all fields, as they stand in the file. */
  names(): string[] {
    return [...this.members.keys()];
  }

  /** The field as it stands in the file. */
  node(name: string): JsonNode | undefined {
    return this.members.get(name);
  }

  /** Whether the field is absent or null. */
  isNull(name: string): boolean {
    return (this.node(name)?.kind ?? "null") === "null";
  }

  /** Whether the field is absent, null, or an empty list or object. */
  isEmpty(name: string): boolean {
    const node = this.node(name);
    if (node?.kind === "array") return node.items.length === 0;
    if (node?.kind === "object") return node.members.size === 0;
    return this.isNull(name);
  }

  /** An integer from `least` to `most`. */
  integer(name: string, least: number, most: number, absent: number): number {
    const node = this.node(name);
    return node === undefined ? absent : this.integerOf(name, node, least, most);
  }

  /** A finite number, at least 0 and, with `limit`, below it. */
  number(name: string, limit: number | undefined, absent: number): number {
    const node = this.node(name);
    return node === undefined ? absent : this.numberOf(name, node, limit);
  }

  /** A boolean, `false` when absent. */
  boolean(name: string): boolean {
    const node = this.node(name);
    if (node === undefined) return false;
    if (node.kind !== "boolean") throw this.bad(name, node, "true or false");
    return node.value;
  }

  /** A string, `null` when absent or null. */
  text(name: string): string | null {
    const node = this.node(name);
    return node === undefined || node.kind === "null" ? null : this.textOf(name, node, "a string or null");
  }

  /** A string or a list of strings, `null` when absent or null. */
  texts(name: string): string | readonly string[] | null {
    const node = this.node(name);
    if (node === undefined || node.kind === "null") return null;
    if (node.kind !== "array") return this.textOf(name, node, "a string, a list of strings or null");
    return node.items.map((item) => this.textOf(name, item, "strings only in its list"));
  }

  /** An integer from `least` to `most` or a list of them, `null` when absent or null. */
  integers(name: string, least: number, most: number): number | readonly number[] | null {
    const node = this.node(name);
    if (node === undefined || node.kind === "null") return null;
    if (node.kind !== "array") return this.integerOf(name, node, least, most);
    return node.items.map((item) => this.integerOf(name, item, least, most));
  }

  /** An object of integers from `least` to `most`, in the order of the file; empty when absent or null. */
  integerMap(name: string, least: number, most: number): ReadonlyMap<string, number> {
    return this.map(name, (label, node) => this.integerOf(label, node, least, most));
  }

  /** An object of finite numbers, at least 0, in the order of the file; empty when absent or null. */
  numberMap(name: string): ReadonlyMap<string, number> {
    return this.map(name, (label, node) => this.numberOf(label, node));
  }

  /** The error for a field of the wrong kind or range. */
  bad(name: string, node: JsonNode, expected: string): LowrankError {
    return this.error("ADAPTER_BAD_VALUE", node, `"${name}" is ${describeNode(node)}, expected ${expected}`);
  }

  /** The error for a field that is there and whose value cannot be honoured. */
  unsupported(name: string, reason: string): LowrankError {
    const node = this.node(name) as JsonNode;
    return this.error("ADAPTER_UNSUPPORTED_FEATURE", node, `"${name}" is ${describeNode(node)}: ${reason}, which is not supported`);
  }

  /** An error at the place of a value. */
  error(code: ErrorCode, node: JsonNode, problem: string): LowrankError {
    return jsonError(this.bytes, this.rules, code, node.offset, problem);
  }

  /** The error for a field that is not there. */
  missing(name: string, expected: string): LowrankError {
    return fileError("ADAPTER_MISSING_FIELD", this.file, `the field "${name}" is missing, expected ${expected}. ${this.rules.advice}`, { expected });
  }

  private get file(): string {
    return this.rules.path;
  }

  private map(name: string, read: (label: string, node: JsonNode) => number): ReadonlyMap<string, number> {
    const node = this.node(name);
    if (node === undefined || node.kind === "null") return new Map();
    if (node.kind !== "object") throw this.bad(name, node, "an object of patterns and numbers");
    const values = new Map<string, number>();
    for (const [key, value] of node.members) {
      if (key.length > maxTextLength) throw this.error("ADAPTER_BAD_VALUE", value, tooLong(name, key.length));
      values.set(key, read(`${name}[${quoted(key).slice(1, -1)}]`, value));
    }
    return values;
  }

  private integerOf(name: string, node: JsonNode, least: number, most: number): number {
    const value = node.kind === "number" ? node.integer : undefined;
    if (typeof value === "number" && value >= least && value <= most) return value;
    throw this.bad(name, node, `an integer from ${least} to ${most}`);
  }

  private numberOf(name: string, node: JsonNode, limit = Number.POSITIVE_INFINITY): number {
    const value = node.kind === "number" ? Number(node.text) : Number.NaN;
    if (value >= 0 && value < limit) return value;
    throw this.bad(name, node, limit === Number.POSITIVE_INFINITY ? "a finite number, at least 0" : `a number from 0 to less than ${limit}`);
  }

  private textOf(name: string, node: JsonNode, expected: string): string {
    if (node.kind !== "string") throw this.bad(name, node, expected);
    if (node.value.length > maxTextLength) throw this.error("ADAPTER_BAD_VALUE", node, tooLong(name, node.value.length));
    return node.value;
  }
}

function tooLong(name: string, length: number): string {
  return `"${name}" holds a string of ${length} characters; at most ${maxTextLength} are allowed`;
}
