/** @file The threads of lowrank, which LOWRANK_NUM_THREADS decides, for programs that are asked for a number of them. */
import { deviceInfo } from "lowrank";

/** @throws Error where lowrank computes with another number of threads. */
export function ownThreads(asked: number): number {
  const { threads } = deviceInfo();
  if (threads !== asked) throw new Error(`lowrank computes with ${threads} threads, asked for were ${asked}: set LOWRANK_NUM_THREADS=${asked}`);
  return threads;
}
