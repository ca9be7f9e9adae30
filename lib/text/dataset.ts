/**
 * @file Examples from a JSONL file. The file stays where it is: where its rows begin is listed once, and a row is read, parsed and
 * tokenized when it is asked for.
 */

import { wantsColor } from "../native/env.js";
import type { ErrorCode } from "../native/error-codes.js";
import { fileError, LowrankError } from "../native/errors.js";
import { checkReadOptions, type ReadOptions } from "./dataset-options.js";
import { Packing } from "./dataset-packing.js";
import { type SampleOptions, sampleText } from "./dataset-sample.js";
import { Slices, Work } from "./dataset-slices.js";
import { ignoredLabel, type PlacedExample, placeExample } from "./example.js";
import { JsonlFile, RowError } from "./jsonl-file.js";
import { parseRow } from "./jsonl-row.js";
import { rowErrorOf } from "./row-errors.js";
import type { Tokenizer } from "./tokenizer.js";

/** So many rows are checked before `readExamples` resolves; in a file of no more, all. */
const checkedRows = 2000;

/** Reasons that {@link Dataset.skipped} keeps. */
const keptReasons = 20;

/** One row for a language model. */
export interface DatasetItem {
  /** Token ids. */
  readonly tokens: number[];
  /** Aligned with `tokens`; -100 where a token is not trained. The label at t belongs to the prediction from the tokens before t. */
  readonly labels: number[];
  /** With packing: where each example begins. Attention and positions start anew there; the label there is -100. */
  readonly starts?: number[];
}

/** Why a row was left out. */
export interface SkippedRow {
  /** From 1, blank lines counted. */
  readonly line: number;
  readonly code: ErrorCode;
  /** With file, line and, where there is one, column. */
  readonly message: string;
}

/** Examples of a file; made by {@link readExamples}. Rows are read when asked for, so the file must stay as it is until `close`. */
export interface Dataset extends AsyncDisposable {
  /** Rows that `at` gives: examples, or packs of examples. */
  readonly length: number;
  /** Examples in these rows. */
  readonly examples: number;
  /** Rows left out because of `onBadRow: "skip"`: how many so far, and the first 20 reasons. */
  readonly skipped: { readonly count: number; readonly reasons: readonly SkippedRow[] };
  /**
   * The chat template (its text) by which conversations are rendered, undefined if the tokenizer has none. Prompts for the adapter
   * must be rendered by the same. (Rows with `tools` use the template "tool_use", where there is one and no other was named.)
   */
  readonly template: string | undefined;
  /** SHA-256 of {@link template}, 64 hexadecimal digits. */
  readonly templateHash: string | undefined;
  /**
   * Row `i`, always the same. @throws LowrankError BAD_ARGUMENT outside 0 … length - 1, DISPOSED after `close`, DATA_CHANGED,
   * IO_SHORT_READ, IO_FAILED; for a bad row that was not checked before, and `onBadRow: "error"`, as {@link readExamples}
   */
  at(i: number): Promise<DatasetItem>;
  /** Tokens of row `i` where they are known without reading: all rows with packing, else those that were checked at the start. */
  lengthOf(i: number): number | undefined;
  /** Row `i` (default 0) as text for a terminal: where it stands, how much is trained, and its characters, the trained ones marked. */
  sample(i?: number, options?: SampleOptions): Promise<string>;
  /** Closes the file. Reads under way end first. */
  close(): Promise<void>;
}

/**
 * Examples from a JSONL file: a JSON object a line, with `messages` (and `tools`), or `prompt` and `completion`, or `text`; the forms
 * may be mixed. What is trained is said at {@link renderExample}. One pass over the bytes lists the rows (8 bytes of memory each);
 * then the first 2,000 are checked, with `packing` all. Other work goes on meanwhile: a slice takes about 5 ms, or as long as one row.
 *
 * With `onBadRow: "skip"`, bad rows among the checked ones are left out of `length`. A bad row that is met later is replaced by row
 * `i % n` of the `n` checked good ones, for `i` its own number, and counted.
 * @throws LowrankError IO_…, WRONG_FILE_TYPE, DATA_NOT_JSONL, DATA_ENCODING, DATA_EMPTY, UNKNOWN_OPTION, BAD_ARGUMENT, ABORTED,
 * TEMPLATE_…, TOKENIZER_BAD_CONFIG; for a bad row, with file, line and often column: DATA_BAD_JSON, DATA_ROW_NOT_OBJECT,
 * DATA_MISSING_FIELD, DATA_BAD_FIELD, DATA_BAD_ROLE, DATA_DUPLICATE_KEY, DATA_NESTING_TOO_DEEP, DATA_ROW_TOO_LARGE,
 * EXAMPLE_NO_ASSISTANT, EXAMPLE_NO_TRAINED_TOKEN, TEXT_UNENCODABLE, …
 */
