/** @file A file that is much larger than what may stay in memory. */
import { open } from "node:fs/promises";
import { expect, it } from "vitest";
import { type Dataset, readExamples, renderExample } from "../../lib/text/index.js";
import { newPath, tokenizerOf } from "./dataset-kit.js";
import { failureOf } from "./failure.js";

const rowOf = (i: number): { text: string } => ({ text: `row ${i} ${"of the quiet garden ".repeat(1 + (i % 40))}` });
const collect = globalThis.gc as () => void;

/** Resident bytes that `work` adds at most, looked at every few milliseconds. */
async function growth<T>(work: () => Promise<T>): Promise<{ result: T; bytes: number }> {
  collect();
  const before = process.memoryUsage.rss();
  let peak = before;
  const watch = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage.rss());
  }, 5);
  try {
    const result = await work();
    return { result, bytes: Math.max(peak, process.memoryUsage.rss()) - before };
  } finally {
    clearInterval(watch);
  }
}

async function writeRows(path: string, size: number): Promise<number> {
  const file = await open(path, "w");
  let row = 0;
  for (let written = 0; written < size; ) {
    const lines = Array.from({ length: 2000 }, () => JSON.stringify(rowOf(row++)));
    written += (await file.write(`${lines.join("\n")}\n`)).bytesWritten;
  }
  await file.close();
  return row;
}

it("200 MB of rows are opened and read in little memory", async () => {
  const tokenizer = await tokenizerOf();
  const path = newPath();
  const rows = await writeRows(path, 200e6);
  const places = [0, 1, 1999, 2000, 16_383, 16_384, rows >> 1, rows - 1];
  const { result, bytes } = await growth(async () => {
    const data = await readExamples(path, { tokenizer }, { maxLength: 64 });
    const items = await Promise.all(places.map((i) => data.at(i)));
    return { data, items };
  });
  expect(bytes).toBeLessThan(150e6);
  expect(result.data.length).toBe(rows);
  expect(result.items.map(({ tokens }) => tokens)).toEqual(places.map((i) => renderExample(rowOf(i), tokenizer, { maxLength: 64 }).tokens));
  expect(await result.data.sample(rows - 1, { color: false })).toMatch(`row ${rows - 1}, line ${rows}: `);
  await result.data.close();
});

/** 300 MB of one byte between two texts, made without writing them. */
async function writeHole(path: string, before: string, after: string): Promise<void> {
  const file = await open(path, "w");
  await file.write(before);
  await file.write(after, 300e6);
  await file.close();
}

it("one line of 300 MB is refused in little memory", async () => {
  const model = { tokenizer: await tokenizerOf() };
  const path = newPath();
  await writeHole(path, '{"text":"a b"}\n{"text":"', '"}\n{"text":"a b"}\n');
  const { result, bytes } = await growth(() => failureOf(() => readExamples(path, model)));
  expect(bytes).toBeLessThan(150e6);
  expect([result.code, result.details.line, result.details.offset]).toEqual(["DATA_ROW_TOO_LARGE", 2, 15]);
  const skipping = await growth(async (): Promise<Dataset> => readExamples(path, model, { onBadRow: "skip" }));
  expect(skipping.bytes).toBeLessThan(150e6);
  expect(skipping.result.length).toBe(2);
  expect(skipping.result.skipped.reasons).toMatchObject([{ line: 2, code: "DATA_ROW_TOO_LARGE" }]);
  await skipping.result.close();
});

it("an array of 300 MB in one line is named as such", async () => {
  const path = newPath();
  await writeHole(path, '[{"text":"', '"}]');
  expect((await failureOf(async () => readExamples(path, { tokenizer: await tokenizerOf() }))).code).toBe("DATA_NOT_JSONL");
});

it("a million short rows take 8 bytes each", async () => {
  const path = newPath();
  const file = await open(path, "w");
  for (let k = 0; k < 100; k++) await file.write('{"text":"a b"}\n'.repeat(10_000));
  await file.close();
  const model = { tokenizer: await tokenizerOf() };
  collect();
  const before = process.memoryUsage().arrayBuffers;
  const data = await readExamples(path, model);
  collect();
  expect(data.length).toBe(1_000_000);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * 1_000_000 + 2e6);
  expect((await data.at(999_999)).tokens).toEqual((await data.at(0)).tokens);
  await data.close();
});
