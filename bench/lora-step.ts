/**
 * @file Whole LoRA steps on a random model of the SmolLM2-135M shape (bf16, rank 16 on all linear layers): tokens per second, GFLOP/s as the
 * CPU issue counts them, resident memory. `npx tsx bench/lora-step.ts [--batch 4] [--tokens 256] [--steps 5] [--checkpointing] [--profile]`.
 */
import { parseArgs } from "node:util";
import { attach, CausalLm, deviceInfo, memory, parseModelConfig, profile, train } from "lowrank";

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
const [batch, length, steps, layers] = [values.batch, values.tokens, values.steps, values.layers].map(Number) as [number, number, number, number];
const rank = 16;

/** SmolLM2-135M's. */
const shape = { hidden: 576, feedForward: 1536, heads: 9, kvHeads: 3, headDim: 64, vocabulary: 49_152 };
const config = parseModelConfig(
  new TextEncoder().encode(
    JSON.stringify({
      model_type: "llama",
      hidden_size: shape.hidden,
      intermediate_size: shape.feedForward,
      num_hidden_layers: layers,
      num_attention_heads: shape.heads,
      num_key_value_heads: shape.kvHeads,
      vocab_size: shape.vocabulary,
      max_position_embeddings: 8192,
      rope_theta: 100_000,
      tie_word_embeddings: true,
    }),
  ),
  "config.json",
);

/** 4·P + 6·r·Σ(I + O) + 14·K·H·L·(T + 1)/2 a token; P: weights of all linear layers and the head. */
function flopsPerToken(): number {
  const { hidden: d, feedForward: f, heads, kvHeads, headDim: k, vocabulary } = shape;
  const linears = [
    [d, heads * k],
    [d, kvHeads * k],
    [d, kvHeads * k],
    [heads * k, d],
    [d, f],
    [d, f],
    [f, d],
  ] as const;
  const weights = layers * linears.reduce((sum, [i, o]) => sum + i * o, 0) + d * vocabulary;
  const sides = layers * linears.reduce((sum, [i, o]) => sum + i + o, 0);
  return 4 * weights + 6 * rank * sides + (14 * k * heads * layers * (length + 1)) / 2;
}

async function main(): Promise<void> {
  const model = new CausalLm(config, { dtype: values.dtype as "bf16" }).initialize(1);
  const adapter = attach(model, { rank, alpha: 32, targetModules: "all-linear" });
  const example = (i: number) => {
    const tokens = Array.from({ length }, (_, t) => (t * 7919 + i * 104_729) % shape.vocabulary);
    return { tokens, labels: tokens };
  };
  const data = { length: batch * steps, at: (i: number) => example(i) };
  const run = async (): Promise<void> => {
    for await (const event of train(adapter, data, { batchSize: batch, gradientCheckpointing: values.checkpointing, learningRate: 1e-4 })) {
      if (event.type !== "step") continue;
      const speed = event.tokensPerSecond as number;
      const gflops = (speed * flopsPerToken()) / 1e9;
      const rss = process.memoryUsage().rss / 2 ** 30;
      console.log(
        `step ${event.step}  loss ${event.loss.toFixed(4)}  ${speed.toFixed(1)} tokens/s  ${gflops.toFixed(1)} GFLOP/s  RSS ${rss.toFixed(2)} GB  peak ${(memory().cpu.peakBytes / 2 ** 30).toFixed(2)} GB`,
      );
    }
  };
  console.log(`${deviceInfo().backend}, ${flopsPerToken() / 1e9} GFLOP a token`);
  if (!values.profile) await run();
  else {
    const byKernel = new Map<string, { ns: number; flops: number; calls: number }>();
    for (const { kernel, ns, flops } of await profile(run)) {
      const row = byKernel.get(kernel) ?? { ns: 0, flops: 0, calls: 0 };
      byKernel.set(kernel, { ns: row.ns + ns, flops: row.flops + flops, calls: row.calls + 1 });
    }
    const total = [...byKernel.values()].reduce((sum, { ns }) => sum + ns, 0);
    for (const [kernel, { ns, flops, calls }] of [...byKernel].sort(([, a], [, b]) => b.ns - a.ns)) {
      console.log(
        `${kernel.padEnd(26)} ${((100 * ns) / total).toFixed(1).padStart(5)} %  ${(ns / 1e6).toFixed(1).padStart(9)} ms  ${(flops / ns).toFixed(1).padStart(7)} GFLOP/s  ${calls} calls`,
      );
    }
  }
  adapter.dispose();
  model.dispose();
}

main();
