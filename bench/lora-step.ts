/**
 * @file Whole LoRA steps on a random model of the SmolLM2-135M shape (rank 16 on all linear layers, AdamW, the same rows in every step): tokens per
 * second, GFLOP/s, resident memory. `npx tsx bench/lora-step.ts [--batch 4] [--tokens 256] [--steps 5] [--layers 30] [--dtype bf16]
 * [--checkpointing] [--profile]`. For `npm run compare`: `--write DIR` only writes the model and its adapter, `--model DIR` trains those, `--json`
 * prints one line of JSON, `--threads N` is an error where LOWRANK_NUM_THREADS decides otherwise. The first step is left out of medians: it records.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Adapter, attach, type CausalLm, deviceInfo, loadAdapter, loadModel, memory, profile, train, version } from "lowrank";
import { type Answer, median } from "./contenders/answer.js";
import { proveLosses } from "./contenders/lora-step.js";
import { ownThreads } from "./own-threads.js";
import { configText, flopsPerToken, randomExamples, randomModel } from "./shapes.js";

const rank = 16;
const { values } = parseArgs({
  options: {
    batch: { type: "string", default: "4" },
    tokens: { type: "string", default: "256" },
    steps: { type: "string", default: "5" },
    layers: { type: "string", default: "30" },
    dtype: { type: "string", default: "bf16" },
    checkpointing: { type: "boolean", default: false },
    profile: { type: "boolean", default: false },
    model: { type: "string" },
    write: { type: "string" },
    json: { type: "boolean", default: false },
    threads: { type: "string" },
  },
});
const dtype = values.dtype as "bf16";
const [batchSize, length, steps, layers] = [values.batch, values.tokens, values.steps, values.layers].map(Number) as [number, number, number, number];

function printProfile(rows: Awaited<ReturnType<typeof profile>>): void {
  const byKernel = new Map<string, { ns: number; flops: number; calls: number }>();
  for (const { kernel, ns, flops } of rows) {
    const row = byKernel.get(kernel) ?? { ns: 0, flops: 0, calls: 0 };
    byKernel.set(kernel, { ns: row.ns + ns, flops: row.flops + flops, calls: row.calls + 1 });
  }
  const total = [...byKernel.values()].reduce((sum, { ns }) => sum + ns, 0);
  for (const [kernel, { ns, flops, calls }] of [...byKernel].sort(([, a], [, b]) => b.ns - a.ns)) {
    const share = ((100 * ns) / total).toFixed(1).padStart(5);
    console.log(
      `${kernel.padEnd(22)} ${share} %  ${(ns / 1e6).toFixed(1).padStart(9)} ms  ${(flops / ns).toFixed(1).padStart(6)} GFLOP/s  ${calls} calls`,
    );
  }
}

interface Task {
  readonly model: CausalLm;
  readonly adapter: Adapter;
}

async function task(): Promise<Task> {
  const model = values.model === undefined ? randomModel(layers, dtype) : await loadModel(values.model, { dtype });
  const adapter =
    values.model === undefined
      ? attach(model, { rank, alpha: 32, targetModules: "all-linear" })
      : await loadAdapter(model, join(values.model, "adapter"));
  return { model, adapter };
}

/** A folder that transformers and PEFT load too. */
async function write({ model, adapter }: Task, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "config.json"), configText("SmolLM2-135M", layers));
  await adapter.save(join(folder, "adapter"));
  adapter.detach();
  await model.save(join(folder, "model.safetensors"));
}

/** Trains; `onStep` is told the loss, and tokens per second by the clock on the wall. */
async function run({ adapter }: Task, onStep: (step: number, loss: number, speed: number) => void): Promise<void> {
  const data = randomExamples(batchSize, length);
  const options = { batchSize, epochs: steps, shuffle: false, gradientCheckpointing: values.checkpointing, learningRate: 1e-3 };
  let last = performance.now();
  for await (const event of train(adapter, data, options)) {
    if (event.type !== "step") continue;
    const now = performance.now();
    onStep(event.step, event.loss, (1000 * batchSize * length) / (now - last));
    last = now;
  }
}

function print(cost: number): (step: number, loss: number, speed: number) => void {
  return (step, loss, speed) => {
    const [rss, peak] = [process.memoryUsage().rss, memory().cpu.peakBytes].map((bytes) => `${(bytes / 2 ** 30).toFixed(2)} GB`);
    const rate = `${speed.toFixed(1)} tokens/s  ${((speed * cost) / 1e9).toFixed(1)} GFLOP/s`;
    console.log(`step ${step}  loss ${loss.toFixed(4)}  ${rate}  RSS ${rss}  native peak ${peak}`);
  };
}

async function answer(made: Task, cost: number): Promise<Answer> {
  const losses: number[] = [];
  const speeds: number[] = [];
  await run(made, (_, loss, speed) => {
    losses.push(loss);
    speeds.push(speed);
  });
  proveLosses(losses, made.model.config.vocabSize);
  const value = median(speeds.slice(1));
  const { backend, threads } = deviceInfo();
  return {
    contender: "lowrank",
    work: "lora-step",
    threads,
    unit: "tokens/s",
    value,
    samples: steps - 1,
    gflops: (value * cost) / 1e9,
    losses,
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
    versions: { lowrank: version, backend, node: process.versions.node },
  };
}

async function main(): Promise<void> {
  if (values.threads !== undefined) ownThreads(Number(values.threads));
  const made = await task();
  const cost = flopsPerToken(made.model.config, rank, length);
  if (values.write !== undefined) await write(made, values.write);
  else if (values.json) console.log(JSON.stringify(await answer(made, cost)));
  else {
    console.log(`${deviceInfo().backend}, ${deviceInfo().threads} threads, ${(cost / 1e9).toFixed(3)} GFLOP a token`);
    if (values.profile) printProfile(await profile(() => run(made, print(cost))));
    else await run(made, print(cost));
  }
  made.adapter.dispose();
  made.model.dispose();
}

main();
