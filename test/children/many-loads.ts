/** @file Loads the engine in eight workers at once, before the main thread has. Prints what each computed. */
import { once } from "node:events";
import { startWorker } from "./run.js";

async function main(): Promise<void> {
  const values = await Promise.all(
    Array.from({ length: 8 }, async () => {
      const worker = startWorker("compute.ts", { rounds: 1, size: 65 });
      const values: number[] = [];
      worker.on("message", ({ value }: { value?: number }) => {
        if (value !== undefined) values.push(value);
      });
      const [code] = (await once(worker, "exit")) as [number];
      return { code, values };
    }),
  );
  console.log(JSON.stringify(values));
}

main();
