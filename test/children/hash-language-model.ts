/** @file One step of LoRA on a small language model, large enough to be shared between threads; prints SHA-256 of loss and gradients. */
import { createHash } from "node:crypto";
import { attach, CausalLm, deviceInfo, parseModelConfig, type Tensor, valueAndGrad } from "../../lib/index.js";

const config = parseModelConfig(
  new TextEncoder().encode(
    JSON.stringify({
      model_type: "qwen3",
      hidden_size: 96,
      intermediate_size: 200,
      num_hidden_layers: 2,
      num_attention_heads: 6,
      num_key_value_heads: 2,
      head_dim: 32,
      vocab_size: 5003,
      tie_word_embeddings: true,
    }),
  ),
  "config.json",
);

async function step(seed: number): Promise<string> {
  const model = new CausalLm(config, { dtype: "bf16" }).initialize(seed);
  const adapter = attach(model, { rank: 8, targetModules: "all-linear", seed });
  const rows = [131, 77, 200].map((length, r) => Array.from({ length }, (_, t) => (t * 37 + r * 101 + seed) % 5003));
  const loss = valueAndGrad(() => model.loss({ tokens: rows, labels: rows }));
  const hash = createHash("sha256");
  for (const tensor of [loss, ...[...adapter.parameters().values()].map(({ grad }) => grad as Tensor)])
    hash.update(new Uint8Array(((await tensor.data()) as Float32Array).buffer));
  loss.dispose();
  adapter.dispose();
  model.dispose();
  return hash.digest("hex");
}

async function main(): Promise<void> {
  const { threads, backend } = deviceInfo();
  const hashes = [await step(1), await step(2), await step(1), await step(2)];
  console.log(JSON.stringify({ threads, backend, hashes }));
}

main();
