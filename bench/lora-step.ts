/**
 * @file Whole LoRA steps on a random model of the SmolLM2-135M shape (bf16, rank 16 on all linear layers): tokens per second, GFLOP/s, resident
 * memory. `npx tsx bench/lora-step.ts [--batch 4] [--tokens 256] [--steps 5] [--layers 30] [--checkpointing] [--profile]`.
 */
import { parseArgs } from "node:util";
import { attach, deviceInfo, memory, profile, train } from "lowrank";
import { flopsPerToken, randomExamples, randomModel } from "./smollm2.js";

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
  },
});

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

async function main(): Promise<void> {
  const [batchSize, length, steps, layers] = [values.batch, values.tokens, values.steps, values.layers].map(Number) as [
    number,
    number,
    number,
    number,
  ];
  const model = randomModel(layers, values.dtype as "bf16");
  const adapter = attach(model, { rank, alpha: 32, targetModules: "all-linear" });
  const cost = flopsPerToken(model.config, rank, length);
  console.log(`${deviceInfo().backend}, ${deviceInfo().threads} threads, ${(cost / 1e9).toFixed(3)} GFLOP a token`);
  const run = async (): Promise<void> => {
    const data = randomExamples(batchSize * steps, length);
    for await (const event of train(adapter, data, { batchSize, gradientCheckpointing: values.checkpointing, learningRate: 1e-4 })) {
      if (event.type !== "step") continue;
      const speed = event.tokensPerSecond as number;
      const [rss, peak] = [process.memoryUsage().rss, memory().cpu.peakBytes].map((bytes) => `${(bytes / 2 ** 30).toFixed(2)} GB`);
      console.log(
        `step ${event.step}  loss ${event.loss.toFixed(4)}  ${speed.toFixed(1)} tokens/s  ${((speed * cost) / 1e9).toFixed(1)} GFLOP/s  RSS ${rss}  native peak ${peak}`,
      );
    }
  };
  if (values.profile) printProfile(await profile(run));
  else await run();
  adapter.dispose();
  model.dispose();
}

main();
