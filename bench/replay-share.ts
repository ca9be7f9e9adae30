/**
 * @file What the steps of a language model cost JavaScript. Counted on the smallest model of the tests: calls into native code and commands of a
 * step, with recordings and op by op. Measured on a random model of the SmolLM2-135M shape: the share of a step in which the event loop is busy.
 * `npx tsx bench/replay-share.ts [--batch 4] [--tokens 256] [--steps 7] [--layers 30]`; `--steps 0` only counts.
 */
import { createRequire } from "node:module";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type Adapter, attach, type CausalLm, deviceInfo, loadModel, profile, type TokenBatch, train } from "lowrank";
import { median } from "./contenders/answer.js";
import { randomExamples, randomModel } from "./shapes.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const { values } = parseArgs({
  options: {
    batch: { type: "string", default: "4" },
    tokens: { type: "string", default: "256" },
    steps: { type: "string", default: "7" },
    layers: { type: "string", default: "30" },
  },
});

/** Calls into native code so far, by function. */
const calls = new Map<string, number>();

function countCalls(): void {
  const native = (createRequire(import.meta.url)("node-gyp-build") as (root: string) => Record<string, unknown>)(root);
  for (const [name, original] of Object.entries(native)) {
    if (typeof original !== "function") continue;
    native[name] = (...args: unknown[]) => {
      calls.set(name, (calls.get(name) ?? 0) + 1);
      return original(...args);
    };
  }
}

interface Counts {
  readonly calls: number;
  /** Put into the stream's queue. */
  readonly queued: number;
  /** Kernels that ran, those of replays included. */
  readonly kernels: number;
}

const queueing = ["submit", "write", "read", "replay", "fence"];

/** Of the third step of a training, when everything has been seen. */
async function countsOf(start: (steps: number) => AsyncIterable<{ type: string }>): Promise<Counts> {
  const countedAt: Map<string, number>[] = [];
  for await (const { type } of start(3)) if (type === "step") countedAt.push(new Map(calls));
  const [, second, third] = countedAt as [unknown, Map<string, number>, Map<string, number>];
  const during = (names: Iterable<string>): number => [...names].reduce((sum, name) => sum + (third.get(name) ?? 0) - (second.get(name) ?? 0), 0);
  const kernelsOf = async (steps: number): Promise<number> => {
    const rows = await profile(async () => {
      for await (const _ of start(steps));
    });
    return rows.length;
  };
  const kernels = (await kernelsOf(3)) - (await kernelsOf(2));
  return { calls: during(third.keys()), queued: during(queueing), kernels };
}

const attached = (model: CausalLm): Adapter => attach(model, { rank: 8, targetModules: "all-linear" });

async function count(): Promise<void> {
  const model = await loadModel(`${root}test/fixtures/llm/llama/model`);
  const examples = randomExamples(2, 32).map(({ tokens }) => {
    const small = tokens.map((id) => id % 300);
    return { tokens: small, labels: small };
  });
  const batch: TokenBatch = { tokens: examples.map(({ tokens }) => tokens), labels: examples.map(({ labels }) => labels) };
  const adapter = attached(model);
  const replayed = await countsOf((maxSteps) => train(adapter, examples, { batchSize: 2, maxSteps }));
  const eager = await countsOf((maxSteps) => train(adapter, [batch], { loss: (item) => model.loss(item), maxSteps }));
  console.log("a step of the tests' llama (2 layers), 2 rows of 32 tokens   calls into native code   commands queued   kernels run");
  for (const [name, found] of Object.entries({ "op by op": eager, replayed }))
    console.log(`${name.padEnd(60)} ${String(found.calls).padStart(22)} ${String(found.queued).padStart(17)} ${String(found.kernels).padStart(13)}`);
  adapter.dispose();
  model.dispose();
}

/** The first two steps are not counted: they record, and run cold. */
async function measure(steps: number): Promise<void> {
  const [batchSize, length, layers] = [values.batch, values.tokens, values.layers].map(Number) as [number, number, number];
  const model = randomModel(layers);
  const adapter = attached(model);
  const [shares, busy, whole]: [number[], number[], number[]] = [[], [], []];
  let last = performance.eventLoopUtilization();
  for await (const event of train(adapter, randomExamples(batchSize, length), { batchSize, maxSteps: steps + 2 })) {
    if (event.type !== "step") continue;
    const now = performance.eventLoopUtilization();
    const { active, idle } = performance.eventLoopUtilization(now, last);
    last = now;
    if (event.step <= 2) continue;
    busy.push(active);
    whole.push(active + idle);
    shares.push(active / (active + idle));
  }
  const { backend, threads } = deviceInfo();
  console.log(`${backend}, ${threads} threads: ${layers} layers, ${batchSize} rows of ${length} tokens, medians of ${steps} steps`);
  console.log(`JavaScript ${median(busy).toFixed(2)} ms of ${median(whole).toFixed(0)} ms: ${(100 * median(shares)).toFixed(3)} % of a step`);
  adapter.dispose();
  model.dispose();
}

async function main(): Promise<void> {
  countCalls();
  await count();
  const steps = Number(values.steps);
  if (steps > 0) await measure(steps);
}

main();
