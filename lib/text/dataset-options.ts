/** @file The options of `readExamples`, checked. */
import { checkNames, LowrankError } from "../native/errors.js";
import { requireTemplate } from "./chat-template.js";
import type { DatasetProgress } from "./dataset-slices.js";
import { describe } from "./describe.js";
import type { ExampleOptions } from "./example.js";
import type { Tokenizer } from "./tokenizer.js";

export interface ReadOptions extends ExampleOptions {
  /** Keep only the first tokens of an example; default: all. With `packing` also the length that no row exceeds. */
  readonly maxLength?: number;
  /** Put several examples into one row, as many as fit; default false. All rows are tokenized once at the start. */
  readonly packing?: boolean;
  /** What happens to a row that cannot be trained: "error" (default), or "skip": it is counted in {@link Dataset.skipped}. */
  readonly onBadRow?: "error" | "skip";
  /** Ends the opening; what `at` reads later is not affected. */
  readonly signal?: AbortSignal;
  /** Told at most ten times a second while the file is opened, and at the end of every stage. */
  readonly onProgress?: (progress: DatasetProgress) => void;
}

const known = ["maxLength", "packing", "onBadRow", "template", "templateArgs", "now", "signal", "onProgress"];

/** @throws LowrankError UNKNOWN_OPTION with the nearest name, BAD_ARGUMENT, TEMPLATE_MISSING */
export function checkReadOptions(file: unknown, model: { readonly tokenizer: Tokenizer }, options: ReadOptions): void {
  if (typeof file !== "string" || file === "") throw bad("the file", file, "a path");
  if (typeof (model as typeof model | undefined)?.tokenizer?.encodeWithOffsets !== "function")
    throw bad("the model", model, "an object with a tokenizer: what loadModel gives, or { tokenizer }");
  checkNames("readExamples", options, known);
  const { maxLength, packing, onBadRow, template, templateArgs, now, signal, onProgress } = options;
  if (maxLength !== undefined && !(Number.isSafeInteger(maxLength) && maxLength >= 2 && maxLength < 2 ** 31))
    throw bad("maxLength", maxLength, "an integer from 2 on (a token is trained from the one before it)");
  if (packing !== undefined && typeof packing !== "boolean") throw bad("packing", packing, "true or false");
  if (packing === true && maxLength === undefined) throw bad("maxLength", maxLength, "the number of tokens of a packed row, because packing is on");
  if (onBadRow !== undefined && onBadRow !== "error" && onBadRow !== "skip") throw bad("onBadRow", onBadRow, '"error" or "skip"');
  if (templateArgs !== undefined && (templateArgs === null || typeof templateArgs !== "object")) throw bad("templateArgs", templateArgs, "an object");
  if (now !== undefined && !(now instanceof Date && Number.isFinite(now.getTime()))) throw bad("now", now, "a Date");
  if (signal !== undefined && typeof signal?.aborted !== "boolean") throw bad("signal", signal, "an AbortSignal");
  if (onProgress !== undefined && typeof onProgress !== "function") throw bad("onProgress", onProgress, "a function");
  if (template === undefined) return;
  if (typeof template !== "string") throw bad("template", template, "the name of a template");
  requireTemplate(model.tokenizer.chatTemplates, template);
}

function bad(name: string, actual: unknown, expected: string): LowrankError {
  const found = describe(actual);
  return new LowrankError("BAD_ARGUMENT", `readExamples: ${name} is ${found}; expected ${expected}.`, { actual: found, expected });
}
