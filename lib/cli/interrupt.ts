/** @file SIGINT and SIGTERM: the first one stops the work in an orderly way, the second one ends the process. */

/** What a process ends with after a signal: 128 + its number. */
const codes = { SIGINT: 130, SIGTERM: 143 } as const;
const signals = Object.keys(codes) as (keyof typeof codes)[];

export class Interrupt {
  /** Exit code for the signal that came, if one did. */
  code: number | undefined;
  #gentle = false;
  readonly #controller = new AbortController();
  readonly #handle = (signal: keyof typeof codes): void => {
    if (this.requested) process.exit(codes[signal]);
    this.code = codes[signal];
    process.stderr.write(this.#gentle ? "\nStopping after this step; once more to quit at once.\n" : "\nStopping; once more to quit at once.\n");
    if (!this.#gentle) this.#abort();
  };

  constructor() {
    for (const signal of signals) process.on(signal, this.#handle);
  }

  /** Whether a signal came. */
  get requested(): boolean {
    return this.code !== undefined;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** From here on a signal of the system does not fire `signal`: whoever called this looks at `requested` when its step is complete. */
  beginGentle(): void {
    this.#gentle = true;
  }

  /** It fires `signal` again; one that came since {@link beginGentle} does so now. */
  endGentle(): void {
    if (this.#gentle && this.requested) this.#abort();
    this.#gentle = false;
  }

  /** @throws the reason of the signal, when one came */
  throwIfRequested(): void {
    if (this.requested) this.#abort();
    this.#controller.signal.throwIfAborted();
  }

  #abort(): void {
    this.#controller.abort(new Error("interrupted"));
  }

  release(): void {
    for (const signal of signals) process.off(signal, this.#handle);
  }
}
