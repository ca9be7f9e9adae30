/**
 * @file Which modules an adapter goes to: PEFT's rules for `target_modules`, `exclude_modules`, `modules_to_save`, `layers_to_transform`
 * and `layers_pattern`. Stricter than PEFT in one way: whatever names nothing is an error, because the user meant something by it.
 */
import { LowrankError, nearest, quoted } from "../native/errors.js";
import { compilePattern, compileSuffixPattern, type Pattern, StepBudget } from "./pattern.js";

/** What the weight of a module is: `linear` `[O, I]`, `conv1d` (GPT-2's, `[I, O]`), `embedding` `[V, D]`, or nothing that can be adapted. */
export type ModuleKind = "linear" | "conv1d" | "embedding" | "other";

/** A module of the model, by its path from the root (`model.layers.0.self_attn.q_proj`). */
export interface TargetModule {
  readonly path: string;
  readonly kind: ModuleKind;
  /** The layer that turns hidden states into logits; `"all-linear"` leaves it out. */
  readonly isOutputLayer?: boolean;
}

/** PEFT's options, in camelCase. */
export interface TargetOptions {
  /**
   * A list: modules whose path is an entry or ends with `.` and an entry. A string: `"all-linear"` (every linear and conv1d but the output
   * layer), or a regular expression for the whole path, see {@link compilePattern}.
   */
  readonly targetModules: readonly string[] | string;
  /** Modules to leave out, written like `targetModules`. */
  readonly excludeModules?: readonly string[] | string;
  /** Modules that are trained and saved whole: these and all modules inside them get no adapter. */
  readonly modulesToSave?: readonly string[];
  /** Only these layers, for modules that a list entry matches by its ending. */
  readonly layersToTransform?: number | readonly number[];
  /** Names (regular expressions) of the lists of layers, `"layers"` or `"h"`; without it the first number from the third part of a path on is the layer. */
  readonly layersPattern?: string | readonly string[];
}

/** What one entry of an option did. */
export interface LedgerEntry {
  readonly option: "targetModules" | "excludeModules" | "modulesToSave" | "layersToTransform" | "layersPattern";
  readonly pattern: string;
  /** Paths, in the order of the modules: those adapted because of the entry or, for the two that leave out, those left out. */
  readonly hits: readonly string[];
}

/** The result of {@link matchTargets}. */
export interface TargetMatch {
  /** Paths of the modules to adapt, in the order of the modules. */
  readonly matched: readonly string[];
  readonly ledger: readonly LedgerEntry[];
}

/**
 * Finds the modules that `options` select.
 * @param modules every module of the model, containers too
 * @param adaptable the kinds that the method can adapt
 * @throws LowrankError `TARGET_UNMATCHED` when an entry of any option matches nothing (or everything it matches is left out by another option),
 *   `TARGET_UNSUPPORTED` when an entry selects a module of another kind, `BAD_ARGUMENT` for options that do not fit together,
 *   `PATTERN_…` for regular expressions
 */
export function matchTargets(
  modules: readonly TargetModule[],
  options: TargetOptions,
  adaptable: readonly ModuleKind[] = ["linear", "conv1d", "embedding"],
): TargetMatch {
  checkOptions(options);
  const targets = selections("targetModules", options.targetModules, modules, adaptable);
  const excluded = selections("excludeModules", options.excludeModules ?? [], modules, adaptable);
  const saved = (options.modulesToSave ?? []).map((entry) =>
    select("modulesToSave", entry, modules, ({ path }) => `.${path}.`.includes(`.${entry}.`)),
  );
  for (const selection of [...targets, ...excluded, ...saved]) requireMatch(selection, modules, adaptable);

  const candidates = modules.filter((module) => targets.some((target) => target.modules.has(module)));
  for (const selection of excluded) requireEffect(selection, candidates);
  const layers = layerChoice(options);
  const kept = candidates.filter((module) => {
    if (module.isOutputLayer === true && isAllLinear(options.targetModules)) return false;
    return ![...excluded, ...saved].some((selection) => selection.modules.has(module)) && (layers === undefined || layers.holds(module.path));
  });
  for (const target of targets) requireKept(target, kept);
  for (const module of kept) requireAdaptable(module, targets, modules, adaptable);
  const layerLedger = layers?.ledger(candidates, kept) ?? [];
  return { matched: pathsOf(kept), ledger: [...ledgerOf(targets, kept), ...ledgerOf([...excluded, ...saved], candidates), ...layerLedger] };
}

