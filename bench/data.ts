/**
 * @file How long a large JSONL file takes to open, and how much memory.
 *
 *     npx tsx --expose-gc bench/data.ts [--gb 2] [--model DIR] [--packing] [--json]
 *
 * Writes a file of conversations into the temporary folder, opens it in a fresh state, reads the first row and 1,000 random ones, and
 * removes it. The rows are checked against what they were written from. `stallMs` is the longest time that the event loop was held.
 */
import { randomBytes } from "node:crypto";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { loadTokenizer, readExamples, renderExample, type TrainingRow } from "../lib/text/index.js";

const words = "every old lamp keeps the quiet song again and cat sees garden while rain falls on warm stone".split(" ");

/** Row `i` of the file: a text of some 100 to 900 bytes, the same each time. */
function rowOf(i: number): TrainingRow {
  const count = 15 + ((Math.imul(i, 2654435761) >>> 0) % 150);
  const text = Array.from({ length: count }, (_, k) => words[(Math.imul(i * 31 + k, 40503) >>> 5) % words.length]).join(" ");
  return i % 2 === 0 ? { text } : { prompt: `Question ${i}: `, completion: text };
}

/** Writes at least `size` bytes; gives the number of rows. */
async function writeRows(path: string, size: number): Promise<number> {
  const file = await open(path, "w");
  let rows = 0;
  try {
    for (let written = 0; written < size; ) {
      const lines: string[] = [];
      for (let k = 0; k < 4096; k++) lines.push(JSON.stringify(rowOf(rows++)));
      written += (await file.write(`${lines.join("\n")}\n`)).bytesWritten;
    }
  } finally {
    await file.close();
  }
  return rows;
}

const mb = (bytes: number): number => Math.round(bytes / 1e5) / 10;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { gb: { type: "string", default: "2" }, model: { type: "string" }, packing: { type: "boolean" }, json: { type: "boolean" } },
  });
  const model = values.model ?? fileURLToPath(new URL("../test/fixtures/text/llama3-style", import.meta.url));
  const folder = await mkdtemp(join(tmpdir(), "lowrank-data-"));
  try {
    const path = join(folder, `${randomBytes(4).toString("hex")}.jsonl`);
    const rows = await writeRows(path, Number(values.gb) * 1e9);
    const tokenizer = await loadTokenizer(model);
    const options = { maxLength: 512, ...(values.packing && { packing: true }) };
    globalThis.gc?.();
    const before = process.memoryUsage().rss;
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    let peak = before;
    const watch = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().rss);
    }, 20);
    const started = performance.now();
    let indexed = Number.NaN;
    const onProgress = ({ stage, done, total }: { stage: string; done: number; total: number }): void => {
      if (stage === "index" && done === total) indexed = performance.now() - started;
    };
    const data = await readExamples(path, { tokenizer }, { ...options, onProgress });
    const opened = performance.now() - started;
    await data.at(0);
    const first = performance.now() - started;
    for (let k = 0; k < 1000; k++) {
      const i = (k * 7919 * 997) % data.length;
      const { tokens } = await data.at(i);
      if (values.packing || JSON.stringify(tokens) === JSON.stringify(renderExample(rowOf(i), tokenizer, { maxLength: 512 }).tokens)) continue;
      throw new Error(`row ${i} is not what was written`);
    }
    const thousand = performance.now() - started - first;
    clearInterval(watch);
    delay.disable();
    peak = Math.max(peak, process.memoryUsage().rss);
    if (data.examples !== rows) throw new Error(`${data.examples} examples of ${rows}`);
    await data.close();
    const result = {
      rows,
      length: data.length,
      indexSeconds: indexed / 1000,
      openSeconds: opened / 1000,
      firstRowSeconds: first / 1000,
      thousandRowsSeconds: thousand / 1000,
      stallMs: delay.max / 1e6,
      rssGrowthMb: mb(peak - before),
    };
    if (values.json) console.log(JSON.stringify(result));
    else console.table(result);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