export async function readExamples(file: string, model: { readonly tokenizer: Tokenizer }, options: ReadOptions = {}): Promise<Dataset> {
  checkReadOptions(file, model, options);
  const slices = new Slices();
  const work = new Work(file, slices, options.signal, options.onProgress);
  const jsonl = await JsonlFile.open(file, options.onBadRow !== "skip", work);
  try {
    const dataset = new FileDataset(jsonl, model.tokenizer, options, slices);
    await dataset.prepare(work);
    return dataset;
  } catch (error) {
    await jsonl.close();
    throw error;
  }
}

/** Closes the files of datasets that nobody closed. */
const forgotten = new FinalizationRegistry<JsonlFile>((file) => void file.close().catch(() => undefined));

class FileDataset implements Dataset {
  readonly skipped: { count: number; readonly reasons: SkippedRow[] } = { count: 0, reasons: [] };
  readonly template: string | undefined;
  readonly templateHash: string | undefined;
  private readonly rules: ReadOptions;
  private readonly skips: boolean;
  /** The good ones among the checked rows, and their tokens; empty with packing. */
  private readonly good: number[] = [];
  private readonly goodLengths: number[] = [];
  private checked = 0;
  private packing: Packing | undefined;
  /** A bit for each row that was found bad after the check. */
  private bad: Uint8Array | undefined;
  private readonly reads = new Set<Promise<unknown>>();
  private closing: Promise<void> | undefined;

  constructor(
    private readonly file: JsonlFile,
    private readonly tokenizer: Tokenizer,
    options: ReadOptions,
    private readonly slices: Slices,
  ) {
    const { maxLength, template, templateArgs, now = new Date() } = options;
    // The time is the same for every row, whenever it is read.
    this.rules = { now, ...(maxLength && { maxLength }), ...(template && { template }), ...(templateArgs && { templateArgs }) };
    this.skips = options.onBadRow === "skip";
    if (options.packing === true) this.packing = new Packing(maxLength as number, file.length);
    const used = tokenizer.chatTemplates.get(template ?? "default");
    this.template = used?.text;
    this.templateHash = used?.hash;
    forgotten.register(this, file, this);
  }

  get length(): number {
    return this.packing?.length ?? this.good.length + this.file.length - this.checked;
  }

  get examples(): number {
    return this.packing?.rowCount ?? this.length;
  }

  /** Checks the first rows; packs all. */
  async prepare(work: Work): Promise<void> {
    const { packing } = this;
    const count = packing === undefined ? Math.min(checkedRows, this.file.length) : this.file.length;
    const read = this.file.inOrder();
    for (let row = 0; row < count; row++) {
      try {
        const bytes = await read(row);
        await work.turn();
        const { length } = this.render(bytes).tokens;
        if (packing !== undefined) {
          packing.add(row, length);
        } else {
          this.good.push(row);
          this.goodLengths.push(length);
        }
      } catch (error) {
        await this.skip(row, error);
      }
      work.report(packing === undefined ? "check" : "pack", row + 1, count);
    }
    this.checked = count;
    if (this.examples === 0 || (packing === undefined && this.good.length === 0)) throw this.nothingLeft(count);
    work.check();
  }

  at(i: number): Promise<DatasetItem> {
    return this.whileOpen(i, () => this.item(i));
  }

  private async item(i: number): Promise<DatasetItem> {
    if (this.packing !== undefined) return this.pack(i, this.packing);
    const { tokens, labels } = (await this.example(i)).example;
    return { tokens, labels };
  }

  lengthOf(i: number): number | undefined {
    this.requireIndex(i);
    return this.packing === undefined ? this.goodLengths[i] : this.packing.tokens(i);
  }

  sample(i = 0, options: SampleOptions = {}): Promise<string> {
    return this.whileOpen(i, () => this.sampled(i, options));
  }

