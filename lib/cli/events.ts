/** @file The kinds of events that --json prints; docs/cli.md says what each holds, and a test compares the two. */

// biome-ignore format: a list of words
export const eventTypes = [
  "model", "adapter", "data", "sample", "step", "eval", "warning", "done", "saved", "answer", "page",
  "text", "machine", "row", "interrupted", "error", "help", "version",
] as const;

/** One line of --json. */
export interface CliEvent {
  readonly type: (typeof eventTypes)[number];
  readonly [field: string]: unknown;
}
