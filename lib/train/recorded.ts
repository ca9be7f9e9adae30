/**
 * @file The loss of language batches and its gradients, recorded once for each shape of batch and then replayed: one command a batch in place of
 * thousands, with everything between in one arena.
 */
import type { Parameter } from "../autograd/parameter.js";
import { withRecord } from "../autograd/randomness.js";
import { structureVersion } from "../autograd/structure.js";
import { valueAndGrad } from "../autograd/value-and-grad.js";
import { mul } from "../functions.js";
import type { LossInputs } from "../models/index.js";
import { engine } from "../native/engine.js";
import type { NativeRecording } from "../native/native-module.js";
import { tensor } from "../tensor/create.js";
import { outsideScopes, tidy } from "../tensor/scope.js";
import type { StepRecord } from "../tensor/step-record.js";
import { empty, type Tensor } from "../tensor/tensor.js";

/** How a batch becomes a loss. */
export interface RecordableLoss<T> {
  /** Makes the tensors that the loss reads. */
  readonly inputs: (item: T) => LossInputs;
  /** The mean loss. What it submits depends on the shapes of the inputs alone, and on what `key` tells. */
  readonly loss: (inputs: LossInputs) => Tensor<[], "f32">;
  readonly key: () => string;
}

interface Kept {
  readonly recording: NativeRecording;
  /** Copies of the batch are put here. */
  readonly inputs: readonly Tensor[];
}

/** Enough for rows of any length up to a few thousand tokens, when they are padded to few lengths. */
const most = 32;

export class RecordedLoss<T> {
  readonly #kept = new Map<string, Kept>();
  /** Of the structure that was recorded. */
  #version = structureVersion();

  constructor(
    readonly how: RecordableLoss<T>,
    readonly wanted: ReadonlySet<Parameter>,
  ) {}

  /** Adds the loss of a batch, times `count`, to the record, and its gradient to those of the parameters. */
  submit(record: StepRecord, item: T, count: number): void {
    tidy(() => {
      const inputs = this.how.inputs(item);
      const weight = tensor(Float32Array.of(count), []);
      const given = [weight];
      replaced(inputs, (x) => {
        given.push(x);
        return x;
      });
      if (this.#version !== structureVersion()) this.dispose();
      this.#version = structureVersion();
      const key = [this.how.key(), ...given.map(({ shape }) => shape.join("×"))].join(" ");
      const kept = this.#take(key) ?? this.#record(record, inputs, weight);
      this.#kept.set(key, kept);
      kept.inputs.forEach((own, i) => {
        engine().kernels.copy(own, given[i] as Tensor);
      });
      engine().replay(kept.recording);
    });
    for (const [key, oldest] of this.#kept) {
      if (this.#kept.size <= most) break;
      this.#kept.delete(key);
      forget(oldest);
    }
  }

  dispose(): void {
    for (const kept of this.#kept.values()) forget(kept);
    this.#kept.clear();
  }

  /** Out of the map: whoever uses it puts it back behind all others. */
  #take(key: string): Kept | undefined {
    const found = this.#kept.get(key);
    this.#kept.delete(key);
    return found;
  }

  #record(record: StepRecord, like: LossInputs, weight: Tensor): Kept {
    const made: Tensor[] = [];
    const own = (x: Tensor): Tensor => {
      const copy = outsideScopes(() => empty(x.shape, x.dtype));
      made.push(copy);
      return copy;
    };
    try {
      const total = own(weight);
      const inputs = replaced(like, own);
      const recording = engine().record(() => {
        const loss = withRecord(record, () =>
          valueAndGrad(() => mul(this.how.loss(inputs), total as Tensor<[], "f32">), { parameters: this.wanted }),
        );
        engine().kernels.record_loss(record, loss);
        loss.dispose();
      });
      return { recording, inputs: made };
    } catch (error) {
      for (const tensor of made) tensor.dispose();
      throw error;
    }
  }
}

/** The inputs with every tensor replaced that differs from batch to batch. The table of angles does not: rows of one length have the same. */
const replaced = (inputs: LossInputs, by: (x: Tensor) => Tensor): LossInputs => ({
  ...inputs,
  tokens: by(inputs.tokens),
  positions: by(inputs.positions),
  spans: new Map([...inputs.spans].map(([window, spans]) => [window, by(spans)])),
  labels: by(inputs.labels),
});

function forget({ recording, inputs }: Kept): void {
  engine().forgetRecording(recording.id);
  for (const tensor of inputs) tensor.dispose();
}
