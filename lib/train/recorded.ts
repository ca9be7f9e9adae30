/**
 * @file The loss of language batches, alone or with its gradients, recorded once for each shape of batch and then replayed: one command a batch
 * in place of thousands, with everything between in one arena.
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
import { empty, type Tensor, viewOf } from "../tensor/tensor.js";

type Scalar = Tensor<[], "f32">;

/** How a batch becomes a loss. */
export interface RecordableLoss<T> {
  /** Makes the tensors that the loss reads. */
  readonly inputs: (item: T) => LossInputs;
  /** The mean loss. What it submits depends on the shapes of the inputs alone, and on what `key` tells. */
  readonly loss: (inputs: LossInputs) => Scalar;
  readonly key: () => string;
  /** What the loss reads beside the batch. */
  readonly weights: () => Iterable<Parameter>;
}

/** Takes the arena for recordings of up to `bytes`. @throws LowrankError OUT_OF_MEMORY */
export type Reserve = (bytes: number) => void;

/** A batch and the weight of its mean loss. */
export interface Weighted<T> {
  readonly item: T;
  readonly count: number;
}

interface Kept {
  readonly recording: NativeRecording;
  /** Copies of the batch are put here. */
  readonly inputs: readonly Tensor[];
}

/** A recording, and the tensors of the batch that it is to run on. */
interface Ready {
  readonly kept: Kept;
  readonly given: readonly Tensor[];
}

/** Enough for rows of any length up to a few thousand tokens, when they are padded to few lengths. */
const most = 32;

/** What `submit` does with a batch, recorded for each shape. */
class Recordings<T> {
  readonly #kept = new Map<string, Kept>();
  /** Of the structure that was recorded. */
  #version = structureVersion();

  constructor(
    readonly how: RecordableLoss<T>,
    readonly reserve: Reserve,
    readonly submit: (inputs: LossInputs, count: Scalar) => void,
  ) {}

  /**
   * Runs the batches in order, and before each of them `prepare`. First all that have no recording yet are recorded, and memory is taken for the
   * largest: where it does not suffice, nothing has run.
   */
  run(batches: readonly Weighted<T>[], prepare: (i: number) => void = () => undefined): void {
    if (this.#version !== structureVersion()) this.dispose();
    this.#version = structureVersion();
    this.#forgetOldest();
    tidy(() => {
      const ready = batches.map((batch) => this.#ready(batch));
      this.reserve(Math.max(...ready.map(({ kept }) => kept.recording.bytes)));
      ready.forEach(({ kept, given }, i) => {
        prepare(i);
        kept.inputs.forEach((own, n) => {
          engine().kernels.copy(own, given[n] as Tensor);
        });
        engine().replay(kept.recording);
      });
    });
  }

  dispose(): void {
    for (const kept of this.#kept.values()) forget(kept);
    this.#kept.clear();
  }

  #forgetOldest(): void {
    for (const [key, oldest] of this.#kept) {
      if (this.#kept.size <= most) return;
      this.#kept.delete(key);
      forget(oldest);
    }
  }

  #ready({ item, count }: Weighted<T>): Ready {
    const inputs = this.how.inputs(item);
    const weight = tensor(Float32Array.of(count), []) as Scalar;
    const given: Tensor[] = [weight];
    replaced(inputs, (x) => {
      given.push(x);
      return x;
    });
    const key = [this.how.key(), ...given.map(({ shape }) => shape.join("×"))].join(" ");
    const kept = this.#kept.get(key) ?? this.#record(inputs, weight);
    this.#kept.delete(key); // whoever is used goes behind all others
    this.#kept.set(key, kept);
    return { kept, given };
  }

  #record(like: LossInputs, weight: Scalar): Kept {
    const made: Tensor[] = [];
    const own = <X extends Tensor>(x: X): X => {
      const copy = outsideScopes(() => empty(x.shape, x.dtype)) as X;
      made.push(copy);
      return copy;
    };
    try {
      const count = own(weight);
      const inputs = replaced(like, own);
      return { recording: engine().record(() => this.submit(inputs, count)), inputs: made };
    } catch (error) {
      for (const tensor of made) tensor.dispose();
      throw error;
    }
  }
}

/** Adds the losses of batches, each times its count, to the step record, and their gradients to those of the parameters. */
export class RecordedGradients<T> {
  readonly #recordings: Recordings<T>;

  constructor(
    how: RecordableLoss<T>,
    readonly record: StepRecord,
    wanted: ReadonlySet<Parameter>,
    reserve: Reserve,
  ) {
    this.#recordings = new Recordings(how, reserve, (inputs, count) => {
      const loss = withRecord(record, () => valueAndGrad(() => mul(how.loss(inputs), count), { parameters: wanted }));
      engine().kernels.record_loss(record, loss);
      loss.dispose();
    });
  }

  /** The micro-batches of a step. */
  submit(batches: readonly Weighted<T>[]): void {
    this.#recordings.run(batches, (micro) => {
      if (micro > 0) this.record.setMicro(micro);
    });
  }

  dispose(): void {
    this.#recordings.dispose();
  }
}

/** The mean losses of batches, without gradients. */
export class RecordedLoss<T> {
  readonly #recordings: Recordings<T>;
  readonly #result = outsideScopes(() => empty([], "f32"));

  constructor(how: RecordableLoss<T>, reserve: Reserve = (bytes) => engine().reserveArena(bytes)) {
    this.#recordings = new Recordings(how, reserve, (inputs) => {
      tidy(() => engine().kernels.copy(this.#result, how.loss(inputs)));
    });
  }

  /** A scalar, to be read before the loss of the next batch is asked for. */
  readonly of = (item: T): Tensor => {
    this.#recordings.run([{ item, count: 1 }]);
    return viewOf(this.#result, [], this.#result);
  };

  dispose(): void {
    this.#recordings.dispose();
    this.#result.dispose();
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
