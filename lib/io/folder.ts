/** @file The folders of models and adapters, which people mistake for each other. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { fileError, LowrankError } from "../native/errors.js";

const configs = { model: "config.json", adapter: "adapter_config.json" } as const;
type Kind = keyof typeof configs;

/** Runs what reads such a folder. Where that finds no configuration, the error says what the folder is. */
export async function inFolderOf<T>(kind: Kind, folder: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof LowrankError) || error.code !== "IO_NOT_FOUND") throw error;
    const problem = await problemOf(kind, folder);
    throw problem === undefined ? error : fileError("IO_NOT_FOUND", folder, problem, {}, error);
  }
}

async function problemOf(kind: Kind, folder: string): Promise<string | undefined> {
  const found = await stat(folder).catch(() => undefined);
  if (found === undefined) return "there is no such folder. Check the path.";
  if (!found.isDirectory()) return `this is a file. Name the folder of ${kind === "model" ? "a model" : "an adapter"}.`;
  if (await exists(join(folder, configs[kind]))) return undefined;
  const [is, wanted] = kind === "model" ? ["an adapter", "a model"] : ["a model", "an adapter"];
  if (await exists(join(folder, configs[kind === "model" ? "adapter" : "model"]))) return `this folder holds ${is}, not ${wanted}.`;
  return `this folder has no ${configs[kind]}. Name the folder of ${wanted}.`;
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );
