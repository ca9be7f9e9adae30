/** @file Evaluates two batches of one shape: the first is recorded and replayed, the second only replayed. A line stands between the two. */
import { evaluate, loadModel, synchronize } from "../../lib/index.js";
import { cases, pathOf } from "../models/golden-llm.js";

async function main(): Promise<void> {
  const model = await loadModel(pathOf(cases[0] as string, "model"));
  await synchronize();
  const rows = [1, 2].map((start) => {
    const tokens = Array.from({ length: 9 }, (_, i) => start + i);
    return { tokens, labels: tokens };
  });
  const between = {
    length: rows.length,
    at: async (i: number) => {
      await synchronize();
      process.stderr.write("batch\n");
      return rows[i] as (typeof rows)[number];
    },
  };
  const { loss } = await evaluate(model, between, { batchSize: 1 });
  console.log(loss);
}

main();
