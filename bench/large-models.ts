/**
 * @file Large models in little memory: a random bf16 checkpoint of a real shape is written to disk, loaded in a fresh process, and trained (rank 16 on
 * all linear layers, AdamW, gradient checkpointing, the same row in every step). `npx tsx bench/large-models.ts 1b|7b [--steps 3] [--tokens 512]
 * [--dir DIR]`. Exit code 1 where resident memory, loading included, exceeds the bound, where the planned peak is not the measured one, or where losses
 * are wrong. A folder given by --dir is kept, and used again where it is complete. Linux: numbers come from /proc/self/status.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { attach, deviceInfo, loadModel, memory, resetPeakMemory, type TrainingMemory, train } from "lowrank";
import { median } from "./contenders/answer.js";
import { proveLosses } from "./contenders/lora-step.js";
import { writeRandomCheckpoint } from "./random-checkpoint.js";
import { configText, flopsPerToken, randomExamples, type ShapeName, shapeConfig } from "./shapes.js";

interface Task {
  readonly shape: ShapeName;
  readonly quantize?: "nf4";
  /** Resident bytes that are allowed, with so many bytes of weights on the disk. */
  readonly bound: (weightBytes: number) => number;
}

const tasks: Readonly<Record<string, Task>> = {
  "1b": { shape: "Llama-3.2-1B", bound: (weightBytes) => weightBytes + 1.5e9 },
  "7b": { shape: "Llama-2-7B", quantize: "nf4", bound: () => 6.5e9 },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    steps: { type: "string", default: "3" },
    tokens: { type: "string", default: "512" },
    dir: { type: "string" },
    /** What the fresh process is told. */
    train: { type: "boolean", default: false },
  },
});
const rank = 16;
const indexFile = "model.safetensors.index.json";
const gb = (bytes: number): string => `${(bytes / 1e9).toFixed(3)} GB`;

/** A line of /proc/self/status, in bytes. */
function status(name: "VmHWM" | "VmRSS" | "RssAnon" | "RssFile"): number {
  const line = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(readFileSync("/proc/self/status", "utf8"));
  return 1024 * Number(line?.[1]);
}

/** Prints the most memory that was resident since the last call, and gives it. */
function endPhase(what: string): number {
  const peak = status("VmHWM");
  const { heapTotal, external } = process.memoryUsage();
  const { bytes, reservedBytes, peakBytes } = memory().cpu;
  console.log(`${what}: peak RSS ${gb(peak)}; now RSS ${gb(status("VmRSS"))} = RssAnon ${gb(status("RssAnon"))} + RssFile ${gb(status("RssFile"))}`);
  console.log(
    `  native ${gb(bytes)}, at most ${gb(peakBytes)}, reserved ${gb(reservedBytes)}; JavaScript heap ${gb(heapTotal)}, external ${gb(external)}`,
  );
  writeFileSync("/proc/self/clear_refs", "5"); // VmHWM starts anew
  return peak;
}

/** What holds is printed too. */
function demand(holds: boolean, what: string): void {
  console.log(`${holds ? "holds" : "DOES NOT HOLD"}: ${what}`);
  if (!holds) process.exitCode = 1;
}

async function measure({ shape, quantize, bound }: Task, folder: string): Promise<void> {
  const { metadata } = JSON.parse(readFileSync(join(folder, indexFile), "utf8")) as { metadata: { total_size: number } };
  const [steps, length] = [Number(values.steps), Number(values.tokens)];
  const config = shapeConfig(shape);
  const cost = flopsPerToken(config, rank, length);
  console.log(`${shape}, ${deviceInfo().backend}, ${deviceInfo().threads} threads, ${(cost / 1e9).toFixed(3)} GFLOP a token`);
  endPhase("started");
  let last = performance.now();
  const lap = (): number => {
    const before = last;
    last = performance.now();
    return (last - before) / 1000;
  };
  const model = await loadModel(folder, quantize === undefined ? {} : { quantize });
  console.log(`${gb(metadata.total_size)} of weights loaded in ${lap().toFixed(1)} s`);
  const peaks = [endPhase("loading")];
  const adapter = attach(model, { rank, alpha: 32, targetModules: "all-linear" });
  resetPeakMemory();
  const options = { batchSize: 1, epochs: steps, shuffle: false, gradientCheckpointing: true, learningRate: 1e-3 };
  const [losses, speeds]: [number[], number[]] = [[], []];
  let planned: TrainingMemory | undefined;
  lap();
  for await (const event of train(adapter, randomExamples(1, length, config.vocabSize), options)) {
    if (event.type === "done") planned = event.memory;
    if (event.type !== "step") continue;
    losses.push(event.loss);
    const speed = length / lap();
    speeds.push(speed);
    console.log(`step ${event.step}  loss ${event.loss.toFixed(4)}  ${speed.toFixed(2)} tokens/s  ${((speed * cost) / 1e9).toFixed(1)} GFLOP/s`);
  }
  peaks.push(endPhase("training"));
  console.log(
    Object.entries(planned ?? {})
      .map(([name, bytes]) => `${name} ${gb(bytes)}`)
      .join(", "),
  );
  proveLosses(losses, config.vocabSize);
  // The first step is left out: it records.
  const speed = median(speeds.length > 1 ? speeds.slice(1) : speeds);
  console.log(`${speed.toFixed(2)} tokens/s, ${((speed * cost) / 1e9).toFixed(1)} GFLOP/s (median)`);
  const [peak, allowed] = [Math.max(...peaks), bound(metadata.total_size)];
  demand(peak <= allowed, `peak RSS ${gb(peak)}, allowed ${gb(allowed)}`);
  demand(planned?.peakBytes === planned?.plannedBytes, `native peak ${planned?.peakBytes} bytes, planned ${planned?.plannedBytes}`);
  adapter.dispose();
  model.dispose();
}

async function main(): Promise<void> {
  const task = tasks[positionals[0] ?? ""];
  if (task === undefined) throw new Error(`name one of ${Object.keys(tasks).join(", ")}`);
  if (values.train) return measure(task, values.dir as string);
  const folder = values.dir ?? (await mkdtemp(join(tmpdir(), "lowrank-large-")));
  try {
    if (!existsSync(join(folder, indexFile))) {
      const started = performance.now();
      const bytes = await writeRandomCheckpoint(folder, configText(task.shape));
      console.log(`${gb(bytes)} of random weights written in ${((performance.now() - started) / 1000).toFixed(0)} s`);
    }
    const args = [...process.execArgv, ...process.argv.slice(1), "--train", ...(values.dir === undefined ? ["--dir", folder] : [])];
    process.exitCode = spawnSync(process.execPath, args, { stdio: "inherit" }).status ?? 1;
  } finally {
    if (values.dir === undefined) await rm(folder, { recursive: true });
  }
}

main();
