/** @file Entry of workers: lets Node read TypeScript, then runs `workerData.script`. */
import { workerData } from "node:worker_threads";
import { register } from "tsx/esm/api";

register();
await import(workerData.script);
