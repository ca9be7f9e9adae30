/**
 * @file From arguments and a --config file to checked values. `parseArgs` of node:util splits the arguments; it needs no dependency, and the
 * table of options knows all the rest.
 */
import { parseArgs } from "node:util";
import { readSmallFile } from "../io/file.js";
import { type JsonRules, type JsonValue, parseJson, plainValue } from "../io/json-scanner.js";
import { LowrankError, quoted, suggestion } from "../native/errors.js";
import { type CommandSpec, kebab, type OptionSpec } from "./options.js";
import { UsageError } from "./usage.js";

export type OptionValue = string | number | boolean | readonly string[];

/** What a command was called with. */
export class Arguments {
  constructor(
    readonly command: CommandSpec,
    /** Values without a name. */
    readonly positionals: readonly string[],
    private readonly values: ReadonlyMap<string, OptionValue>,
  ) {}

  /** The first value without a name. */
  get positional(): string | undefined {
    return this.positionals[0];
  }

  has(name: string): boolean {
    return this.values.has(name);
  }

  text(name: string): string | undefined {
    return this.values.get(name) as string | undefined;
  }

  /** An option that the table requires. */
  required(name: string): string {
    return this.values.get(name) as string;
  }

  number(name: string): number | undefined {
    return this.values.get(name) as number | undefined;
  }

  flag(name: string): boolean {
    return this.values.get(name) === true;
  }

  /** Those of the named options that were given, as the API takes them. */
  pick(names: readonly string[]): Record<string, OptionValue> {
    return Object.fromEntries(names.flatMap((name) => (this.values.has(name) ? [[name, this.values.get(name) as OptionValue]] : [])));
  }

  /** All that was given, in the order of the table. */
  given(): [name: string, value: OptionValue][] {
    return this.command.options.flatMap(({ name }) => (this.values.has(name) ? [[name, this.values.get(name) as OptionValue]] : []));
  }
}

/** What stands behind the name of a command, and in its --config file; nothing is checked yet. */
export interface Given {
  readonly command: CommandSpec;
  readonly tokens: readonly Token[];
  /** What the file holds, or why it cannot be read. */
  readonly config: ConfigFile | UsageError;
  /** Whether events are wanted, of errors in all this too. */
  readonly json: boolean;
}

type ConfigFile = Readonly<Record<string, JsonValue>>;
type Token = NonNullable<ReturnType<typeof parseArgs>["tokens"]>[number];

