/** @file The trainer: one step in flight, events as an async iterator. */
import type { Parameter } from "../autograd/parameter.js";
import { withRecord } from "../autograd/randomness.js";
import { valueAndGrad } from "../autograd/value-and-grad.js";
import { scale } from "../functions.js";
import type { TokenBatch } from "../models/index.js";
import { abortable, type Guard } from "../native/abort.js";
import { engine } from "../native/engine.js";
import { LowrankError } from "../native/errors.js";
import { outsideScopes } from "../tensor/scope.js";
import { StepRecord, type StepResults } from "../tensor/step-record.js";
import { empty, Tensor } from "../tensor/tensor.js";
import { type Batch, BatchSource, type TrainingData } from "./data.js";
import { evaluateBatches } from "./evaluate.js";
import type { EvalEvent, StepEvent, TrainingEvent, TrainingResult } from "./events.js";
import { FlatParameters } from "./flat.js";
import {
  type LanguageExample,
  languageBatches,
  languageModelOf,
  languageSizes,
  recordableLoss,
  refuseOwnLoss,
  rememberTemplate,
  trainedLabels,
} from "./language.js";
import { MemoryPlan, valueBytes } from "./memory.js";
import { checkBatchSize, checkTrainOptions, type TrainOptions, type TrainPlan } from "./options.js";
import { RecordedGradients, RecordedLoss } from "./recorded.js";
import { scheduleFactor } from "./schedule.js";

/** What can be trained: anything with parameters by name. */
export interface Trainable {
  parameters(): ReadonlyMap<string, Parameter>;
  /** Throws when the target cannot be trained as it is (an adapter that is disabled, merged or detached). */
  requireTrainable?(): void;
}

/**
 * A training that runs while it is iterated. The event of step n arrives when n is complete and before n + 1 is submitted: what the loop's
 * body saves is exactly the state after n. Leaving the loop stops the training and frees what it holds.
 */
export class Training<T> implements AsyncIterable<TrainingEvent> {
  readonly #events: AsyncGenerator<TrainingEvent, void>;
  readonly #settled: Promise<TrainingResult>;
  #started = false;

  constructor(target: Trainable | readonly Trainable[], data: TrainingData<T>, options: TrainOptions<T>) {
    const parameters = parametersOf(target);
    const { plan, source } = planTraining(target, data, options);
    let settle: { resolve: (result: TrainingResult) => void; reject: (error: unknown) => void } | undefined;
    this.#settled = new Promise((resolve, reject) => {
      settle = { resolve, reject };
    });
    this.#settled.catch(() => undefined); // whoever iterates sees the error there
    this.#events = observed(new Run(plan, parameters, source, () => requireTrainable(target)).events(), settle as NonNullable<typeof settle>);
  }

  [Symbol.asyncIterator](): AsyncIterator<TrainingEvent> {
    this.#started = true;
    return this.#events;
  }

  /** The result, when the training has ended. Runs it, if nobody iterates it. */
  get finished(): Promise<TrainingResult> {
    if (!this.#started) {
      this.#started = true;
      void this.#drive();
    }
    return this.#settled;
  }

  /** Stops the training and frees what it holds. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#started = true;
    await this.#events.return();
  }

  async #drive(): Promise<void> {
    try {
      for await (const _ of this.#events);
    } catch {
      // `finished` rejects with it
    }
  }
}

/**
 * Trains the parameters of `target` (a module, an adapter, or several) on `data`. Lazy: it runs while it is iterated, or once `finished` is
 * awaited.
 * @throws LowrankError UNKNOWN_OPTION, BAD_ARGUMENT, BAD_DTYPE, DATA_EMPTY at once; while it runs TRAIN_NONFINITE (before the weights
 * change), DATA_…, ABORTED (the signal's reason is its cause), OUT_OF_MEMORY.
 */
export function train<T>(target: Trainable | readonly Trainable[], data: TrainingData<T>, options: TrainOptions<T> = {}): Training<T> {
  return new Training(target, data, options);
}

async function* observed(
  events: AsyncGenerator<TrainingEvent, void>,
  settle: { resolve: (result: TrainingResult) => void; reject: (error: unknown) => void },
): AsyncGenerator<TrainingEvent, void> {
  let result: TrainingResult = { steps: 0, loss: Number.NaN };
  try {
    for await (const event of events) {
      if (event.type === "step") result = { ...result, steps: event.step, loss: event.loss };
      if (event.type === "eval" && event.best) result = { ...result, best: { step: event.step, loss: event.loss } };
      if (event.type === "done" && event.memory !== undefined) result = { ...result, memory: event.memory };
      yield event;
    }
  } catch (error) {
    settle.reject(error);
    throw error;
  } finally {
    settle.resolve(result);
  }
}

