import { isMainThread, parentPort, Worker } from "node:worker_threads";
import * as lowrank from "lowrank";
import { check } from "./check.mjs";

if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url));
  const inWorker = new Promise((resolve, reject) => worker.on("message", resolve).on("error", reject));
  console.log(JSON.stringify({ ok: (await check(lowrank)) && (await inWorker) }));
} else {
  parentPort?.postMessage(await check(lowrank));
}
