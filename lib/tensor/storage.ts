/** @file A native buffer and who owns it: tensor handles, tape nodes and recordings each hold one count. */
import { engine } from "../native/engine.js";

export type StorageKind = "value" | "state" | "file";

export class Storage {
  readonly handle: number;
  readonly bytes: number;
  /** Counts in-place writes; what was saved for backward remembers the version it saw. */
  version = 0;
  #owners = 1;

  /** `state`: weights and optimizer state, which keep their bytes when a command fails; `file`: such a buffer that is filled from a file. */
  constructor(bytes: number, kind: StorageKind = "value") {
    this.handle = engine().allocate(bytes, { state: kind !== "value", external: kind === "value", fresh: kind === "file" });
    this.bytes = bytes;
  }

  retain(): this {
    this.#owners++;
    return this;
  }

  release(): void {
    if (this.#owners === 1) engine().release(this.handle);
    this.#owners--;
  }
}
