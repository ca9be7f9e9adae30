/** @file Long work in slices, so that the event loop stays free. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { throwIfAborted } from "../io/file.js";

/** Work goes on for this long before others get their turn; with the piece of work that is going on then, about 5 ms. */
const sliceMs = 3;

/** Shares the event loop: whoever awaits {@link turn} before each small piece of work never holds it for long, however many wait. */
export class Slices {
  private started = performance.now();
  private queue: Promise<unknown> = Promise.resolve();

  /** Has the present slice lasted long enough? */
  get due(): boolean {
    return performance.now() - this.started > sliceMs;
  }

  /** Resolves when it is the caller's turn; one after the other, in the order of the calls. */
  turn(): Promise<void> {
    const mine = this.queue.then(async () => {
      if (!this.due) return;
      await nextTurn();
      this.started = performance.now();
    });
    this.queue = mine;
    return mine;
  }
}

/** What a dataset is busy with while it is opened. */
export interface DatasetProgress {
  /** "index": where the lines begin (bytes); "check": the first rows are tried (rows); "pack": all rows are tokenized (rows). */
  readonly stage: "index" | "check" | "pack";
  readonly done: number;
  readonly total: number;
}

/** The work of opening: in slices, abortable, reported. */
export class Work {
  private reported = Number.NEGATIVE_INFINITY;

  constructor(
    readonly path: string,
    readonly slices: Slices,
    private readonly signal: AbortSignal | undefined,
    private readonly onProgress: ((progress: DatasetProgress) => void) | undefined,
  ) {}

  /** Before each piece of work. @throws LowrankError ABORTED */
  async turn(): Promise<void> {
    await this.slices.turn();
    this.check();
  }

  /** @throws LowrankError ABORTED */
  check(): void {
    throwIfAborted(this.signal, this.path);
  }

  /** Reports at most every tenth of a second, and the end of every stage. */
  report(stage: DatasetProgress["stage"], done: number, total: number): void {
    const now = performance.now();
    if (done < total && now - this.reported < 100) return;
    this.reported = now;
    this.onProgress?.({ stage, done, total });
  }
}
