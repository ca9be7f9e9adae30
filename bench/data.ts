/**
 * @file How long a large JSONL file takes to open, and how much memory.
 *
 *     npx tsx --expose-gc bench/data.ts [--gb 2] [--model DIR] [--packing] [--json]
 *
 * Writes a file into the temporary folder, lets a fresh process open it and read the first row and 1,000 others, and removes it. The rows
 * are checked against what they were written from. `stallMs`: how long opening held the event
 * loop at most, and in 99 of 100 turns.
 */
import { execFile } from "node:child_process";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
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

interface Result {
  readonly rows: number;
  readonly indexSeconds: number;
  readonly openSeconds: number;
  readonly firstRowSeconds: number;
  readonly thousandRowsSeconds: number;
  readonly stallMs: number;
  readonly stall99Ms: number;
  readonly rssGrowthMb: number;
  /** What of it is on V8's heap after a collection. */
  readonly heapGrowthMb: number;
}

async function measure(path: string, model: string, packing: boolean): Promise<Result> {
  const tokenizer = await loadTokenizer(model);
  for (let i = 0; i < 200; i++) renderExample(rowOf(i), tokenizer);
  globalThis.gc?.();
  const before = process.memoryUsage();
  let peak = before.rss;
  const look = (): void => {
    peak = Math.max(peak, process.memoryUsage().rss);
  };
  const watch = setInterval(look, 20);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const started = performance.now();
  const seconds = (): number => (performance.now() - started) / 1000;
  let indexSeconds = Number.NaN;
  const onProgress = ({ stage, done, total }: { stage: string; done: number; total: number }): void => {
    if (stage === "index" && done === total) indexSeconds = seconds();
  };
  const data = await readExamples(path, { tokenizer }, { maxLength: 512, packing, onProgress });
  const openSeconds = seconds();
  delay.disable();
  await data.at(0);
  const firstRowSeconds = seconds();
  for (let k = 0; k < 1000; k++) {
    const i = (k * 7919 * 997) % data.length;
    const { tokens } = await data.at(i);
    if (packing || tokens.join() === renderExample(rowOf(i), tokenizer, { maxLength: 512 }).tokens.join()) continue;
    throw new Error(`row ${i} is not what was written`);
  }
  const thousandRowsSeconds = seconds() - firstRowSeconds;
  clearInterval(watch);
  look();
  globalThis.gc?.();
  const heapGrowthMb = mb(process.memoryUsage().heapUsed - before.heapUsed);
  await data.close();
  const times = { indexSeconds, openSeconds, firstRowSeconds, thousandRowsSeconds };
  return {
    rows: data.examples,
    ...times,
    stallMs: delay.max / 1e6,
    stall99Ms: delay.percentile(99) / 1e6,
    rssGrowthMb: mb(peak - before.rss),
    heapGrowthMb,
  };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      gb: { type: "string", default: "2" },
      model: { type: "string", default: fileURLToPath(new URL("../test/fixtures/text/llama3-style", import.meta.url)) },
      packing: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      file: { type: "string" },
    },
  });
  if (values.file !== undefined) {
    console.log(JSON.stringify(await measure(values.file, values.model, values.packing)));
    return;
  }
  const folder = await mkdtemp(join(tmpdir(), "lowrank-data-"));
  try {
    const path = join(folder, "rows.jsonl");
    const rows = await writeRows(path, Number(values.gb) * 1e9);
    const args = [fileURLToPath(import.meta.url), "--file", path, "--model", values.model, ...(values.packing ? ["--packing"] : [])];
    const { stdout } = await promisify(execFile)(process.execPath, [...process.execArgv, ...args]);
    const result = JSON.parse(stdout) as Result;
    if (result.rows !== rows) throw new Error(`${result.rows} examples of ${rows}`);
    if (values.json) console.log(stdout.trim());
    else console.table(result);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
