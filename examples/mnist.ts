/**
 * @file The first example: train → evaluate → save → load into a fresh model → adapt to another task with LoRA, with Σ and with all weights
 * → save the adapter → load it → evaluate again. Run it with `npm run demo:mnist`.
 */
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import {
  type Adapter,
  type AttachOptions,
  adam,
  adamw,
  attach,
  deviceInfo,
  type EvaluationResult,
  evaluate,
  LowrankError,
  loadAdapter,
  showProgress,
  type Trainable,
  train,
} from "lowrank";
import { type ExampleData, loadData, type TrainAndTest } from "./mnist-data.js";
import { ImageBatches, Mlp } from "./mnist-model.js";
import { type ExampleOptions, readOptions, usage } from "./mnist-options.js";
import { type MethodResult, type Outcome, printTable, reportOf } from "./mnist-results.js";
import { renderReport } from "./report.js";
import { runExample } from "./run.js";

/** The three ways to adapt. Σ trains few numbers and takes large steps. */
const methods: readonly { name: string; options: AttachOptions | undefined; learningRate: number }[] = [
  { name: "all weights", options: undefined, learningRate: 1e-3 },
  { name: "LoRA r = 8", options: { method: "lora", rank: 8, alpha: 16, targetModules: "all-linear" }, learningRate: 5e-3 },
  { name: "Σ only", options: { method: "sigma", targetModules: "all-linear" }, learningRate: 5e-2 },
];

const adaptEpochs = 20;

const evaluateOn = (mlp: Mlp, { test: set }: TrainAndTest): Promise<EvaluationResult> =>
  evaluate(mlp, new ImageBatches(set, { batchSize: 500 }), { loss: (batch) => mlp.loss(batch) });

/** Trains `target` and gives its losses and the seconds it took. */
async function trainOn(label: string, mlp: Mlp, target: Trainable, set: TrainAndTest, learningRate: number, epochs: number, options: ExampleOptions) {
  const base = target === mlp && label === "base";
  const batches = new ImageBatches(set.train, {
    batchSize: 64,
    seed: options.seed,
    ...(base && options.augment !== undefined ? { augment: options.augment } : {}),
  });
  const optimizer = base && options.weightDecay > 0 ? adamw({ learningRate, weightDecay: options.weightDecay }) : adam({ learningRate });
  const losses: [number, number][] = [];
  const accuracies: [number, number][] = [];
  const started = performance.now();
  const training = train(target, batches, {
    loss: (batch) => mlp.loss(batch),
    optimizer,
    ...(base ? {} : { schedule: "cosine", warmupSteps: 20 }),
    epochs,
    shuffle: false, // the batches shuffle their images themselves
    seed: options.seed,
    evaluate: { data: new ImageBatches(set.test, { batchSize: 500 }) },
  });
  // Without a terminal one line for each training: an evaluation in each epoch would be 130 lines.
  for await (const event of process.stderr.isTTY ? showProgress(training, { label }) : training) {
    if (event.type === "step") losses.push([event.epoch, event.loss]);
    if (event.type === "eval") accuracies.push([event.epoch, event.accuracy ?? Number.NaN]);
  }
  const seconds = (performance.now() - started) / 1000;
  if (!process.stderr.isTTY)
    console.error(`${label}: ${losses.length} steps in ${seconds.toFixed(1)} s, last loss ${losses.at(-1)?.[1].toPrecision(4)}`);
  return { losses, accuracies, seconds };
}

/** SHA-256 over the base's parameters, in order: adapters must not change a bit of them. */
async function hashOf(mlp: Mlp): Promise<string> {
  const hash = createHash("sha256");
  for (const parameter of mlp.parameters().values()) hash.update(new Uint8Array((await parameter.value.data()).buffer));
  return hash.digest("hex");
}