/** One entry of an option and the modules it matches by itself. */
interface Selection {
  readonly option: LedgerEntry["option"];
  readonly pattern: string;
  /** Whether the entry is a regular expression for the whole path. */
  readonly isExpression: boolean;
  readonly modules: ReadonlySet<TargetModule>;
}

function selections(
  option: "targetModules" | "excludeModules",
  entries: readonly string[] | string,
  modules: readonly TargetModule[],
  adaptable: readonly ModuleKind[],
): Selection[] {
  if (typeof entries !== "string") return entries.map((entry) => select(option, entry, modules, ({ path }) => endsWith(path, entry)));
  if (option === "targetModules" && isAllLinear(entries)) {
    return [select(option, entries, modules, ({ kind }) => (kind === "linear" || kind === "conv1d") && adaptable.includes(kind))];
  }
  const pattern = compilePattern(entries, option);
  const budget = new StepBudget();
  return [{ ...select(option, entries, modules, ({ path }) => pattern.fullMatch(path, budget)), isExpression: true }];
}

function select(
  option: LedgerEntry["option"],
  pattern: string,
  modules: readonly TargetModule[],
  test: (module: TargetModule) => boolean,
): Selection {
  return { option, pattern, isExpression: false, modules: new Set(modules.filter(test)) };
}

function ledgerOf(entries: readonly Selection[], among: readonly TargetModule[]): LedgerEntry[] {
  return entries.map(({ option, pattern, modules }) => ({ option, pattern, hits: pathsOf(among.filter((module) => modules.has(module))) }));
}

function requireMatch(selection: Selection, modules: readonly TargetModule[], adaptable: readonly ModuleKind[]): void {
  if (selection.modules.size > 0) return;
  const { option, pattern } = selection;
  const paths = pathsOf(modules.filter(({ kind }) => adaptable.includes(kind) || option === "modulesToSave"));
  const meant = selection.isExpression ? paths.find((path) => endsWith(path, pattern)) : undefined;
  const names = isAllLinear(pattern) ? [] : nearestEndings(pattern, paths);
  const advice =
    meant !== undefined
      ? `A string is a regular expression for the whole path; write [${quoted(pattern)}] to match ${quoted(meant)} by its ending.`
      : names.length > 0
        ? `Nearest names: ${names.map(quoted).join(", ")}.`
        : `Names that could match: ${listed(lastParts(paths))}.`;
  throw new LowrankError("TARGET_UNMATCHED", `${option}: ${quoted(pattern)} matches no module. ${advice}`, { option, pattern, nearest: names });
}

/** An exclusion must leave out something that the targets select. */
function requireEffect({ option, pattern, modules }: Selection, candidates: readonly TargetModule[]): void {
  if (candidates.some((module) => modules.has(module))) return;
  const found = listed(pathsOf([...modules]));
  const message = `${option}: ${quoted(pattern)} leaves nothing out: it matches ${found}, which targetModules does not select. An entry stands for the modules whose own path it matches, not for those inside them. Remove the entry or name the modules.`;
  throw new LowrankError("TARGET_UNMATCHED", message, { option, pattern });
}

