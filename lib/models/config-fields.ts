/** @file Typed access to the values of a model's config.json. Every refusal names the file, the key, what is expected and what was found. */
import { describeNode, type JsonNode, type JsonRules, jsonError, parseJson } from "../io/json-scanner.js";
import type { ErrorCode } from "../native/error-codes.js";
import { fileError, LowrankError, quoted } from "../native/errors.js";

const maxBytes = 1 << 20;
const advice = "Correct the file, or download it again.";
/** What to do, where correcting the file is not the way out. */
const otherAdvice: { readonly [code in ErrorCode]?: string } = {
  MODEL_UNSUPPORTED_ARCH: "Choose a model of another architecture.",
  MODEL_UNSUPPORTED_FEATURE: "Choose another model: with the file changed, other numbers than the model's would be computed.",
  MODEL_CONFIG_UNKNOWN_KEY: "Correct the name, or delete the key if it has no effect on the arithmetic.",
};

interface Source {
  readonly bytes: Uint8Array;
  readonly rules: JsonRules;
}

/** Bounds of a number: `above` is excluded, `least` and `most` are included. */
export interface NumberRange {
  readonly above?: number;
  readonly least?: number;
  readonly most?: number;
}

/** The members of one JSON object of the file: the whole of it, or a nested one, whose keys then have a prefix in messages. */
export class ConfigFields {
  private readonly source: Source;
  private readonly prefix: string;
  readonly node: JsonNode & { readonly kind: "object" };

  private constructor(source: Source, node: JsonNode & { readonly kind: "object" }, prefix: string) {
    this.source = source;
    this.node = node;
    this.prefix = prefix;
  }

  /**
   * Reads a whole file.
   * @param file its path or name, for messages
   * @throws LowrankError `CONFIG_TOO_LARGE`, `CONFIG_BAD_JSON`, `CONFIG_DUPLICATE_KEY`
   */
  static read(bytes: Uint8Array, file: string): ConfigFields {
    if (bytes.length > maxBytes) {
      const message = `the file has ${bytes.length} bytes; the config.json of a model has at most ${maxBytes}. Give the file that Hugging Face transformers wrote.`;
      throw fileError("CONFIG_TOO_LARGE", file, message, { expected: maxBytes, actual: bytes.length });
    }
    const rules: JsonRules = {
      path: file,
      codes: { syntax: "CONFIG_BAD_JSON", duplicate: "CONFIG_DUPLICATE_KEY", depth: "CONFIG_BAD_JSON", utf8: "CONFIG_BAD_JSON" },
      start: bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0,
      place: "line",
      advice,
    };
    const root = parseJson(bytes, rules);
    if (root.kind === "object") return new ConfigFields({ bytes, rules }, root, "");
    throw jsonError(bytes, rules, "CONFIG_BAD_JSON", root.offset, `expected a JSON object, found ${describeNode(root)}`);
  }

  /** The keys, in the order of the file. */
  keys(): string[] {
    return [...this.node.members.keys()];
  }

  /** The value as it stands in the file. */
  get(key: string): JsonNode | undefined {
    return this.node.members.get(key);
  }

  has(key: string): boolean {
    return this.node.members.has(key);
  }

  /** Whether the key is absent or null. */
  isNull(key: string): boolean {
    return (this.get(key)?.kind ?? "null") === "null";
  }

  /** An integer from `least` to `most`; `absent` when the key is absent. */
  integer<A>(key: string, least: number, most: number, absent: A): number | A {
    const node = this.get(key);
    return node === undefined ? absent : this.integerOf(key, node, least, most);
  }

  /** The same, with `whenNull` when the key is absent or null. */
  integerOrNull<A>(key: string, least: number, most: number, whenNull: A): number | A {
    return this.isNull(key) ? whenNull : this.integer(key, least, most, whenNull);
  }

  /** A finite number in a range; `absent` when the key is absent. */
  number<A>(key: string, range: NumberRange, absent: A): number | A {
    const node = this.get(key);
    return node === undefined ? absent : this.numberOf(key, node, range);
  }

  /** The same, with `whenNull` when the key is absent or null. */
  numberOrNull<A>(key: string, range: NumberRange, whenNull: A): number | A {
    return this.isNull(key) ? whenNull : this.number(key, range, whenNull);
  }

  /** A boolean; `absent` when the key is absent. */
  boolean(key: string, absent: boolean): boolean {
    const node = this.get(key);
    if (node === undefined) return absent;
    if (node.kind !== "boolean") throw this.range(key, node, "true or false");
    return node.value;
  }

