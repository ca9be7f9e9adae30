/** @file JSONL files for the tests of datasets. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { type Dataset, type DatasetItem, ignoredLabel, loadTokenizer, type ReadOptions, readExamples, type Tokenizer } from "../../lib/text/index.js";
import { folder, type Style, text } from "./golden.js";

const made = mkdtempSync(join(tmpdir(), "lowrank-dataset-"));
afterAll(() => rmSync(made, { recursive: true, force: true }));
let count = 0;

/** Writes a file, by default of three good rows; gives its path. */
export function file(contents: string | Uint8Array, name = `rows-${count++}.jsonl`): string {
  const path = join(made, name);
  writeFileSync(path, contents);
  return path;
}

export const newPath = (): string => join(made, `rows-${count++}.jsonl`);
export const temporaryFolder = made;

export const lines = (...rows: readonly unknown[]): string => rows.map((row) => `${typeof row === "string" ? row : JSON.stringify(row)}\n`).join("");

const tokenizers = new Map<Style, Promise<Tokenizer>>();
export function tokenizerOf(style: Style = "gpt2-style"): Promise<Tokenizer> {
  const known = tokenizers.get(style) ?? loadTokenizer(folder(style));
  tokenizers.set(style, known);
  return known;
}

/** The tokenizer of a golden folder with chat templates by name. */
export function withTemplates(style: Style, templates: string | readonly { name: string; template: string }[]): Promise<Tokenizer> {
  const config = JSON.parse(text(style, "tokenizer_config.json")) as Record<string, unknown>;
  return loadTokenizer({
    "tokenizer.json": text(style, "tokenizer.json"),
    "tokenizer_config.json": JSON.stringify({ ...config, chat_template: templates }),
  });
}

/** Opens a dataset of these contents, runs `use`, closes it. */
export async function withData<T>(
  contents: string | Uint8Array,
  options: ReadOptions & { readonly tokenizer?: Tokenizer },
  use: (data: Dataset, path: string) => T | Promise<T>,
): Promise<T> {
  const { tokenizer = await tokenizerOf(), ...rest } = options;
  const path = file(contents);
  const data = await readExamples(path, { tokenizer }, rest);
  try {
    return await use(data, path);
  } finally {
    await data.close();
  }
}

export async function all(data: Dataset): Promise<DatasetItem[]> {
  const items: DatasetItem[] = [];
  for (let i = 0; i < data.length; i++) items.push(await data.at(i));
  return items;
}

/** Labels of an example that stands anywhere in a pack. */
export const packedLabels = (labels: readonly number[]): number[] => labels.map((label, t) => (t === 0 ? ignoredLabel : label));
