/**
 * @file The step record: what changes from step to step but not in shape. It lies in device memory (native/core/step_record.h), is
 * written by the first command of a step and read by kernels. Its layout comes from the addon.
 */
import { engine, type View } from "../native/engine.js";
import { dtypes } from "./dtype.js";
import { Storage } from "./storage.js";

/** Fields that the host writes. */
export interface StepSettings {
  /** Key of every random number: a natural number below 2^53. */
  readonly seed: number;
  readonly step: number;
  readonly micro: number;
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly biasCorrection1: number;
  readonly biasCorrection2: number;
  /** 0: no clipping. */
  readonly maxGradNorm: number;
  readonly gradientDivisor: number;
}

/** Fields that kernels write. */
export interface StepResults {
  readonly lossSum: number;
  readonly gradNorm: number;
  readonly halted: boolean;
  /** Flat index of the first gradient that is not finite; -1: the loss itself, or none. */
  readonly firstBad: number;
  /** `step` + 1 once the optimizer has changed the weights. */
  readonly stepsDone: number;
}

const initial: StepSettings = {
  seed: 0,
  step: 0,
  micro: 0,
  learningRate: 0,
  weightDecay: 0,
  biasCorrection1: 1,
  biasCorrection2: 1,
  maxGradNorm: 0,
  gradientDivisor: 1,
};

export class StepRecord implements View {
  readonly dtypeCode = dtypes.u8.code;
  readonly offset = 0;
  readonly rows = 1;
  readonly cols: number;
  readonly ld: number;
  /** What was written last. */
  settings: StepSettings = initial;
  readonly #storage: Storage;

  constructor() {
    const { bytes } = engine().description.stepRecord;
    this.cols = bytes;
    this.ld = bytes;
    this.#storage = new Storage(bytes, "state");
    this.begin(initial);
  }

  get handle(): number {
    return this.#storage.handle;
  }

  /** Writes all settings and clears all results: the first command of a step. */
  begin(settings: StepSettings): void {
    this.settings = settings;
    const bytes = new DataView(new ArrayBuffer(this.cols));
    const s = settings;
    put(bytes, "seed", s.seed);
    put(bytes, "step", s.step);
    put(bytes, "micro", s.micro);
    put(bytes, "learning_rate", s.learningRate);
    put(bytes, "weight_decay", s.weightDecay);
    put(bytes, "bias_correction1", s.biasCorrection1);
    put(bytes, "bias_correction2", s.biasCorrection2);
    put(bytes, "max_grad_norm", s.maxGradNorm);
    put(bytes, "gradient_divisor", s.gradientDivisor);
    put(bytes, "clip_factor", 1);
    put(bytes, "first_bad", -1);
    engine().write(this.handle, 0, new Uint8Array(bytes.buffer));
  }

  /** Writes the number of the micro-batch, and nothing else. */
  setMicro(micro: number): void {
    this.settings = { ...this.settings, micro };
    engine().write(this.handle, fieldOf("micro").offset, new Uint8Array(Uint32Array.of(micro).buffer));
  }

  /** What kernels wrote, once all commands submitted before have run. */
  async results(): Promise<StepResults> {
    const bytes = new Uint8Array(this.cols);
    await engine().read(this, bytes);
    const view = new DataView(bytes.buffer);
    return {
      lossSum: view.getFloat64(fieldOf("loss_sum").offset, true),
      gradNorm: view.getFloat32(fieldOf("grad_norm").offset, true),
      halted: view.getInt32(fieldOf("halted").offset, true) !== 0,
      firstBad: view.getInt32(fieldOf("first_bad").offset, true),
      stepsDone: view.getUint32(fieldOf("steps_done").offset, true),
    };
  }

  dispose(): void {
    this.#storage.release();
  }
}

function fieldOf(name: string) {
  const field = engine().description.stepRecord.fields[name];
  if (field === undefined) throw new Error(`the step record has no field ${name}`);
  return field;
}

function put(bytes: DataView, name: string, value: number): void {
  const { type, offset } = fieldOf(name);
  if (type === "u64") bytes.setBigUint64(offset, BigInt(value), true);
  else if (type === "u32") bytes.setUint32(offset, value, true);
  else if (type === "i32") bytes.setInt32(offset, value, true);
  else if (type === "f32") bytes.setFloat32(offset, value, true);
  else bytes.setFloat64(offset, value, true);
}