function requireKept({ option, pattern, modules }: Selection, kept: readonly TargetModule[]): void {
  if (kept.some((module) => modules.has(module))) return;
  const found = listed(pathsOf([...modules]));
  const message = `${option}: everything that ${quoted(pattern)} matches (${found}) is left out by excludeModules, modulesToSave or layersToTransform, or is the output layer. Remove the entry or the option that leaves it out.`;
  throw new LowrankError("TARGET_UNMATCHED", message, { option, pattern });
}

function requireAdaptable(
  module: TargetModule,
  targets: readonly Selection[],
  modules: readonly TargetModule[],
  adaptable: readonly ModuleKind[],
): void {
  if (adaptable.includes(module.kind)) return;
  const pattern = targets.find((target) => target.modules.has(module))?.pattern ?? "";
  const inside = modules.filter(({ path, kind }) => adaptable.includes(kind) && (module.path === "" || path.startsWith(`${module.path}.`)));
  const advice = inside.length > 0 ? `Name the layers inside it instead: ${listed(lastParts(pathsOf(inside)))}.` : "Name other modules.";
  const found = module.kind === "other" ? "a module without a weight matrix to adapt" : `of kind ${module.kind}`;
  const message = `targetModules: ${quoted(pattern)} matches ${quoted(module.path)}, which is ${found}; this method adapts ${adaptable.join(", ")}. ${advice}`;
  throw new LowrankError("TARGET_UNSUPPORTED", message, { pattern, module: module.path, kind: module.kind });
}

/** The choice of layers that `layersToTransform` and `layersPattern` make. */
interface LayerChoice {
  holds(path: string): boolean;
  /** @throws LowrankError `TARGET_UNMATCHED` when an index or a name chose nothing */
  ledger(candidates: readonly TargetModule[], kept: readonly TargetModule[]): LedgerEntry[];
}

function layerChoice({ targetModules, layersToTransform, layersPattern }: TargetOptions): LayerChoice | undefined {
  if (layersToTransform === undefined) return undefined;
  const indices = [...new Set(typeof layersToTransform === "number" ? [layersToTransform] : layersToTransform)];
  const names = typeof layersPattern === "string" ? [layersPattern] : (layersPattern ?? []);
  const patterns = names.map((name) => compileSuffixPattern(name, "layersPattern"));
  const budget = new StepBudget();
  const isNamedWhole = (path: string) => targetModules.includes(path);
  const layerOf = (path: string) => findLayer(path, patterns, budget);
  return {
    holds: (path) => isNamedWhole(path) || indices.includes(layerOf(path)?.index ?? -1),
    ledger(candidates, kept) {
      const entry = (
        option: LedgerEntry["option"],
        pattern: string,
        among: readonly TargetModule[],
        test: (path: string) => boolean,
      ): LedgerEntry => {
        const hits = pathsOf(among).filter((path) => !isNamedWhole(path) && test(path));
        if (hits.length === 0) throw unmatchedLayer(option, pattern, candidates, layerOf);
        return { option, pattern, hits };
      };
      return [
        ...names.map((name) => entry("layersPattern", name, candidates, (path) => layerOf(path)?.pattern === name)),
        ...indices.map((index) => entry("layersToTransform", String(index), kept, (path) => layerOf(path)?.index === index)),
      ];
    },
  };
}

interface Layer {
  readonly index: number;
  /** The entry of `layersPattern` that found it. */
  readonly pattern?: string;
}

/** The first part of the path that is a number, has a part after it, and stands after what a pattern matches (without patterns: after two parts). */
function findLayer(path: string, patterns: readonly Pattern[], budget: StepBudget): Layer | undefined {
  const parts = path.split(".");
  const positions = parts.slice(0, -1).flatMap((part, position) => (/^[0-9]+$/.test(part) ? [position] : []));
  if (patterns.length === 0) {
    const position = positions.find((candidate) => candidate >= 2);
    return position === undefined ? undefined : { index: Number(parts[position]) };
  }
  for (const pattern of patterns) {
    const position = positions.find((candidate) => candidate >= 1 && pattern.fullMatch(parts.slice(0, candidate).join("."), budget));
    if (position !== undefined) return { index: Number(parts[position]), pattern: pattern.source };
  }
  return undefined;
}