  /** A string; undefined when the key is absent or null. */
  text(key: string): string | undefined {
    const node = this.get(key);
    if (node === undefined || node.kind === "null") return undefined;
    if (node.kind !== "string") throw this.range(key, node, "a string");
    return node.value;
  }

  /** The items of a list; undefined when the key is absent or null. */
  list(key: string): readonly JsonNode[] | undefined {
    const node = this.get(key);
    if (node === undefined || node.kind === "null") return undefined;
    if (node.kind !== "array") throw this.range(key, node, "a list or null");
    return node.items;
  }

  /** A nested object; undefined when the key is absent, null or an empty object. */
  object(key: string): ConfigFields | undefined {
    const node = this.get(key);
    if (node === undefined || node.kind === "null") return undefined;
    if (node.kind !== "object") throw this.range(key, node, "an object or null");
    return node.members.size === 0 ? undefined : new ConfigFields(this.source, node, `${this.path(key)}.`);
  }

  /** `node`, the value of `key` or an item of it, as an integer from `least` to `most`. */
  integerOf(key: string, node: JsonNode, least: number, most: number): number {
    const value = node.kind === "number" ? node.integer : undefined;
    if (typeof value === "number" && value >= least && value <= most) return value === 0 ? 0 : value;
    throw this.range(key, node, `an integer from ${least} to ${most}`);
  }

  /** `node`, the value of `key` or an item of it, as a finite number in a range. */
  numberOf(key: string, node: JsonNode, { above = Number.NEGATIVE_INFINITY, least = above, most = Number.MAX_VALUE }: NumberRange): number {
    const value = node.kind === "number" ? Number(node.text) : Number.NaN;
    if (value > above && value >= least && value <= most && Number.isFinite(value)) return value;
    const low = least > above ? ` from ${least}` : above === Number.NEGATIVE_INFINITY ? "" : ` above ${above}`;
    throw this.range(key, node, `a finite number${low}${most === Number.MAX_VALUE ? "" : ` to ${most}`}`);
  }

  /** The error for a value of the wrong type or out of range. */
  range(key: string, node: JsonNode, expected: string): LowrankError {
    return this.error("MODEL_CONFIG_RANGE", key, `${quoted(this.path(key))} is ${describeNode(node)}, expected ${expected}`, expected, node);
  }

  /** The error for a value that does not fit the others of its layer. */
  unfit(key: string, problem: string, expected: string): LowrankError {
    return this.error("MODEL_CONFIG_RANGE", key, problem, expected, this.get(key));
  }

  /** The error for a value that asks for arithmetic which is not there. */
  unsupported(key: string, reason: string, expected: string): LowrankError {
    const node = this.get(key);
    const problem = `${quoted(this.path(key))} is ${describeNode(node)}: ${reason}. Only ${expected} is supported`;
    return this.error("MODEL_UNSUPPORTED_FEATURE", key, problem, expected, node);
  }

  /** The error for a value that contradicts another one. */
  conflict(key: string, problem: string, expected: unknown): LowrankError {
    return this.error("MODEL_CONFIG_CONFLICT", key, problem, expected, this.get(key));
  }

  /** The error for a value that is not there. */
  missing(key: string, expected: string): LowrankError {
    return this.error("MODEL_CONFIG_MISSING", key, `${quoted(this.path(key))} is missing, expected ${expected}`, expected, undefined);
  }

  /** An error at the value of `key`, or at the object when the key is not there. */
  error(code: ErrorCode, key: string, problem: string, expected: unknown, node: JsonNode | undefined): LowrankError {
    const { bytes, rules } = this.source;
    const { message, details } = jsonError(bytes, { ...rules, advice: otherAdvice[code] ?? advice }, code, (node ?? this.node).offset, problem);
    return new LowrankError(code, message, { ...details, key: this.path(key), expected, actual: found(node) });
  }

  /** The key with the keys of the objects around it. */
  path(key: string): string {
    return this.prefix + key;
  }
}

/** The value for `details.actual`: values of JSON as they are; lists, objects and numbers that no float64 holds as a word. */
function found(node: JsonNode | undefined): string | number | boolean | null | undefined {
  switch (node?.kind) {
    case undefined:
      return undefined;
    case "null":
      return null;
    case "string":
    case "boolean":
      return node.value;
    case "number":
      return typeof node.integer !== "bigint" && Number.isFinite(Number(node.text)) ? Number(node.text) : describeNode(node);
    default:
      return describeNode(node);
  }
}
