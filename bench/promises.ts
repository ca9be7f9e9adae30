/**
 * @file `npm run promises`: what is promised about time, measured. Aborts of a training on a random model of the SmolLM2-135M shape (latency; the
 * weights must be those of the last complete step), and the delay of the event loop while a model is loaded, trained and saved, less the delay of an
 * idle loop; and the start: a fresh process that imports dist/, loads the bundled model and computes one gradient, less a process that does nothing.
 * Prints distributions; fails only when weights are wrong. `-- [--aborts 100] [--seconds 60]`.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type Adapter, attach, type CausalLm, loadModel, train } from "lowrank";
import { configText, randomExamples, randomModel } from "./shapes.js";

const { values } = parseArgs({ options: { aborts: { type: "string", default: "100" }, seconds: { type: "string", default: "60" } } });
const [aborts, seconds] = [Number(values.aborts), Number(values.seconds)];
const settings = { batchSize: 1, learningRate: 1e-3, seed: 3, shuffle: false } as const;
const data = randomExamples(4, 128);

async function hashOf(adapter: Adapter): Promise<string> {
  const hash = createHash("sha256");
  for (const parameter of adapter.parameters().values()) hash.update(new Uint8Array(((await parameter.value.data()) as Float32Array).buffer));
  return hash.digest("hex");
}

const fresh = (model: CausalLm): Adapter => attach(model, { rank: 16, alpha: 32, targetModules: "all-linear", seed: 5 });

function percentiles(what: string, numbers: readonly number[], unit: string): void {
  const sorted = [...numbers].sort((a, b) => a - b);
  const at = (share: number): string => (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] as number).toFixed(1);
  console.log(`${what}: median ${at(0.5)}, p90 ${at(0.9)}, p99 ${at(0.99)}, most ${at(1)} ${unit} (${sorted.length})`);
}

/** Hashes after 0, 1, … steps, and the milliseconds of a training that nobody watches. */
async function uninterrupted(model: CausalLm): Promise<{ hashes: string[]; duration: number }> {
  const watched = fresh(model);
  const hashes = [await hashOf(watched)];
  for await (const event of train(watched, data, settings)) if (event.type === "step") hashes.push(await hashOf(watched));
  watched.dispose();
  const adapter = fresh(model);
  const started = performance.now();
  await train(adapter, data, settings).finished;
  const duration = performance.now() - started;
  adapter.dispose();
  return { hashes, duration };
}

/** Undefined where the training ended before the abort. */
async function abortOnce(model: CausalLm, after: number): Promise<{ latency: number; steps: number; hash: string } | undefined> {
  const adapter = fresh(model);
  const controller = new AbortController();
  let steps = 0;
  let abortedAt: number | undefined;
  const timer = setTimeout(() => {
    abortedAt = performance.now();
    controller.abort();
  }, after);
  try {
    for await (const event of train(adapter, data, { ...settings, signal: controller.signal })) if (event.type === "step") steps = event.step;
  } catch (error) {
    if ((error as { code?: string }).code !== "ABORTED") throw error;
  }
  const ended = performance.now();
  clearTimeout(timer);
  const hash = await hashOf(adapter);
  adapter.dispose();
  return abortedAt === undefined ? undefined : { latency: ended - abortedAt, steps, hash };
}

async function measureAborts(): Promise<boolean> {
  const model = randomModel();
  const { hashes, duration } = await uninterrupted(model);
  const latencies: number[] = [];
  let wrong = 0;
  for (let i = 0; latencies.length < aborts; i++) {
    // Low-discrepancy times over nine tenths of the whole training.
    const aborted = await abortOnce(model, ((i * 0.618_034) % 1) * 0.9 * duration);
    if (aborted === undefined) continue;
    latencies.push(aborted.latency);
    if (aborted.hash !== hashes[aborted.steps]) wrong++;
  }
  percentiles("abort to rejection (promise: p99 below 250 ms)", latencies, "ms");
  console.log(`weights that are not those of the last complete step: ${wrong} of ${aborts}`);
  model.dispose();
  return wrong === 0;
}

interface Delays {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** The delays of the event loop while `work` runs, in milliseconds. */
async function delaysOf<T>(work: () => Promise<T>): Promise<{ delays: Delays; result: T }> {
  const monitor = monitorEventLoopDelay({ resolution: 1 });
  monitor.enable();
  const result = await work();
  // The monitor notices a stall when its own timer runs: give it that turn.
  await new Promise((resolve) => setTimeout(resolve, 2));
  monitor.disable();
  return { delays: { p50: monitor.percentile(50) / 1e6, p99: monitor.percentile(99) / 1e6, max: monitor.max / 1e6 }, result };
}

function printDelays(what: string, { p50, p99, max }: Delays): void {
  console.log(`event loop, ${what}: median ${p50.toFixed(2)}, p99 ${p99.toFixed(2)}, most ${max.toFixed(1)} ms`);
}

/** Loading, training and saving, each printed by itself: a stall shows where it is. */
async function workOf(folder: string): Promise<void> {
  const load = await delaysOf(async () => {
    const model = await loadModel(folder);
    return { model, adapter: fresh(model) };
  });
  const { model, adapter } = load.result;
  const started = performance.now();
  const training = await delaysOf(async () => {
    for await (const _ of train(adapter, randomExamples(16, 256), { batchSize: 4, epochs: 1000 }))
      if (performance.now() - started > seconds * 1000) break;
  });
  const save = await delaysOf(() => adapter.save(join(folder, "adapter")));
  adapter.dispose();
  model.dispose();
  printDelays("load and attach", load.delays);
  printDelays("train", training.delays);
  printDelays("save", save.delays);
}

async function measureEventLoop(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "lowrank-promises-"));
  try {
    const made = randomModel();
    await made.save(join(folder, "model.safetensors"));
    await writeFile(join(folder, "config.json"), configText("SmolLM2-135M"));
    made.dispose();
    const { delays: idle } = await delaysOf(() => new Promise((resolve) => setTimeout(resolve, 5000)));
    const { delays: busy } = await delaysOf(() => workOf(folder));
    printDelays("idle", idle);
    printDelays("load, train and save", busy);
    console.log(`p99 less idle (promise: below 20 ms): ${(busy.p99 - idle.p99).toFixed(2)} ms`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const firstGradient = `
  import { attach, bundledModel, loadModel, valueAndGrad } from "lowrank";
  const model = await loadModel(bundledModel);
  const adapter = attach(model, { rank: 8, alpha: 16, targetModules: "all-linear" });
  const tokens = model.tokenizer.encode("The cat sees the bird.");
  valueAndGrad(() => model.loss({ tokens: [tokens], labels: [tokens] }));
  for (const { grad } of adapter.parameters().values())
    if (!(await grad.data()).every(Number.isFinite)) throw new Error("the gradient is not finite");`;

/** Milliseconds of a process of its own, by the clock on the wall. */
function durationOf(program: string): number {
  const started = performance.now();
  execFileSync(process.execPath, ["--input-type=module", "--eval", program], { cwd: fileURLToPath(new URL("..", import.meta.url)) });
  return performance.now() - started;
}

function measureStart(): void {
  const runs = Array.from({ length: 21 }, () => durationOf(firstGradient) - durationOf(""));
  percentiles("start to first gradient, less an empty program (promise: median below 110 ms)", runs, "ms");
}

async function main(): Promise<void> {
  measureStart();
  const right = await measureAborts();
  await measureEventLoop();
  process.exitCode = right ? 0 : 1;
}

main();