function unmatchedLayer(
  option: LedgerEntry["option"],
  pattern: string,
  candidates: readonly TargetModule[],
  layerOf: (path: string) => Layer | undefined,
): LowrankError {
  const found = [...new Set(pathsOf(candidates).flatMap((path) => layerOf(path)?.index ?? []))].sort((a, b) => a - b);
  const advice =
    found.length > 0
      ? `The targeted modules are in the layers ${listed(found.map(String), 20)}.`
      : "No layer number was found in the paths of the targeted modules; name the list of layers with layersPattern.";
  return new LowrankError("TARGET_UNMATCHED", `${option}: ${quoted(pattern)} selects no module. ${advice}`, { option, pattern });
}

function checkOptions({ targetModules, excludeModules, modulesToSave, layersToTransform, layersPattern }: TargetOptions): void {
  checkNames("targetModules", targetModules, "nonEmpty");
  if (excludeModules !== undefined) checkNames("excludeModules", excludeModules);
  if (modulesToSave !== undefined) {
    checkNames("modulesToSave", modulesToSave);
    if (typeof modulesToSave === "string") throw badOption("modulesToSave", modulesToSave, "must be a list of module names");
  }
  if (layersPattern !== undefined) checkNames("layersPattern", layersPattern, "nonEmpty");
  if (layersToTransform === undefined) {
    if (layersPattern !== undefined) throw badOption("layersPattern", layersPattern, "has a meaning only together with layersToTransform");
    return;
  }
  const indices = typeof layersToTransform === "number" ? [layersToTransform] : layersToTransform;
  if (!Array.isArray(indices) || indices.length === 0 || indices.some((index) => !Number.isSafeInteger(index) || index < 0)) {
    throw badOption("layersToTransform", layersToTransform, "must be a layer number or a list of at least one");
  }
  if (typeof targetModules === "string") throw badOption("layersToTransform", layersToTransform, "needs targetModules to be a list, not a string");
}

function checkNames(option: LedgerEntry["option"], value: unknown, emptiness?: "nonEmpty"): void {
  const names: unknown = typeof value === "string" ? [value] : value;
  const isNames = Array.isArray(names) && names.every((name) => typeof name === "string" && name !== "");
  if (!isNames) throw badOption(option, value, "must be a string or a list of strings, none of them empty");
  if (emptiness === "nonEmpty" && names.length === 0) throw badOption(option, value, "must name at least one module");
}

function badOption(option: string, actual: unknown, rule: string): LowrankError {
  return new LowrankError("BAD_ARGUMENT", `${option}: ${quoted(JSON.stringify(actual) ?? String(actual))} ${rule}.`, { option, actual });
}

function isAllLinear(targetModules: readonly string[] | string): boolean {
  return typeof targetModules === "string" && targetModules.toLowerCase() === "all-linear";
}

function endsWith(path: string, entry: string): boolean {
  return path === entry || path.endsWith(`.${entry}`);
}

function pathsOf(modules: readonly TargetModule[]): string[] {
  return modules.map(({ path }) => path);
}

/** The endings of paths, of as many parts as `name` has, that are nearest to it. */
function nearestEndings(name: string, paths: readonly string[]): string[] {
  const parts = name.split(".").length;
  return nearest(name, new Set(paths.map((path) => path.split(".").slice(-parts).join("."))));
}

function lastParts(paths: readonly string[]): string[] {
  return [...new Set(paths.map((path) => path.slice(path.lastIndexOf(".") + 1)))];
}

function listed(names: readonly string[], most = 8): string {
  if (names.length === 0) return "none";
  const rest = names.length > most ? ` and ${names.length - most} more` : "";
  return names.slice(0, most).map(quoted).join(", ") + rest;
}
