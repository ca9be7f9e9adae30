/** @file A worker that uses a tensor of the main thread. */
import { parentPort, workerData } from "node:worker_threads";
import { add, LowrankError, type Tensor } from "../../lib/index.js";

try {
  const foreign = (workerData as { data: Tensor }).data;
  add(foreign, foreign);
  parentPort?.postMessage({ code: "none" });
} catch (error) {
  parentPort?.postMessage(error instanceof LowrankError ? error.toJSON() : { message: String(error) });
}
