/** @file Which adapters take part in a forward pass, chosen per call. Of an adapter only this is known here; `lora` makes them. */
import { LowrankError, quoted } from "../native/errors.js";
import { Linear, type LowRankBranch, type Module } from "../nn/index.js";

/** What generation knows of an adapter; `Adapter` is one. */
export interface AttachedAdapter {
  readonly name: string;
  readonly enabled: boolean;
  readonly merged: boolean;
  readonly disposed: boolean;
  /** The text of the chat template that it was trained with, where it is known. */
  readonly chatTemplate: string | undefined;
  /** Its branches on the layers of the model. */
  readonly layers: readonly { readonly branch: LowRankBranch }[];
}

/** Adapters leave their mark on the branches they make. */
const adapterOf = (branch: LowRankBranch): AttachedAdapter | undefined => (branch as { readonly adapter?: AttachedAdapter }).adapter;

/** Turns one adapter on and all others off (`null`: all off; undefined: leaves them as they are) around synchronous work. */
export class AdapterSwitch {
  readonly #linears: readonly Linear[];
  readonly #chosen: AttachedAdapter | null | undefined;
  readonly #own: ReadonlySet<LowRankBranch>;

  /** @throws LowrankError BAD_ARGUMENT, DISPOSED, ADAPTER_STATE when the adapter is not on this model, or another one is merged into it */
  constructor(model: Module, chosen: AttachedAdapter | null | undefined) {
    if (chosen !== null && chosen !== undefined && !Array.isArray(chosen.layers))
      throw new LowrankError("BAD_ARGUMENT", "generate: adapter is an Adapter, or null for the model without one");
    this.#linears = [...model.modules().values()].filter((module) => module instanceof Linear);
    this.#chosen = chosen;
    this.#own = new Set(chosen?.layers.map(({ branch }) => branch));
    this.#check();
  }

  /** The adapters that take part, in the order in which they were attached. */
  active(): readonly AttachedAdapter[] {
    if (this.#chosen === null) return [];
    return this.#chosen === undefined ? this.#attached().filter(({ enabled }) => enabled) : [this.#chosen];
  }

  /** Runs `fn` (synchronous); afterwards every adapter is as it was, whatever happens. @throws LowrankError as the constructor */
  around<T>(fn: () => T): T {
    const chosen = this.#chosen;
    if (chosen === undefined) return fn();
    this.#check();
    const changed: LowRankBranch[] = [];
    try {
      for (const { branches } of this.#linears) {
        for (const branch of branches) {
          const wanted = this.#own.has(branch) && chosen?.merged === false;
          if (branch.enabled === wanted) continue;
          changed.push(branch);
          branch.enabled = wanted;
        }
      }
      return fn();
    } finally {
      for (const branch of changed) branch.enabled = !branch.enabled;
    }
  }

  #attached(): AttachedAdapter[] {
    const all = this.#linears.flatMap(({ branches }) => branches.map(adapterOf));
    return [...new Set(all.filter((adapter) => adapter !== undefined))];
  }

  #check(): void {
    const chosen = this.#chosen;
    if (chosen === undefined) return;
    if (chosen?.disposed) throw new LowrankError("DISPOSED", `generate: the adapter ${quoted(chosen.name)} was disposed before this use.`);
    if (chosen !== null && !this.#linears.some(({ branches }) => branches.some((branch) => this.#own.has(branch))))
      throw wrongState(chosen, "is not attached to this model. Attach or load it first.");
    const merged = this.#attached().find((adapter) => adapter.merged && adapter !== chosen);
    if (merged !== undefined) throw wrongState(merged, "is merged into the weights, so that it cannot be left out. Unmerge it first.");
  }
}

const wrongState = ({ name }: AttachedAdapter, problem: string): LowrankError =>
  new LowrankError("ADAPTER_STATE", `generate: the adapter ${quoted(name)} ${problem}`);