  private async sampled(i: number, options: SampleOptions): Promise<string> {
    const { color = wantsColor(process.stdout) } = options;
    const parts: string[] = [];
    const add = async (row: number, example: PlacedExample): Promise<void> => {
      const title = `row ${i}, line ${await this.file.line(row)}`;
      parts.push(sampleText(title, example, this.tokenizer, color));
    };
    if (this.packing === undefined) {
      const { row, example } = await this.example(i);
      await add(row, example);
    } else {
      for (const row of this.packing.rows(i)) await add(row, await this.read(row));
    }
    return parts.join("\n");
  }

  close(): Promise<void> {
    this.closing ??= this.end();
    return this.closing;
  }

  private async end(): Promise<void> {
    forgotten.unregister(this);
    await Promise.allSettled(this.reads);
    await this.file.close();
  }

  /** Reads row `i`, unless closed; {@link close} waits for it. */
  private async whileOpen<T>(i: number, read: () => Promise<T>): Promise<T> {
    this.requireIndex(i);
    if (this.closing !== undefined)
      throw fileError("DISPOSED", this.file.path, "the dataset was closed before this use. Close it when the training is done.");
    const reading = read();
    this.reads.add(reading);
    try {
      return await reading;
    } finally {
      this.reads.delete(reading);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private async pack(i: number, packing: Packing): Promise<DatasetItem> {
    const item = { tokens: [] as number[], labels: [] as number[], starts: [] as number[] };
    for (const row of packing.rows(i)) {
      const { tokens, labels } = await this.read(row);
      item.starts.push(item.tokens.length);
      for (const token of tokens) item.tokens.push(token);
      labels.forEach((label, t) => item.labels.push(t === 0 ? ignoredLabel : label));
    }
    if (item.tokens.length !== packing.tokens(i)) throw this.file.changed();
    return item;
  }

  /** Example `i`, or what stands in for it, and the row of the file that it is. */
  private async example(i: number): Promise<{ row: number; example: PlacedExample }> {
    if (i < this.good.length) {
      const row = this.good[i] as number;
      return { row, example: await this.read(row) };
    }
    const row = this.checked + i - this.good.length;
    if (!this.isBad(row)) {
      try {
        return { row, example: await this.rendered(row) };
      } catch (error) {
        await this.skip(row, error, () => this.markBad(row));
      }
    }
    return this.example(i % this.good.length);
  }

  /** A row that was good when it was checked. */
  private async read(row: number): Promise<PlacedExample> {
    try {
      return await this.rendered(row);
    } catch (error) {
      throw error instanceof RowError ? this.file.changed() : error;
    }
  }

  private async rendered(row: number): Promise<PlacedExample> {
    const bytes = await this.file.row(row);
    await this.slices.turn();
    return this.render(bytes);
  }

  /** @throws RowError, and LowrankError where the row is not to blame */
  private render(bytes: Buffer): PlacedExample {
    const row = parseRow(bytes);
    try {
      return placeExample(row, this.tokenizer, this.rules);
    } catch (error) {
      throw rowErrorOf(error);
    }
  }

  /** Notes a bad row, if `isNew` and bad rows may be skipped; else throws. */
  private async skip(row: number, error: unknown, isNew: () => boolean = () => true): Promise<void> {
    if (!(error instanceof RowError)) throw error;
    if (!this.skips) throw await this.file.error(row, error);
    if (!isNew() || ++this.skipped.count > keptReasons) return;
    const { code, message, details } = await this.file.error(row, error);
    this.skipped.reasons.push({ line: details.line as number, code, message });
  }

  private isBad(row: number): boolean {
    return ((this.bad?.[row >>> 3] ?? 0) & (1 << (row & 7))) !== 0;
  }

  /** True the first time. */
  private markBad(row: number): boolean {
    if (this.isBad(row)) return false;
    this.bad ??= new Uint8Array(Math.ceil(this.file.length / 8));
    this.bad[row >>> 3] = (this.bad[row >>> 3] as number) | (1 << (row & 7));
    return true;
  }

  private nothingLeft(count: number): LowrankError {
    const which = count < this.file.length ? `the first ${count} rows` : `${count} row${count === 1 ? "" : "s"}`;
    const first = this.skipped.reasons[0];
    const problem = `none of ${which} can be trained. The first reason: ${first?.message}`;
    return fileError("DATA_EMPTY", this.file.path, problem, { expected: "at least one good row", actual: this.skipped });
  }

  private requireIndex(i: number): void {
    if (Number.isSafeInteger(i) && i >= 0 && i < this.length) return;
    throw new LowrankError("BAD_ARGUMENT", `The dataset has no row ${String(i)}; rows go from 0 to ${this.length - 1}.`, {
      expected: this.length,
      actual: i,
    });
  }
}