async function bytesIn(path: string): Promise<number> {
  if ((await stat(path)).isFile()) return (await stat(path)).size;
  const sizes = await Promise.all((await readdir(path)).map(async (name) => (await stat(join(path, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

function demand(holds: boolean, what: string): void {
  if (!holds) throw new LowrankError("NATIVE_FAILURE", `The example found something wrong: ${what}`);
}

/** Trains the base, saves it, and loads it into a fresh model, which must give the same bits. */
async function trainBase(data: ExampleData, options: ExampleOptions, file: string): Promise<Outcome["base"]> {
  const mlp = new Mlp(options.dropout).initialize(options.seed);
  try {
    const run = await trainOn("base", mlp, mlp, data.base, 1e-3, options.epochs, options);
    const result = await evaluateOn(mlp, data.base);
    await mlp.save(file);
    const fresh = await new Mlp().load(file);
    const again = await evaluateOn(fresh, data.base);
    demand(again.loss === result.loss && (await hashOf(fresh)) === (await hashOf(mlp)), "the loaded model differs from the saved one");
    fresh.dispose();
    return { ...run, accuracy: result.accuracy as number, bytes: await bytesIn(file), numbers: countOf(mlp) };
  } finally {
    mlp.dispose();
  }
}

const countOf = (target: Trainable): number =>
  [...target.parameters().values()].reduce((sum, { shape }) => sum + shape.reduce((product: number, size: number) => product * size, 1), 0);

/** Adapts the saved base to a task in one way, saves what was trained, and loads it into another fresh base. */
async function adapt(
  method: (typeof methods)[number],
  task: string,
  data: ExampleData,
  options: ExampleOptions,
  folder: string,
): Promise<MethodResult> {
  const baseFile = join(folder, "base.safetensors");
  const set = data.tasks[task as keyof ExampleData["tasks"]];
  const mlp = await new Mlp().load(baseFile);
  const reloaded = await new Mlp().load(baseFile);
  try {
    const before = { old: (await evaluateOn(mlp, data.base)).accuracy as number, new: (await evaluateOn(mlp, set)).accuracy as number };
    const untouched = await hashOf(mlp);
    const shown = Array.from({ length: 10 }, (_, i) => i);
    const predictedBefore = await mlp.predict(set.test, shown);

    const adapter: Adapter | undefined = method.options && attach(mlp, { ...method.options, seed: options.seed });
    const run = await trainOn(`${task}: ${method.name}`, mlp, adapter ?? mlp, set, method.learningRate, adaptEpochs, options);
    const adapted = await evaluateOn(mlp, set);
    const after = { old: (await evaluateOn(mlp, data.base)).accuracy as number, new: adapted.accuracy as number };
    const samples = { set: set.test, shown, before: predictedBefore, after: await mlp.predict(set.test, shown) };

    const path = join(folder, `${task}-${method.name.replace(/\W+/g, "-")}`);
    await (adapter === undefined ? mlp.save(`${path}.safetensors`) : adapter.save(path));
    const file = adapter === undefined ? `${path}.safetensors` : path;
    if (adapter === undefined) await reloaded.load(file);
    else {
      demand((await hashOf(mlp)) === untouched, "the adapter changed the base");
      await loadAdapter(reloaded, file);
    }
    demand((await evaluateOn(reloaded, set)).loss === adapted.loss, `what was loaded from ${task}, ${method.name} differs from what was saved`);
    return { method: method.name, task, numbers: countOf(adapter ?? mlp), bytes: await bytesIn(file), before, after, samples, ...run };
  } finally {
    mlp.dispose();
    reloaded.dispose();
  }
}

async function main(args: readonly string[]): Promise<void> {
  const options = readOptions(args);
  if (options === "help") return console.log(usage);
  const { backend, cpu, threads } = deviceInfo();
  const data = await loadData(options.data, options.seed);
  console.log(`${data.source}; ${backend} on ${cpu}, ${threads} thread${threads > 1 ? "s" : ""}`);
  const folder = options.out ?? (await mkdtemp(join(tmpdir(), "lowrank-mnist-")));
  await mkdir(folder, { recursive: true });
  try {
    const baseFile = join(folder, "base.safetensors");
    const base = await trainBase(data, options, baseFile);
    const baseHash = createHash("sha256")
      .update(await readFile(baseFile))
      .digest("hex");
    const results: MethodResult[] = [];
    for (const task of Object.keys(data.tasks)) for (const method of methods) results.push(await adapt(method, task, data, options, folder));
    demand(
      createHash("sha256")
        .update(await readFile(baseFile))
        .digest("hex") === baseHash,
      "the base file changed",
    );
    const outcome: Outcome = { source: data.source, options, device: `${backend}, ${cpu}, ${threads} threads`, base, baseHash, results };
    console.log(`\n${printTable(outcome)}`);
    if (options.html !== undefined) {
      await mkdir(dirname(options.html), { recursive: true });
      await writeFile(options.html, renderReport(reportOf(outcome)));
      console.log(`\nwrote ${options.html}`);
    }
  } finally {
    if (options.out === undefined) await rm(folder, { recursive: true, force: true });
  }
}

await runExample(main, usage);