/** @throws what the targets say when training them would have no effect: at the start, and when a step's event has changed them */
function requireTrainable(target: Trainable | readonly Trainable[]): void {
  for (const one of Array.isArray(target) ? target : [target]) one.requireTrainable?.();
}

function parametersOf(target: Trainable | readonly Trainable[]): ReadonlyMap<string, Parameter> {
  const targets: readonly Trainable[] = Array.isArray(target) ? target : [target as Trainable];
  const all = new Map<string, Parameter>();
  targets.forEach((one, i) => {
    if (typeof one?.parameters !== "function")
      throw new LowrankError("BAD_ARGUMENT", "train: the target is a module, an adapter, or an array of them");
    one.requireTrainable?.();
    for (const [name, parameter] of one.parameters()) all.set(targets.length > 1 ? `${i}.${name}` : name, parameter);
  });
  if (all.size === 0) throw new LowrankError("BAD_ARGUMENT", "train: the target has no parameters");
  return all;
}

interface Prepared<T> {
  readonly plan: TrainPlan<T>;
  readonly source: BatchSource<T>;
}

/** Checks the options. Without a loss of the user's, the target's language model has one, and its examples are put together to batches. */
function planTraining<T>(target: unknown, data: TrainingData<T>, options: TrainOptions<T>): Prepared<T> {
  const model = options?.loss === undefined ? languageModelOf(target) : undefined;
  if (model === undefined) {
    for (const name of ["batchSize", "gradientCheckpointing"] as const) {
      if (options?.[name] === undefined) continue;
      throw new LowrankError("BAD_ARGUMENT", `train: ${name} is for language models without a loss of their own; with loss, each item is one batch`);
    }
    const plan = checkTrainOptions(options);
    return { plan, source: new BatchSource(data, plan) };
  }
  refuseOwnLoss("train", options);
  const { batchSize = 8, gradientCheckpointing = false, evaluate, ...others } = options as TrainOptions<TokenBatch>;
  checkBatchSize("train", batchSize);
  const batched = (examples: TrainingData<unknown>, shuffle: boolean, seed: number): TrainingData<TokenBatch> =>
    languageBatches(examples as TrainingData<LanguageExample>, { batchSize, shuffle, seed });
  const checked = checkTrainOptions<TokenBatch>({
    ...others,
    ...(evaluate === undefined ? {} : { evaluate: { ...evaluate, data: batched(evaluate.data, false, 0) } }),
    loss: (batch) => model.loss(batch),
    count: trainedLabels,
  });
  const plan: TrainPlan<TokenBatch> = { ...checked, sizes: languageSizes, recordable: recordableLoss(model, gradientCheckpointing) };
  const source = new BatchSource(batched(data, checked.shuffle, checked.seed), { ...plan, shuffle: false });
  rememberTemplate(target, data);
  return { plan, source } as unknown as Prepared<T>;
}

/** One run of a training. */
class Run<T> {
  readonly #wanted: ReadonlySet<Parameter>;
  #memory: MemoryPlan | undefined;
  #recorded: RecordedGradients<T> | undefined;
  #recordedLoss: RecordedLoss<T> | undefined;
  readonly #totalSteps: number | undefined;
  readonly #batchesPerEpoch: number | undefined;
  #best: { step: number; loss: number } | undefined;
  /** The trained values at the lowest loss, where they are to be kept. */
  #bestValues: Tensor | undefined;
  #evaluationsSinceBest = 0;
  #seconds = 0;

  constructor(
    readonly plan: TrainPlan<T>,
    readonly parameters: ReadonlyMap<string, Parameter>,
    readonly source: BatchSource<T>,
    readonly requireTrainable: () => void,
  ) {
    this.#wanted = new Set(parameters.values());
    this.#batchesPerEpoch = source.length;
    const perEpoch = source.length === undefined ? undefined : Math.ceil(source.length / plan.accumulate);
    const byEpochs = perEpoch === undefined ? Number.POSITIVE_INFINITY : perEpoch * plan.epochs;
    const total = Math.min(plan.maxSteps ?? Number.POSITIVE_INFINITY, byEpochs);
    this.#totalSteps = Number.isFinite(total) ? total : undefined;
    if (plan.schedule !== "constant" && this.#totalSteps === undefined) {
      throw new LowrankError("BAD_ARGUMENT", `train: the schedule ${plan.schedule} needs maxSteps, because the length of the data is not known`);
    }
  }

