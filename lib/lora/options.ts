/** @file The options of `attach`, checked. */
import { checkNames, LowrankError, quoted } from "../native/errors.js";
import { defaultRank, lora } from "./lora.js";
import type { Method, MethodName } from "./method.js";
import { maxRank, type PeftConfig } from "./peft-config.js";
import { sigma } from "./sigma.js";
import type { TargetOptions } from "./targets.js";
import type { ValuePatterns } from "./value-patterns.js";

/** PEFT's options in camelCase, with PEFT's meanings and defaults. */
export interface AttachOptions extends Omit<TargetOptions, "modulesToSave"> {
  /** "lora" (default), or "sigma": only the singular values of each weight are trained. */
  readonly method?: MethodName;
  /** lora: at most 1024, default 8. sigma: so many of the largest singular values (in smaller layers all); default all. */
  readonly rank?: number;
  /** lora: the product is scaled by alpha / rank; default 8. */
  readonly alpha?: number;
  /** lora: probability of dropout on the input of the branch while training; default 0. */
  readonly dropout?: number;
  /** lora: scale by alpha / √rank instead; default false. */
  readonly useRslora?: boolean;
  /** Ranks of single modules: regular expressions for the end of a path; the first that matches decides. */
  readonly rankPattern?: ValuePatterns;
  /** lora: alphas of single modules, as `rankPattern`. */
  readonly alphaPattern?: ValuePatterns;
  /** The initial values are a pure function of it and the modules' paths; default 0. */
  readonly seed?: number;
  /** lora: the name or folder of the base, as other programs look for it in the saved file (`base_model_name_or_path`). */
  readonly baseModelName?: string;
  /** lora: what the base does, in the saved file: "CAUSAL_LM" for a language model. */
  readonly taskType?: string;
  /** Only "none". */
  readonly bias?: "none";
  /** Stands in messages; default: the method. */
  readonly name?: string;
}

/** What an adapter was attached or loaded with. */
export interface AdapterConfig {
  readonly method: MethodName;
  /** undefined: all singular values. */
  readonly rank: number | undefined;
  /** The next three mean something for lora only. */
  readonly alpha: number;
  readonly dropout: number;
  readonly useRslora: boolean;
  readonly rankPattern: ReadonlyMap<string, number>;
  readonly alphaPattern: ReadonlyMap<string, number>;
  readonly targets: TargetOptions;
  /** What the file of the adapter says beside that; written when it is saved. */
  readonly peft?: Partial<PeftConfig>;
}

export const methods: Readonly<Record<MethodName, Method>> = { lora, sigma };

const commonNames = [
  ...["method", "rank", "rankPattern", "targetModules", "excludeModules", "layersToTransform", "layersPattern", "seed", "bias", "name"],
];
const loraNames = ["alpha", "dropout", "useRslora", "alphaPattern", "baseModelName", "taskType"];

/** @throws LowrankError UNKNOWN_OPTION with the nearest name, BAD_ARGUMENT */
export function checkAttachOptions(options: AttachOptions): { readonly config: AdapterConfig; readonly seed: number; readonly name: string } {
  if (options === null || typeof options !== "object") throw bad("the options", options, "an object");
  const { method = "lora", rank, alpha, dropout, useRslora, seed = 0, bias = "none" } = options;
  if (!Object.hasOwn(methods, method)) throw bad("method", method, Object.keys(methods).map(quoted).join(" or "));
  checkOptionNames(options, method);
  // Configurations of LoRA with larger ranks are not read, so none is written.
  const most = method === "lora" ? maxRank : undefined;
  const isRank = (value: number): boolean => Number.isSafeInteger(value) && value >= 1 && value <= (most ?? value);
  const range = most === undefined ? "from 1 on" : `from 1 to ${most}`;
  checkNumber("rank", rank, isRank, `an integer ${range}`);
  checkNumber("alpha", alpha, isAlpha, "a finite number from 0 on");
  checkNumber("dropout", dropout, (value) => value >= 0 && value < 1, "a number from 0 to less than 1");
  checkNumber("seed", seed, (value) => Number.isSafeInteger(value) && value >= 0, "an integer from 0 on");
  if (useRslora !== undefined && typeof useRslora !== "boolean") throw bad("useRslora", useRslora, "true or false");
  if (bias !== "none") throw bad("bias", bias, '"none": biases of the base are not trained');
  if (options.name !== undefined && typeof options.name !== "string") throw bad("name", options.name, "a string");
  for (const name of ["baseModelName", "taskType"] as const) {
    const text: unknown = options[name];
    if (text !== undefined && (typeof text !== "string" || text === "")) throw bad(name, text, "a text that is not empty");
  }
  return {
    config: {
      method,
      rank: rank ?? (method === "lora" ? defaultRank : undefined),
      alpha: alpha ?? 8,
      dropout: dropout ?? 0,
      useRslora: useRslora ?? false,
      rankPattern: checkPatterns("rankPattern", options.rankPattern, isRank, `integers ${range}`),
      alphaPattern: checkPatterns("alphaPattern", options.alphaPattern, isAlpha, "finite numbers from 0 on"),
      targets: targetsOf(options),
      peft: { baseModelNameOrPath: options.baseModelName ?? null, taskType: options.taskType ?? null },
    },
    seed,
    name: options.name ?? method,
  };
}

const isAlpha = (value: number): boolean => Number.isFinite(value) && value >= 0;

function targetsOf({ targetModules, excludeModules, layersToTransform, layersPattern }: AttachOptions): TargetOptions {
  if (targetModules === undefined) throw bad("targetModules", targetModules, 'a list of names, a regular expression, or "all-linear"');
  return {
    targetModules,
    ...(excludeModules === undefined ? {} : { excludeModules }),
    ...(layersToTransform === undefined ? {} : { layersToTransform }),
    ...(layersPattern === undefined ? {} : { layersPattern }),
  };
}

function checkOptionNames(options: AttachOptions, method: MethodName): void {
  checkNames("attach", options, [...commonNames, ...loraNames]);
  if (method === "lora") return;
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || !loraNames.includes(name)) continue;
    throw new LowrankError("BAD_ARGUMENT", `attach: the method ${method} has no ${name}. Leave it out.`, { actual: name });
  }
}

function checkNumber(name: string, value: number | undefined, isRight: (value: number) => boolean, expected: string): void {
  if (value !== undefined && !(typeof value === "number" && isRight(value))) throw bad(name, value, expected);
}

function checkPatterns(
  name: string,
  patterns: ValuePatterns | undefined,
  isRight: (value: number) => boolean,
  expected: string,
): ReadonlyMap<string, number> {
  if (patterns === undefined) return new Map();
  if (patterns === null || typeof patterns !== "object" || Array.isArray(patterns)) throw bad(name, patterns, "an object of patterns and numbers");
  const entries: [string, number][] = patterns instanceof Map ? [...patterns] : Object.entries(patterns);
  for (const [key, value] of entries) checkNumber(`${name}[${quoted(key)}]`, value ?? Number.NaN, isRight, expected);
  return new Map(entries);
}

function bad(name: string, actual: unknown, expected: string): LowrankError {
  const found = typeof actual === "string" ? quoted(actual) : String(actual);
  return new LowrankError("BAD_ARGUMENT", `attach: ${name} is ${found}; expected ${expected}.`, { actual, expected });
}
