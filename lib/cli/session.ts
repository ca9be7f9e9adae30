/** @file What several commands begin with: a model, an adapter on it, a data file; and where output may go. */
import { constants } from "node:fs";
import { access, readdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { attempt } from "../io/file.js";
import { configFile } from "../lora/adapter-files.js";
import type { Adapter } from "../lora/index.js";
import { attachOpened } from "../lora/load-adapter.js";
import { type OpenAdapter, openAdapter } from "../lora/open-adapter.js";
import { CausalLm, loadModel } from "../models/index.js";
import { readModelConfig } from "../models/load-model.js";
import { fileError, quoted } from "../native/errors.js";
import { memory } from "../tensor/device.js";
import { elementsOf } from "../tensor/shape.js";
import { type Dataset, readExamples } from "../text/index.js";
import type { Context } from "./context.js";
import { bytesText, countText, plural } from "./format.js";
import { rowNames } from "./options.js";
import { Meter } from "./output.js";
import { UsageError, withFlags } from "./usage.js";

/** Loads the model of --model. */
export async function openModel({ args, output, interrupt }: Context): Promise<CausalLm> {
  const folder = args.required("model");
  const meter = new Meter(output.err, `loading ${basename(resolve(folder))}`);
  try {
    const model = await loadModel(folder, {
      ...args.pick(["dtype", "quantize"]),
      signal: interrupt.signal,
      onProgress: ({ loadedBytes, totalBytes }) => meter.update(loadedBytes, totalBytes, bytesText(totalBytes)),
    });
    meter.end();
    for (const warning of model.config.warnings) output.warn(warning);
    const parameters = [...model.parameters().values()].reduce((sum, { shape }) => sum + elementsOf(shape), 0);
    const { modelType, layers } = model.config;
    const { bytes } = memory().cpu;
    const quantize = args.text("quantize");
    const held = quantize === undefined ? "" : ` in ${quantize}`;
    output.note(`model: ${modelType}, ${plural(layers, "layer")}${held}, ${countText(parameters)} parameters in ${bytesText(bytes)}`);
    output.event({ type: "model", folder, modelType, layers, quantize: quantize ?? null, parameters, bytes });
    return model;
  } finally {
    meter.end();
  }
}

/** The modules of a model without values: LoRA needs none to be attached. (Σ belongs to the singular vectors of the weights.) */
export async function hollowModel(folder: string): Promise<CausalLm> {
  return new CausalLm(await readModelConfig(folder));
}

/** Opens the files of --adapter, if one is named: before the model is loaded. */
export function openStored({ args, interrupt }: Context): Promise<OpenAdapter | undefined> {
  const folder = args.text("adapter");
  return folder === undefined ? Promise.resolve(undefined) : openAdapter(folder, interrupt.signal);
}

/** Puts the opened adapter onto the model, and closes its files: its folder may be the one to write to. */
export async function attachStored(context: Context, model: CausalLm, stored: OpenAdapter | undefined): Promise<Adapter | undefined> {
  const { args, output, interrupt } = context;
  if (stored === undefined) return undefined;
  const adapter = await attachOpened(model, stored, { name: basename(resolve(args.required("adapter"))), signal: interrupt.signal });
  for (const warning of adapter.warnings) output.warn(warning);
  describeAdapter(context, adapter);
  return adapter;
}

/** Says what an adapter is. */
export function describeAdapter({ output }: Pick<Context, "output">, adapter: Adapter): void {
  const { method, trainableCount, targets, config } = adapter;
  const rank = config.rank === undefined ? "" : ` of rank ${config.rank}`;
  output.note(`adapter: ${method}${rank} on ${plural(targets.length, "module")}, ${countText(trainableCount)} numbers`);
  output.event({ type: "adapter", name: adapter.name, method, rank: config.rank ?? null, alpha: config.alpha, trainableCount, targets });
}

/** Opens a data file with the options of rows. */
export async function openData({ args, output, interrupt }: Context, model: CausalLm, file: string, role: "data" | "evalData"): Promise<Dataset> {
  const meter = new Meter(output.err, `reading ${basename(file)}`);
  let data: Dataset;
  try {
    const rows = args.pick(rowNames);
    data = await readExamples(file, model, { ...rows, signal: interrupt.signal, onProgress: ({ done, total }) => meter.update(done, total) });
  } finally {
    meter.end();
  }
  const { length, examples, skipped, templateHash } = data;
  const packed = examples === length ? "" : ` in ${plural(length, "packed row")}`;
  output.note(`${role === "data" ? "data" : "evaluation data"}: ${plural(examples, "example")}${packed}`);
  if (skipped.count > 0)
    output.warn(`${basename(file)}: ${plural(skipped.count, "row")} left out; the first: ${withFlags(skipped.reasons[0]?.message ?? "")}`);
  output.event({ type: "data", role, file, rows: length, examples, skipped: skipped.count, templateHash: templateHash ?? null });
  return data;
}

/** Whether messages can be rendered: by the template of the adapter, or by that of the model. */
export const isChat = (model: CausalLm, adapter: Adapter | undefined): boolean =>
  adapter?.chatTemplate !== undefined || (model.hasTokenizer && model.tokenizer.chatTemplates.has("default"));

/** Rows are rendered by the model's template; an adapter that was trained with another one should hear another. */
export function checkTemplate({ output }: Pick<Context, "output">, model: CausalLm, adapter: Adapter | undefined): void {
  const own = model.tokenizer.chatTemplates.get("default")?.text;
  if (adapter?.chatTemplate === undefined || own === undefined || own === adapter.chatTemplate) return;
  output.warn(
    `the adapter ${quoted(adapter.name)} was trained with another chat template than the model has; conversations are rendered with the model's. ` +
      "If the adapter's is the right one, copy its chat_template.jinja into the model's folder.",
  );
}

/** Names in a folder; none when it does not exist. @throws UsageError when it is a file */
async function namesIn(option: string, folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return [];
    if (code === "ENOTDIR") throw new UsageError("BAD_ARGUMENT", `--${option}: ${quoted(basename(folder))} is a file; a folder is needed.`);
    throw fileError("IO_ACCESS", folder, `cannot be listed (${code}). Check its permissions.`, { errno: code }, error);
  }
}