  async *events(): AsyncGenerator<TrainingEvent, void> {
    const guard = abortable(this.plan.signal);
    const record = new StepRecord();
    let flat: FlatParameters | undefined;
    const started = performance.now();
    try {
      flat = new FlatParameters(this.parameters, this.plan.optimizer.stateBuffers, this.plan.decayAll);
      this.#prepareRecordings(record, flat);
      let last: StepEvent | undefined;
      for await (const event of this.#steps(guard, record, flat)) {
        if (event.type === "step") last = event;
        yield event;
      }
      this.#restoreBest(flat, last?.step);
      yield {
        type: "done",
        steps: last?.step ?? 0,
        loss: last?.loss ?? Number.NaN,
        seconds: (performance.now() - started) / 1000,
        ...(this.#best === undefined ? {} : { best: this.#best }),
        ...(this.#memory?.largest === undefined ? {} : { memory: this.#memory.largest }),
      };
    } catch (error) {
      throw guard.explain(error);
    } finally {
      guard.stop();
      guard.release();
      this.#recorded?.dispose();
      this.#recordedLoss?.dispose();
      this.#bestValues?.dispose();
      flat?.dispose();
      record.dispose();
    }
  }

  #prepareRecordings(record: StepRecord, flat: FlatParameters): void {
    const { recordable } = this.plan;
    if (recordable === undefined) return;
    const frozen = [...recordable.weights()].filter((parameter) => !this.#wanted.has(parameter));
    this.#memory = new MemoryPlan(valueBytes(frozen), () => flat.bytes + (this.#bestValues?.storage.bytes ?? 0));
    this.#recorded = new RecordedGradients(recordable, record, this.#wanted, this.#memory.reserve);
  }

  async *#steps(guard: Guard, record: StepRecord, flat: FlatParameters): AsyncGenerator<TrainingEvent, void> {
    const { epochs, accumulate, evaluate } = this.plan;
    let step = 0;
    let fraction = 0;
    for (let epoch = 0; epoch < epochs && step !== this.#totalSteps; epoch++) {
      let done = 0;
      for await (const group of groups(this.source.epoch(epoch), accumulate)) {
        done += group.length;
        fraction = this.#batchesPerEpoch === undefined ? epoch : epoch + done / this.#batchesPerEpoch;
        const event = await this.#step(guard, record, flat, group, step++, fraction);
        if (step === 1) yield* this.#unusedParameters();
        yield event;
        if (evaluate?.every !== undefined && step % evaluate.every === 0) yield await this.#evaluate(guard, flat, step, fraction);
        if (step === this.#totalSteps || this.#patienceIsOver()) break;
      }
      if (evaluate !== undefined && evaluate.every === undefined)
        yield await this.#evaluate(guard, flat, step, this.#batchesPerEpoch === undefined ? epoch + 1 : fraction);
      if (this.#patienceIsOver()) return;
    }
  }

  /** Submits one optimizer step and waits for it. */
  async #step(guard: Guard, record: StepRecord, flat: FlatParameters, group: readonly Batch<T>[], step: number, epoch: number): Promise<StepEvent> {
    const { optimizer, seed, weightDecay, maxGradNorm, schedule, warmupSteps } = this.plan;
    const learningRate = this.plan.learningRate * scheduleFactor(schedule, step, warmupSteps, this.#totalSteps ?? 0);
    const weight = group.reduce((sum, { count }) => sum + count, 0);
    const examples = group.reduce((sum, batch) => sum + batch.examples, 0);
    const tokens = group.some((batch) => batch.tokens !== undefined) ? group.reduce((sum, batch) => sum + (batch.tokens ?? 0), 0) : undefined;
    const started = performance.now();
    const settings = { seed, step, micro: 0, learningRate, weightDecay, maxGradNorm, gradientDivisor: weight, ...optimizer.corrections(step) };
    const results = await this.#resultsOf(guard, record, step, () => {
      try {
        guard.check();
        this.requireTrainable();
        record.begin(settings);
        this.#submit(record, flat, group);
        return record.results();
      } finally {
        for (const batch of group) batch.dispose();
      }
    });
    const loss = results.lossSum / weight;
    if (results.halted) throw nonFinite(step + 1, loss, results, flat, examples);
    const seconds = (performance.now() - started) / 1000;
    this.#seconds += seconds;
    return {
      type: "step",
      step: step + 1,
      totalSteps: this.#totalSteps,
      epoch,
      loss,
      learningRate,
      gradNorm: results.gradNorm,
      examples,
      examplesPerSecond: examples / seconds,
      ...(tokens === undefined ? {} : { tokens, tokensPerSecond: tokens / seconds }),
      secondsLeft: this.#totalSteps === undefined ? undefined : (this.#seconds / (step + 1)) * (this.#totalSteps - step - 1),
    };
  }

  /** What a step wrote into the record. An update under way is finished when an abort comes: such a step counts, and the next one is refused. */
  async #resultsOf(guard: Guard, record: StepRecord, step: number, run: () => Promise<StepResults>): Promise<StepResults> {
    try {
      return await engine().as(guard.owner, run);
    } catch (error) {
      const late = guard.stopped() ? await record.results() : undefined;
      if (late?.stepsDone !== step + 1) throw error;
      return late;
    }
  }

