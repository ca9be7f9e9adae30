/** @file lowrank inspect. Reads headers and small files; never loads weights. */

import { basename, resolve } from "node:path";
import { configFile } from "../lora/adapter-files.js";
import { fileError } from "../native/errors.js";
import type { Context } from "./context.js";
import { adapterRows, inspectAdapter } from "./inspect-adapter.js";
import { inspectModel, modelRows } from "./inspect-model.js";
import { machine, machineRows } from "./machine.js";
import { holds, isFolder } from "./session.js";
import { UsageError } from "./usage.js";

export async function inspectCommand(context: Context): Promise<void> {
  const { args, output } = context;
  const { positional } = args;
  if (positional !== undefined && (args.has("model") || args.has("adapter")))
    throw new UsageError("BAD_ARGUMENT", "lowrank inspect: name a folder, or --model and --adapter, not both.");
  const kind = positional === undefined ? undefined : await kindOf(positional);
  const model = kind === "model" ? positional : args.text("model");
  const adapter = kind === "adapter" ? positional : args.text("adapter");
  if (model !== undefined) {
    const found = await inspectModel(model, args);
    output.event({ type: "model", ...found });
    output.table(basename(resolve(model)), modelRows(found));
  }
  if (adapter !== undefined) {
    const found = await inspectAdapter(adapter);
    output.event({ type: "adapter", ...found });
    output.table(basename(resolve(adapter)), adapterRows(found));
  }
  if (model !== undefined || adapter !== undefined) return;
  const found = machine();
  output.event({ type: "machine", ...found });
  output.table("lowrank", machineRows(found));
}

async function kindOf(folder: string): Promise<"model" | "adapter"> {
  if (!(await isFolder(folder))) throw fileError("IO_NOT_FOUND", folder, "there is no such folder. Check the path.");
  if (await holds(folder, configFile)) return "adapter";
  if (await holds(folder, "config.json")) return "model";
  throw fileError(
    "IO_NOT_FOUND",
    folder,
    `the folder has neither config.json (a model) nor ${configFile} (an adapter). Name the folder of one of them.`,
  );
}
