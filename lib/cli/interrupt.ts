/** @file SIGINT: the first one stops the work in an orderly way, the second one ends the process. */

/** What a process ends with after SIGINT: 128 + the number of the signal. */
export const interruptedCode = 130;

export class Interrupt {
  /** Whether SIGINT came. */
  requested = false;
  #gentle = false;
  readonly #controller = new AbortController();
  readonly #handle = (): void => {
    if (this.requested) process.exit(interruptedCode);
    this.requested = true;
    process.stderr.write(this.#gentle ? "\nStopping after this step; once more to quit at once.\n" : "\nStopping; once more to quit at once.\n");
    if (!this.#gentle) this.#controller.abort(new Error("SIGINT"));
  };

  constructor() {
    process.on("SIGINT", this.#handle);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** From here on SIGINT does not fire `signal`: whoever called this looks at `requested` when its step is complete. */
  beginGentle(): void {
    this.#gentle = true;
  }

  /** SIGINT fires `signal` again; one that came since {@link beginGentle} does so now. */
  endGentle(): void {
    if (this.#gentle && this.requested) this.#controller.abort(new Error("SIGINT"));
    this.#gentle = false;
  }

  /** @throws the reason of the signal, when SIGINT came */
  throwIfRequested(): void {
    if (this.requested) this.#controller.abort(new Error("SIGINT"));
    this.#controller.signal.throwIfAborted();
  }

  release(): void {
    process.off("SIGINT", this.#handle);
  }
}