  #submit(record: StepRecord, flat: FlatParameters, group: readonly Batch<T>[]): void {
    const { kernels } = engine();
    flat.zeroGradients();
    if (this.#recorded !== undefined) this.#recorded.submit(group);
    else
      group.forEach((batch, micro) => {
        if (micro > 0) record.setMicro(micro);
        const loss = withRecord(record, () => this.#backward(batch));
        kernels.record_loss(record, loss);
        loss.dispose();
      });
    kernels.grad_squares(record, flat.gradients, 0);
    kernels.step_gate(record);
    this.plan.optimizer.submit(kernels, record, { values: flat.values, gradients: flat.gradients, state: flat.state, decayed: flat.decayed });
    flat.valuesChanged();
  }

  /** The summed loss of a batch: its mean times its examples, so that every example weighs the same in the step. */
  #backward(batch: Batch<T>): Tensor {
    const total = (): Tensor => {
      const given = this.plan.loss(batch.item);
      const loss = given instanceof Tensor ? given : (given?.loss ?? (given as unknown as Tensor));
      return loss instanceof Tensor ? scale(loss, batch.count) : loss; // valueAndGrad refuses what is no tensor
    };
    return valueAndGrad(total, { parameters: this.#wanted });
  }

  *#unusedParameters(): Generator<TrainingEvent> {
    const unused = [...this.parameters].filter(([, parameter]) => !parameter.touched).map(([name]) => name);
    if (unused.length === 0) return;
    const names = unused.slice(0, 5).join(", ") + (unused.length > 5 ? ", …" : "");
    yield { type: "warning", step: 1, message: `${unused.length} trained tensors got no gradient: the loss does not depend on ${names}` };
  }

  #patienceIsOver(): boolean {
    const { patience = Number.POSITIVE_INFINITY } = this.plan.evaluate ?? {};
    return this.#evaluationsSinceBest >= patience;
  }

  #restoreBest(flat: FlatParameters, lastStep: number | undefined): void {
    if (this.#bestValues === undefined || this.#best?.step === lastStep) return;
    engine().kernels.copy(flat.values, this.#bestValues);
    flat.valuesChanged();
  }

  async #evaluate(guard: Guard, flat: FlatParameters, step: number, epoch: number): Promise<EvalEvent> {
    this.requireTrainable();
    const { evaluate, loss, recordable, count, sizes, keepBatches } = this.plan;
    const { data, metrics } = evaluate as NonNullable<typeof evaluate>;
    const source = new BatchSource(data, { shuffle: false, seed: 0, keepBatches, count, sizes });
    this.#recordedLoss ??= recordable && new RecordedLoss(recordable, this.#memory?.reserve);
    const result = await evaluateBatches(source, this.#recordedLoss?.of ?? loss, metrics ?? {}, guard.owner);
    const best = this.#best === undefined || result.loss < this.#best.loss;
    this.#evaluationsSinceBest = best ? 0 : this.#evaluationsSinceBest + 1;
    if (best) this.#best = { step, loss: result.loss };
    if (best && evaluate?.keepBest === true) {
      this.#bestValues ??= outsideScopes(() => empty(flat.values.shape, "f32", "state"));
      engine().kernels.copy(this.#bestValues, flat.values);
    }
    return { type: "eval", step, epoch, ...result, best };
  }
}

/** Groups of `size` batches; the last one of an epoch may be smaller. */
async function* groups<T>(batches: AsyncIterable<Batch<T>>, size: number): AsyncGenerator<Batch<T>[], void> {
  let group: Batch<T>[] = [];
  try {
    for await (const batch of batches) {
      group.push(batch);
      if (group.length < size) continue;
      const full = group;
      group = [];
      yield full;
    }
    if (group.length > 0) {
      const rest = group;
      group = [];
      yield rest;
    }
  } finally {
    for (const batch of group) batch.dispose();
  }
}

function nonFinite(step: number, loss: number, { gradNorm, firstBad }: StepResults, flat: FlatParameters, examples: number): LowrankError {
  const place = flat.locate(firstBad);
  const what = place === undefined ? `the loss is ${loss}` : `the gradient of ${place.name} is not finite at element ${place.index} (loss ${loss})`;
  return new LowrankError(
    "TRAIN_NONFINITE",
    `Step ${step}: ${what}. The weights are those after step ${step - 1}. Lower the learning rate, clip the gradient (maxGradNorm), or look for NaN in the data.`,
    { step, loss, gradNorm, firstBadTensor: place?.name, rows: examples },
  );
}
