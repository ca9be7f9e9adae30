/** @file The files of an adapter: opened, and read as far as no module is needed. */
import { join } from "node:path";
import { openInput } from "../io/file.js";
import { inFolderOf } from "../io/folder.js";
import { readIfInside, readInside, resolveInside } from "../io/inside.js";
import { openSource, parseSafetensors, type SafetensorsFile } from "../io/safetensors.js";
import { maxTemplateBytes, templateFile, templateText } from "../io/template-text.js";
import { fileError, LowrankError, quoted } from "../native/errors.js";
import { configFile, configKey, templateKey, weightsFile } from "./adapter-files.js";
import { type PeftConfig, peftConfigOf } from "./peft-config.js";
import { PeftFields } from "./peft-fields.js";
import { type SigmaConfig, sigmaConfigOf, sigmaType } from "./sigma-config.js";

export interface StoredLora {
  readonly method: "lora";
  readonly config: PeftConfig;
  readonly warnings: readonly string[];
}

export interface StoredSigma {
  readonly method: "sigma";
  readonly config: SigmaConfig;
  readonly warnings: readonly string[];
}

/** An adapter whose tensors can be read. Close it, or declare it with `await using`. */
export class OpenAdapter {
  constructor(
    readonly stored: StoredLora | StoredSigma,
    /** For messages. */
    readonly configName: string,
    readonly file: SafetensorsFile,
    /** Size of the file of tensors. */
    readonly bytes: number,
    readonly chatTemplate: string | undefined,
  ) {}

  /** May be called again. */
  close(): Promise<void> {
    return this.file.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Opens a folder that PEFT or `Adapter.save` wrote, or the bytes of `Adapter.toBytes`.
 * @throws LowrankError ADAPTER_…, WRONG_FILE_TYPE (adapter_model.bin), ST_…, IO_…, PATH_SYMLINK_ESCAPE, CONFIG_TOO_LARGE, TEMPLATE_…, ABORTED
 */
export async function openAdapter(source: string | Uint8Array, signal?: AbortSignal): Promise<OpenAdapter> {
  if (typeof source === "string") return openFolder(source, signal);
  if (!(source instanceof Uint8Array))
    throw new LowrankError("BAD_ARGUMENT", `loadAdapter: expected a folder or the bytes of a file, found ${typeof source}.`);
  const file = parseSafetensors(source, "adapter");
  const text = file.metadata.get(configKey);
  const chatTemplate = file.metadata.get(templateKey);
  const configName = `adapter: metadata ${quoted(configKey)}`;
  if (text !== undefined)
    return new OpenAdapter(storedConfig(new TextEncoder().encode(text), configName), configName, file, source.length, chatTemplate);
  const problem = `the metadata of these bytes lacks the key ${quoted(configKey)}, which holds the adapter's configuration. Pass what toBytes() gave, or load the folder.`;
  throw fileError("ADAPTER_MISSING_FIELD", "adapter", problem, { expected: configKey });
}

async function openFolder(folder: string, signal: AbortSignal | undefined): Promise<OpenAdapter> {
  const configName = join(folder, configFile);
  const stored = storedConfig(await inFolderOf("adapter", folder, () => readInside(folder, configFile)), configName);
  const template = await readIfInside(folder, templateFile, maxTemplateBytes, "TEMPLATE_TOO_LARGE");
  const chatTemplate = template && templateText(template, join(folder, templateFile));
  const shownAs = join(folder, weightsFile);
  try {
    const path = await resolveInside(folder, weightsFile);
    const input = await openInput(path, { followLink: false, shownAs });
    const file = await openSource(input, signal === undefined ? {} : { signal });
    return new OpenAdapter(stored, configName, file, input.size, chatTemplate);
  } catch (error) {
    if (error instanceof LowrankError && error.code === "IO_NOT_FOUND" && (await hasPickle(folder))) throw pickle(folder);
    throw error;
  }
}

/** The configuration, whichever method it is of. */
function storedConfig(bytes: Uint8Array, name: string): StoredLora | StoredSigma {
  const fields = new PeftFields(bytes, name);
  const type = fields.node("peft_type");
  if (type?.kind === "string" && type.value === sigmaType) return { method: "sigma", ...sigmaConfigOf(fields) };
  return { method: "lora", ...peftConfigOf(fields) };
}

const pickleFile = "adapter_model.bin";

async function hasPickle(folder: string): Promise<boolean> {
  return resolveInside(folder, pickleFile).then(
    () => true,
    () => false,
  );
}

function pickle(folder: string): LowrankError {
  const problem = `this is a pickle, which can run code when it is read, and is never opened. Convert the adapter with PEFT: load it and call save_pretrained(folder, safe_serialization=True), which writes ${weightsFile}.`;
  return fileError("WRONG_FILE_TYPE", join(folder, pickleFile), problem, { expected: weightsFile, actual: pickleFile });
}
