/** @file What the tests of generation share. */
import { LowrankError } from "../../lib/index.js";

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

export async function rejection(work: Promise<unknown>): Promise<LowrankError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof LowrankError) return error;
  throw new Error(`expected a LowrankError, found ${String(error)}`);
}