/** Reads the arguments behind the name of a command, and the file of --config. */
export async function readGiven(command: CommandSpec, args: readonly string[]): Promise<Given> {
  const options = Object.fromEntries(command.options.map(({ name, kind }) => [kebab(name), { type: kind === "switch" ? "boolean" : "string" }]));
  const { tokens } = parseArgs({
    args: [...args],
    options: options as Record<string, { type: "boolean" | "string" }>,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const last = (...names: readonly string[]) => tokens.filter((token) => token.kind === "option").findLast(({ name }) => names.includes(name));
  const path = last("config")?.value;
  const config = path === undefined ? {} : await readConfig(path);
  const json = last("json", "no-json")?.name ?? (!(config instanceof UsageError) && config["json"] === true ? "json" : "no-json");
  return { command, tokens, config, json: json === "json" };
}

/** @throws UsageError UNKNOWN_OPTION with the nearest name, BAD_ARGUMENT; what reading the --config file threw */
export function checkGiven({ command, tokens, config }: Given): Arguments | "help" {
  const { given, positionals } = split(command, tokens);
  if (given.get("help") === true) return "help";
  const values = new Map([...checkConfig(command, config), ...given]);
  values.delete("config");
  const surplus = command.positional?.many === true ? undefined : positionals[command.positional === undefined ? 0 : 1];
  if (surplus !== undefined) {
    throw new UsageError("BAD_ARGUMENT", `lowrank ${command.name}: ${quoted(surplus)} belongs to no option. Options begin with --.`, {
      actual: surplus,
    });
  }
  const missing = command.options.filter(({ name, required }) => required === true && !values.has(name)).map(({ name }) => `--${kebab(name)}`);
  if (missing.length > 0) {
    const list = missing.length > 1 ? `${missing.slice(0, -1).join(", ")} and ${missing.at(-1)} are` : `${missing[0]} is`;
    throw new UsageError("BAD_ARGUMENT", `lowrank ${command.name}: ${list} required. lowrank ${command.name} --help shows all options.`, {
      expected: missing,
    });
  }
  return new Arguments(command, positionals, values);
}

/** The options and the other arguments, each option checked. */
function split(command: CommandSpec, tokens: readonly Token[]): { given: Map<string, OptionValue>; positionals: string[] } {
  const byKebab = new Map(command.options.map((option) => [kebab(option.name), option]));
  const given = new Map<string, OptionValue>();
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const isNegated = token.rawName.startsWith("--no-") && !byKebab.has(token.name);
    const option = byKebab.get(isNegated ? token.rawName.slice("--no-".length) : token.name);
    if (option === undefined || (isNegated && option.kind !== "switch") || !token.rawName.startsWith("--")) throw unknown(command, token.rawName);
    const { value } = token;
    if (option.kind === "switch") {
      if (value !== undefined) throw wrong(`--${kebab(option.name)}`, `takes no value; found ${quoted(value)}`);
      add(given, option, !isNegated);
    } else {
      const isMissing = value === undefined || (token.inlineValue === false && /^--[a-z]/.test(value));
      if (isMissing) throw wrong(`--${kebab(option.name)}`, `needs a value: ${option.value}`);
      add(given, option, fromText(option, value as string));
    }
  }
  return { given, positionals };
}

function add(given: Map<string, OptionValue>, option: OptionSpec, value: OptionValue): void {
  const before = given.get(option.name);
  if (before !== undefined && option.kind !== "texts") throw wrong(`--${kebab(option.name)}`, "is given twice");
  given.set(option.name, option.kind === "texts" ? [...((before as readonly string[] | undefined) ?? []), ...(value as readonly string[])] : value);
}

function unknown(command: CommandSpec, found: string): UsageError {
  const known = command.options.flatMap(({ name, kind }) => [`--${kebab(name)}`, ...(kind === "switch" ? [`--no-${kebab(name)}`] : [])]);
  const advice = suggestion(found, known) || ` lowrank ${command.name} --help shows all options.`;
  return new UsageError("UNKNOWN_OPTION", `lowrank ${command.name}: there is no option ${found}.${advice}`, { actual: found, expected: known });
}

function fromText(option: OptionSpec, text: string): OptionValue {
  const where = `--${kebab(option.name)}`;
  if (option.kind === "texts") return [checkText(option, where, text)];
  if (option.kind === "modules") {
    if (text.toLowerCase() === "all-linear") return "all-linear";
    const names = text.split(",").map((name) => name.trim());
    if (names.includes("")) throw wrong(where, `is a list of names with commas between them; found ${quoted(text)}`);
    return names;
  }
  if (option.kind !== "text") return checkNumber(option, where, text.trim() === "" ? Number.NaN : Number(text), quoted(text));
  return checkText(option, where, text);
}

function checkText(option: OptionSpec, where: string, text: string): string {
  if (text === "") throw wrong(where, "is empty");
  const { choices } = option;
  if (choices === undefined || choices.includes(text)) return text;
  throw wrong(where, `is one of ${choices.join(", ")}; found ${quoted(text)}.${suggestion(text, choices)}`);
}

function checkNumber({ kind, least, above, below, most }: OptionSpec, where: string, value: number, shown: string): number {
  const fits =
    (kind === "integer" ? Number.isSafeInteger(value) : Number.isFinite(value)) &&
    value >= (least ?? Number.NEGATIVE_INFINITY) &&
    value > (above ?? Number.NEGATIVE_INFINITY) &&
    value < (below ?? Number.POSITIVE_INFINITY) &&
    value <= (most ?? Number.POSITIVE_INFINITY);
  if (fits) return value;
  const bounds = [
    ...(least === undefined ? [] : [`from ${least} on`]),
    ...(above === undefined ? [] : [`above ${above}`]),
    ...(below === undefined ? [] : [`below ${below}`]),
    ...(most === undefined ? [] : [`at most ${most}`]),
  ];
  throw wrong(where, `is ${kind === "integer" ? "an integer" : "a number"} ${bounds.join(", ")}; found ${shown}`);
}

const wrong = (where: string, problem: string): UsageError =>
  new UsageError("BAD_ARGUMENT", `${where} ${problem}${/[.?]$/.test(problem) ? "" : "."}`, { option: where });

const rules: JsonRules = {
  path: "",
  codes: { syntax: "BAD_ARGUMENT", duplicate: "BAD_ARGUMENT", depth: "BAD_ARGUMENT", utf8: "BAD_ARGUMENT" },
  place: "line",
};

/** What a --config file holds: an object. */
async function readConfig(path: string): Promise<ConfigFile | UsageError> {
  try {
    const root = plainValue(parseJson(await readSmallFile(path), { ...rules, path }));
    if (root !== null && typeof root === "object" && !Array.isArray(root)) return root;
    return wrong("--config", `${quoted(path)} is not a JSON object`);
  } catch (error) {
    if (error instanceof LowrankError) return new UsageError(error.code, `--config: ${error.message}`, error.details);
    throw error;
  }
}

/** The options in a --config file. */
function checkConfig(command: CommandSpec, config: Given["config"]): Map<string, OptionValue> {
  if (config instanceof UsageError) throw config;
  const options = command.options.filter(({ commandLineOnly }) => commandLineOnly !== true);
  const values = new Map<string, OptionValue>();
  for (const [name, value] of Object.entries(config)) {
    const option = options.find((candidate) => candidate.name === name);
    if (option === undefined) {
      const known = options.map((candidate) => candidate.name);
      const advice = suggestion(name, known) || ` Known: ${known.join(", ")}.`;
      const message = `--config: there is no option ${quoted(name)} of lowrank ${command.name}.${advice}`;
      throw new UsageError("UNKNOWN_OPTION", message, { actual: name, expected: known });
    }
    values.set(name, fromJson(option, value));
  }
  return values;
}

const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every((item) => typeof item === "string" && item !== "");

function fromJson(option: OptionSpec, value: JsonValue): OptionValue {
  const where = `--config: ${option.name}`;
  const { kind } = option;
  if (kind === "switch" && typeof value === "boolean") return value;
  if (kind === "text" && typeof value === "string") return checkText(option, where, value);
  if (kind === "modules" && ((typeof value === "string" && value !== "") || isTexts(value))) return value;
  if (kind === "texts" && isTexts(value)) return value;
  if (kind === "texts" && typeof value === "string") return [checkText(option, where, value)];
  if ((kind === "integer" || kind === "number") && typeof value === "number") return checkNumber(option, where, value, String(value));
  const expected = { switch: "true or false", text: "a string", texts: "a list of strings", modules: "a string or a list of strings" };
  throw wrong(
    where,
    `is ${kind === "integer" || kind === "number" ? "a number" : expected[kind]}; found ${quoted(typeof value === "string" ? value : JSON.stringify(value, safe))}`,
  );
}

const safe = (_: string, value: unknown): unknown => (typeof value === "bigint" ? String(value) : value);
