/** @file Ties the commands of one job to an AbortSignal. */
import { engine, type OwnerId } from "./engine.js";
import { LowrankError } from "./errors.js";

export interface Guard {
  /** The owner of the job's commands. */
  readonly owner: OwnerId;
  /** Whether the job was stopped. */
  readonly stopped: () => boolean;
  /** Stops everything that is queued or running. */
  stop(): void;
  /** @throws LowrankError ABORTED once the signal has fired. */
  check(): void;
  /** An ABORTED error with the signal's reason as its cause; other errors as they are. */
  explain(error: unknown): unknown;
  release(): void;
}

/** @throws LowrankError ABORTED when the signal has fired already. */
export function abortable(signal: AbortSignal | undefined): Guard {
  const owner = engine().createOwner();
  let stopped = false;
  const stop = (): void => {
    stopped = true;
    engine().abortOwner(owner);
  };
  const aborted = (): LowrankError => new LowrankError("ABORTED", "The operation was aborted.", {}, signal?.reason);
  const guard: Guard = {
    owner,
    stopped: () => stopped,
    stop,
    check: () => {
      if (signal?.aborted) throw aborted();
    },
    explain: (error) => (signal?.aborted && error instanceof LowrankError && error.code === "ABORTED" ? aborted() : error),
    release: () => signal?.removeEventListener("abort", stop),
  };
  guard.check();
  signal?.addEventListener("abort", stop, { once: true });
  return guard;
}
