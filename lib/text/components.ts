/** @file Typed access to the components of tokenizer.json (normalizer, pre_tokenizer, …), with errors that name the place. */
import type { JsonValue } from "../io/json-scanner.js";
import type { ErrorCode } from "../native/error-codes.js";
import { fileError, type LowrankError, quoted } from "../native/errors.js";
import { describe } from "./describe.js";

/** A value of a JSON file with the path of keys that leads to it, for errors: `pre_tokenizer.pretokenizers[1].pattern`. */
export class Component {
  constructor(
    private readonly file: string,
    readonly place: string,
    private readonly value: JsonValue,
    private readonly code: ErrorCode = "TOKENIZER_BAD_COMPONENT",
  ) {}

  /** The `type` of the component. */
  get type(): string {
    return this.text("type");
  }

  /** A field that must be a string. */
  text(name: string): string {
    const value = this.field(name);
    if (typeof value !== "string") throw this.bad(name, "a string", value);
    return value;
  }

  /** A field that must be a boolean; `fallback` when absent or null. */
  flag(name: string, fallback: boolean): boolean {
    const value = this.field(name) ?? fallback;
    if (typeof value !== "boolean") throw this.bad(name, "true or false", value);
    return value;
  }

  /** A field that must be an integer in `[0, limit)`; `fallback` when absent or null. */
  integer(name: string, limit: number, fallback?: number): number {
    const value = this.field(name) ?? fallback;
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value >= limit)
      throw this.bad(name, `an integer from 0 to ${limit - 1}`, value);
    return value;
  }

  /** A field that must be one of `choices`, upper or lower case. */
  choice<T extends string>(name: string, choices: readonly T[], fallback?: T): T {
    const value = this.field(name) ?? fallback;
    const found = choices.find((choice) => typeof value === "string" && choice.toLowerCase() === value.toLowerCase());
    if (found === undefined) throw this.bad(name, `one of ${choices.join(", ")}`, value);
    return found;
  }

  /** A field that must be a list of components, at most 64. */
  list(name: string): Component[] {
    const value = this.field(name);
    if (!Array.isArray(value) || value.length > 64) throw this.bad(name, "a list of at most 64 components", value);
    return value.map((item, k) => new Component(this.file, `${this.place}.${name}[${k}]`, item, this.code));
  }

  /** The item `index` of this value, which is a list. */
  item(item: JsonValue, index: number): Component {
    return new Component(this.file, `${this.place}[${index}]`, item, this.code);
  }

  /** A field that must be an object. */
  child(name: string): Component {
    return new Component(this.file, `${this.place}.${name}`, this.field(name) ?? null, this.code);
  }

  /** A pattern `{ "String": "…" }` that is not empty. */
  stringPattern(name: string): string {
    const pattern = this.child(name);
    if (pattern.field("String") === undefined) throw pattern.unsupported("pattern", ["String"], "a regular expression");
    const text = pattern.text("String");
    if (text === "") throw pattern.bad("String", "a string that is not empty", text);
    return text;
  }

  /** The keys of an object. */
  keys(): string[] {
    return Object.keys(this.object());
  }

  /** The value of a field, undefined when absent. */
  field(name: string): JsonValue | undefined {
    return this.object()[name];
  }

  /** The whole value. */
  raw(): JsonValue {
    return this.value;
  }

  /** An error about one field. */
  bad(name: string, expected: string, actual: JsonValue | undefined): LowrankError {
    const shown = describe(actual);
    return this.error(this.code, `${this.place}.${name}: expected ${expected}, found ${shown}`, { expected, actual: shown });
  }

  /** The error for a component of a type that cannot be reproduced. */
  unsupported(what: string, supported: readonly string[], found = quoted(this.type)): LowrankError {
    const problem = `${this.place}: the ${what} ${found} is not supported; supported are ${supported.join(", ")}`;
    return this.error("TOKENIZER_UNSUPPORTED", problem, { expected: supported, actual: found }, "Use a model with a tokenizer of these parts.");
  }

  error(
    code: ErrorCode,
    problem: string,
    details: Record<string, unknown>,
    hint = "Download the file again from where the model came.",
  ): LowrankError {
    return fileError(code, this.file, `${problem}. ${hint}`, { place: this.place, hint, ...details });
  }

  private object(): { readonly [key: string]: JsonValue } {
    if (this.value === null || typeof this.value !== "object" || Array.isArray(this.value)) {
      const shown = describe(this.value);
      throw this.error(this.code, `${this.place}: expected an object, found ${shown}`, { expected: "an object", actual: shown });
    }
    return this.value;
  }
}
