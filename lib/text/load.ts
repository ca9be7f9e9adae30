/** @file Opens the tokenizer of a Hugging Face folder. */
import { join } from "node:path";
import { foreignType } from "../io/foreign-types.js";
import { readIfInside } from "../io/inside.js";
import { withoutByteOrderMark } from "../io/json-scanner.js";
import { maxTemplateBytes, templateFile } from "../io/template-text.js";
import type { ErrorCode } from "../native/error-codes.js";
import { fileError } from "../native/errors.js";
import { Tokenizer } from "./tokenizer.js";
import { TokenizerConfig } from "./tokenizer-config.js";
import { maxTokenizerBytes, readTokenizerJson } from "./tokenizer-json.js";

/** The files of a tokenizer; only the first must be there. */
export type TokenizerFileName = "tokenizer.json" | "tokenizer_config.json" | "special_tokens_map.json" | "chat_template.jinja";

/** Contents of the files, as bytes or as text. */
export type TokenizerFiles = { readonly [name in TokenizerFileName]?: Uint8Array | string };

interface LinkOptions {
  /** Follow symbolic links that lead out of the folder; default false. Links of the Hugging Face cache always work. */
  readonly allowSymlinks?: boolean;
}

/** A tokenizer_config.json lists all added tokens again. */
const maxConfigBytes = 16 * 1024 * 1024;

const limits: Readonly<Record<TokenizerFileName, { readonly bytes: number; readonly code: ErrorCode }>> = {
  "tokenizer.json": { bytes: maxTokenizerBytes, code: "TOKENIZER_TOO_LARGE" },
  "tokenizer_config.json": { bytes: maxConfigBytes, code: "TOKENIZER_TOO_LARGE" },
  "special_tokens_map.json": { bytes: maxConfigBytes, code: "TOKENIZER_TOO_LARGE" },
  [templateFile]: { bytes: maxTemplateBytes, code: "TEMPLATE_TOO_LARGE" },
};

/**
 * The tokenizer of a folder with `tokenizer.json`, and where they exist `tokenizer_config.json`, `special_tokens_map.json` and
 * `chat_template.jinja`; or of the contents of these files. Nothing in the files is executed; links out of the folder are refused.
 * @throws LowrankError TOKENIZER_MISSING, WRONG_FILE_TYPE, other codes that start with TOKENIZER_ or TEMPLATE_, IO_ACCESS, PATH_SYMLINK_ESCAPE, …
 */
export async function loadTokenizer(source: string | TokenizerFiles, { allowSymlinks = false }: LinkOptions = {}): Promise<Tokenizer> {
  const folder = typeof source === "string" ? source : "";
  const read = async (name: TokenizerFileName): Promise<Uint8Array | undefined> => {
    const { bytes, code } = limits[name];
    return typeof source === "string" ? readIfInside(folder, name, bytes, code, { allowSymlinks }) : given(name, source[name]);
  };
  const file = async (name: TokenizerFileName): Promise<{ path: string; bytes: Uint8Array } | undefined> => {
    const bytes = await read(name);
    return bytes && { path: join(folder, name), bytes };
  };
  const reads = [read("tokenizer.json"), file("tokenizer_config.json"), file("special_tokens_map.json"), file(templateFile)] as const;
  await Promise.allSettled(reads); // at once; the first error in this order is thrown
  const main = await reads[0];
  if (main === undefined) {
    const hint = "Name a folder with the files of a model; a tokenizer.model alone is not enough.";
    throw fileError("TOKENIZER_MISSING", join(folder, "tokenizer.json"), `the file does not exist. ${hint}`, { hint });
  }
  const path = join(folder, "tokenizer.json");
  const type = foreignType(main);
  if (type !== undefined && type.detected !== "json")
    throw fileError("WRONG_FILE_TYPE", path, `this is ${type.what}. ${type.remedy}`, { detected: type.detected, hint: type.remedy });
  const json = readTokenizerJson(withoutByteOrderMark(main), path);
  const [, config, specialTokensMap, chatTemplate] = await Promise.all(reads);
  return new Tokenizer(json, new TokenizerConfig({ config, specialTokensMap, chatTemplate }, json));
}

function given(name: TokenizerFileName, contents: Uint8Array | string | undefined): Uint8Array | undefined {
  if (contents === undefined) return undefined;
  const { bytes, code } = limits[name];
  const size = typeof contents === "string" ? Buffer.byteLength(contents) : contents.length;
  if (size > bytes) throw fileError(code, name, `the contents have ${size} bytes, the limit is ${bytes}.`, { expected: bytes, actual: size });
  return typeof contents === "string" ? new TextEncoder().encode(contents) : contents;
}
