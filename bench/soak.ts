/**
 * @file A long training that must not grow: the 784-256-10 network for many steps, with evaluation, save and load at intervals.
 *
 *     npm run soak -- [--steps 50000] [--every 1000] [--json]
 *
 * Live tensors and bytes must be the same at every step boundary; the resident memory is reported with its Theil–Sen slope.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { adam, deviceInfo, evaluate, memory, train } from "lowrank";
import { digitSets, digits } from "../examples/digits.js";
import { ImageBatches, Mlp } from "../examples/mnist-model.js";

/** Median slope over all pairs of points, and so insensitive to outliers (Theil 1950, Sen 1968). */
export function theilSen(points: readonly (readonly [x: number, y: number])[]): number {
  const slopes: number[] = [];
  for (let i = 0; i < points.length; i++) {
    for (let j = i + 1; j < points.length; j++) {
      const [[x0, y0], [x1, y1]] = [points[i] as [number, number], points[j] as [number, number]];
      slopes.push((y1 - y0) / (x1 - x0));
    }
  }
  slopes.sort((a, b) => a - b);
  return slopes.length === 0 ? 0 : (slopes[Math.floor(slopes.length / 2)] as number);
}

export interface SoakResult {
  readonly device: string;
  readonly steps: number;
  readonly seconds: number;
  /** Distinct counts of live tensors and bytes seen at step boundaries; one each when nothing leaks. */
  readonly tensors: readonly number[];
  readonly bytes: readonly number[];
  /** What the pool took from the system between the second interval's end and the last one's. */
  readonly reservedGrowth: number;
  /** Slope of the resident memory times the number of steps, from `warmup` on, in MB. */
  readonly rssGrowthMb: number;
  readonly rssMb: readonly [lowest: number, highest: number];
  readonly accuracy: number;
}

export async function soak(steps: number, every: number): Promise<SoakResult> {
  const folder = await mkdtemp(join(tmpdir(), "lowrank-soak-"));
  const file = join(folder, "model.safetensors");
  const batches = new ImageBatches(digits({ seed: 1, ...digitSets.baseTrain }), { batchSize: 64, seed: 1 });
  const test = new ImageBatches(digits({ seed: 1, ...digitSets.baseTest }), { batchSize: 500 });
  const model = new Mlp(0.1).initialize(1);
  const loss = (batch: Parameters<Mlp["loss"]>[0]) => model.loss(batch);
  const counts = { tensors: new Set<number>(), bytes: new Set<number>() };
  const resident: [number, number][] = [];
  const reserved: number[] = [];
  const warmup = Math.min(1000, Math.floor(steps / 10));
  let accuracy = Number.NaN;
  const started = performance.now();
  try {
    for await (const event of train(model, batches, { loss, optimizer: adam(), maxSteps: steps, shuffle: false })) {
      if (event.type !== "step") continue;
      if (event.step % every === 0) {
        accuracy = (await evaluate(model, test, { loss })).accuracy ?? Number.NaN;
        await model.save(file);
        (await new Mlp().load(file)).dispose();
        reserved.push(memory().cpu.reservedBytes);
      }
      if (event.step <= 10) continue;
      const now = memory().cpu;
      counts.tensors.add(now.tensors);
      counts.bytes.add(now.bytes);
      if (event.step >= warmup && event.step % Math.max(1, Math.floor(every / 10)) === 0)
        resident.push([event.step, process.memoryUsage.rss() / 1e6]);
    }
  } finally {
    model.dispose();
    await rm(folder, { recursive: true, force: true });
  }
  const { backend, cpu, threads } = deviceInfo();
  const sizes = resident.map(([, size]) => size);
  return {
    device: `${backend}, ${cpu}, ${threads} threads`,
    steps,
    seconds: (performance.now() - started) / 1000,
    tensors: [...counts.tensors],
    bytes: [...counts.bytes],
    reservedGrowth: (reserved.at(-1) ?? 0) - (reserved[1] ?? 0),
    rssGrowthMb: theilSen(resident.length > 400 ? resident.filter((_, i) => i % Math.ceil(resident.length / 400) === 0) : resident) * steps,
    rssMb: [Math.min(...sizes), Math.max(...sizes)],
    accuracy,
  };
}

if (process.argv[1]?.endsWith("soak.ts")) {
  const { values } = parseArgs({
    options: { steps: { type: "string", default: "50000" }, every: { type: "string", default: "1000" }, json: { type: "boolean", default: false } },
  });
  const result = await soak(Number(values.steps), Number(values.every));
  console.log(values.json ? JSON.stringify(result) : result);
  if (result.tensors.length !== 1 || result.bytes.length !== 1 || result.reservedGrowth !== 0 || result.rssGrowthMb > 8) process.exitCode = 1;
}
