/**
 * @file Trains an adapter for five steps on each golden model (test/fixtures/llm) and writes it to test/fixtures/peft-llm/<case>/.
 * `npx tsx scripts/write-llm-adapters.ts`, then `python scripts/check-llm-with-peft.py` in an environment with torch, transformers and peft, which
 * adds what transformers and PEFT compute with it.
 */
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { attach, loadModel, train } from "lowrank";
import { root } from "./files.mjs";

async function main(): Promise<void> {
  const fixtures = join(root, "test", "fixtures");
  for (const name of readdirSync(join(fixtures, "llm")).sort()) {
    const model = await loadModel(join(fixtures, "llm", name, "model"));
    const adapter = attach(model, { rank: 4, alpha: 12, targetModules: "all-linear", useRslora: name === "mistral", seed: 9 });
    const examples = [30, 21, 12].map((length, r) => {
      const tokens = Array.from({ length }, (_, t) => (t * 13 + r * 29 + 7) % 300);
      return { tokens, labels: tokens };
    });
    await train(adapter, examples, { batchSize: 3, maxSteps: 5, learningRate: 0.02 }).finished;
    const folder = join(fixtures, "peft-llm", name);
    mkdirSync(folder, { recursive: true });
    await adapter.save(folder);
    console.log(`wrote ${name}: ${adapter.trainableCount} numbers`);
    adapter.dispose();
    model.dispose();
  }
}

main();