/**
 * Whether output may go to a folder: before hours of work, not after.
 * @throws UsageError BAD_ARGUMENT when it holds something else and `mayHold` does not say that this may be replaced; LowrankError IO_ACCESS
 */
export async function requireOut(folder: string, mayHold: "adapter" | "anything" | "nothing"): Promise<void> {
  const names = await namesIn("out", folder);
  const isReplaceable = mayHold === "anything" || (mayHold === "adapter" && names.includes(configFile) && !names.includes("config.json"));
  if (names.length > 0 && !isReplaceable) {
    const advice = mayHold === "adapter" ? "Name a new folder, or one with an adapter." : "Name a new folder, or write into it with --force.";
    throw new UsageError("BAD_ARGUMENT", `--out: the folder ${quoted(basename(resolve(folder)))} is not empty. ${advice}`, { path: folder });
  }
  await requireWritable(folder);
}

/** @throws LowrankError IO_ACCESS when nothing can be written at the path, or at the nearest folder above it that exists */
async function requireWritable(path: string): Promise<void> {
  for (let at = resolve(path); ; at = dirname(at)) {
    try {
      await access(at, constants.W_OK);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT" && dirname(at) !== at) continue;
      throw fileError("IO_ACCESS", path, "cannot be written there. Check the permissions.", {}, error);
    }
  }
}

/** @throws LowrankError IO_… when one of the files that the options name cannot be read */
export async function requireFiles({ args }: Pick<Context, "args">, options: readonly string[]): Promise<void> {
  for (const file of options.flatMap((option) => args.text(option) ?? [])) {
    await attempt(file, "cannot be read", () => access(file, constants.R_OK));
    if (await isFolder(file)) throw fileError("IO_NOT_REGULAR_FILE", file, "this is a folder. Name a file.");
  }
}

/** @throws UsageError BAD_ARGUMENT for options of rows that do not go together */
export function checkRows({ args }: Pick<Context, "args">): void {
  if (args.flag("packing") && !args.has("maxLength"))
    throw new UsageError("BAD_ARGUMENT", "--packing needs --max-length: the number of tokens of a row.");
}

/** @throws UsageError BAD_ARGUMENT when a file cannot be written there because its folder does not exist, or a folder has its name */
export async function requirePlaceOf(option: string, file: string): Promise<void> {
  const folder = dirname(resolve(file));
  if (await isFolder(file)) throw new UsageError("BAD_ARGUMENT", `--${option}: ${quoted(basename(resolve(file)))} is a folder; a file is needed.`);
  if (!(await isFolder(folder)))
    throw new UsageError("BAD_ARGUMENT", `--${option}: the folder of ${quoted(basename(file))} does not exist.`, { path: file });
  await requireWritable(folder);
}

export const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );

/** Whether a folder has a file. */
export const holds = (folder: string, name: string): Promise<boolean> =>
  stat(join(folder, name)).then(
    (found) => found.isFile(),
    () => false,
  );
