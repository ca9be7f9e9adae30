/**
 * @file The parts of `@huggingface/jinja` that are used, with types. (Its own declarations import without file extensions, which
 * TypeScript cannot resolve for Node.)
 */
import { createRequire } from "node:module";

/** A node of the syntax tree; `type` is "For", "StringLiteral", … */
export interface JinjaNode {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** A value of a running template. `value`: string, number, boolean, null, JinjaValue[], Map of JinjaValue, or a function. */
export interface JinjaValue {
  readonly type: string;
  value: unknown;
  readonly builtins: ReadonlyMap<string, JinjaValue>;
}

/** The variables of a running template. */
export interface JinjaScope {
  /** Declares a variable; plain data and functions are converted. */
  set(name: string, value: unknown): unknown;
}

export interface JinjaInterpreter {
  run(program: JinjaNode): JinjaValue;
  evaluate: (node: JinjaNode | undefined, scope: JinjaScope) => JinjaValue;
}

interface Jinja {
  readonly Environment: new () => JinjaScope;
  readonly Interpreter: new (scope: JinjaScope) => JinjaInterpreter;
  readonly tokenize: (source: string, options: { lstrip_blocks: boolean; trim_blocks: boolean }) => unknown;
  readonly parse: (tokens: unknown) => JinjaNode;
}

const require = createRequire(import.meta.url);

/** The library, loaded when the first template is used: most programs that start have none. */
export function jinja(): Jinja {
  return require("@huggingface/jinja") as Jinja;
}
