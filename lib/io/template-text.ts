/** @file The text of a chat template that is a file. */
import { fileError } from "../native/errors.js";
import { firstInvalidUtf8 } from "./utf8.js";

/** A chat template has at most so many bytes. */
export const maxTemplateBytes = 1_000_000;

/** The name of a chat template that is a file. */
export const templateFile = "chat_template.jinja" as const;

/** The text of a chat_template.jinja, without a byte order mark. @throws LowrankError TEMPLATE_SYNTAX */
export function templateText(bytes: Uint8Array, path: string): string {
  const offset = firstInvalidUtf8(bytes);
  if (offset >= 0) throw fileError("TEMPLATE_SYNTAX", path, `the file is not valid UTF-8 (at byte ${offset}). Save it as UTF-8.`, { offset });
  return new TextDecoder().decode(bytes);
}
