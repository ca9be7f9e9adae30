/** @file lowrank's own program of the work `gemm`: `LOWRANK_NUM_THREADS=1 npx tsx bench/gemm.ts gemm M N K [--threads 1]`, after `npm run build`. */
import { deviceInfo, linear, synchronize, tensor, version } from "lowrank";
import { runGemm } from "./contenders/gemm.js";
import { ownThreads } from "./own-threads.js";

await runGemm({
  contender: "lowrank",
  threads: ownThreads,
  versions: () => ({ lowrank: version, backend: deviceInfo().backend, node: process.versions.node }),
  prepare: async ({ m, n, k }, xData, wData) => {
    const [x, w] = [tensor(xData, [m, k]), tensor(wData, [n, k])];
    let y: ReturnType<typeof linear> | undefined;
    return {
      multiply: async () => {
        y?.dispose();
        y = linear(x, w);
        await synchronize();
      },
      result: async () => (await (y as NonNullable<typeof y>).data()) as Float32Array,
    };
  },
});
