/** @file Ends the process while commands run: "exit" calls process.exit, "throw" fails, "worker" exits with busy workers. */
import { matmul, ones } from "../../lib/index.js";
import { startWorker } from "./run.js";

const way = process.argv[2];
const x = ones([1500, 1500]);
for (let i = 0; i < 20; i++) matmul(x, x);
if (way === "throw") throw new Error("on purpose");
if (way === "worker") {
  const worker = startWorker("compute.ts", { rounds: 1e9, size: 700 });
  worker.once("message", () => process.exit(7));
} else {
  process.exit(7);
}
