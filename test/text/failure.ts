/** @file Catching the errors that tests expect. */
import { LowrankError } from "../../lib/native/errors.js";

/** The LowrankError that `work` throws or rejects with; anything else is a failure of the test. */
export async function failureOf(work: () => unknown): Promise<LowrankError> {
  try {
    await work();
  } catch (error) {
    if (error instanceof LowrankError) return error;
    throw error;
  }
  throw new Error("expected a LowrankError, nothing was thrown");
}
