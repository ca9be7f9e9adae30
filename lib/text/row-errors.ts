/** @file What `renderExample` says of a row that comes from a file: which errors are the row's fault, told without the text of the row. */
import type { ErrorCode } from "../native/error-codes.js";
import { type ErrorDetails, LowrankError } from "../native/errors.js";
import { RowError } from "./jsonl-file.js";
import { spanRule } from "./spans.js";

/** Errors for which the row is to blame. Others, a missing template for instance, would befall every row. */
const rowCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "DATA_ROW_TOO_LARGE",
  "EXAMPLE_BAD_ROW",
  "EXAMPLE_NO_ASSISTANT",
  "EXAMPLE_NO_TRAINED_TOKEN",
  "TEMPLATE_FAILED",
  "TEMPLATE_RAISED",
  "TEMPLATE_LIMIT",
  "TEMPLATE_SPAN",
  "TEXT_UNENCODABLE",
]);

/** Errors that quote the text, and what is said instead. */
const withoutText: { readonly [code in ErrorCode]?: (details: ErrorDetails) => { problem: string; hint: string } } = {
  TEMPLATE_SPAN: () => ({
    problem: spanRule,
    hint: "Use another chat template, or rows of prompt and completion; renderExample shows the rendering.",
  }),
  TEXT_UNENCODABLE: ({ character }) => ({
    problem: `character ${String(character)} of the text has no token, and the tokenizer has none for unknown characters`,
    hint: "Remove it from the text.",
  }),
};

/** The RowError for what `renderExample` threw; the error itself where the row is not to blame. */
export function rowErrorOf(error: unknown): unknown {
  if (!(error instanceof LowrankError) || !rowCodes.has(error.code)) return error;
  const { file: _file, path: _path, ...details } = error.details;
  const told = withoutText[error.code]?.(details);
  if (told === undefined) return new RowError(error.code, error.message, details, error);
  const { expected: _expected, actual: _actual, ...rest } = details;
  return new RowError(error.code, `${told.problem}. ${told.hint}`, { ...rest, hint: told.hint });
}
