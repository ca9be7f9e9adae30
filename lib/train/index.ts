export type { IndexedData, TrainingData } from "./data.js";
export { type EvaluationResult, evaluate } from "./evaluate.js";
export type { DoneEvent, EvalEvent, StepEvent, TrainingEvent, TrainingResult, WarningEvent } from "./events.js";
export { type AdamOptions, adam, adamw, type Optimizer, type SgdOptions, sgd } from "./optimizers.js";
export type { EvaluateOptions, EvaluationPlan, LossResult, TrainOptions } from "./options.js";
export { permutation } from "./permutation.js";
export { type ProgressOptions, type ProgressStream, showProgress } from "./progress.js";
export { type Schedule, scheduleFactor } from "./schedule.js";
export { type Trainable, Training, train } from "./train.js";
