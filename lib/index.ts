/**
 * lowrank: train LoRA adapters inside Node.js and Electron.
 * @packageDocumentation
 */
export { checkpoint } from "./autograd/checkpoint.js";
export { Parameter } from "./autograd/parameter.js";
export { manualSeed } from "./autograd/randomness.js";
export { type GradientOptions, valueAndGrad } from "./autograd/value-and-grad.js";
export * from "./functions.js";
export * from "./lora/index.js";
export * from "./models/index.js";
export { type ErrorCode, errorCodes } from "./native/error-codes.js";
export { type ErrorDetails, LowrankError } from "./native/errors.js";
export { packageVersion as version } from "./native/load.js";
export * from "./nn/index.js";
export { ones, type TensorData, type TensorOptions, tensor, zeros } from "./tensor/create.js";
export { deviceInfo, type MemoryInfo, memory, type ProfileRow, profile, resetPeakMemory, synchronize } from "./tensor/device.js";
export type { DataOf, DType, FloatDType, QuantizedDType, WeightDType } from "./tensor/dtype.js";
export { quantize } from "./tensor/quantize.js";
export { tidy } from "./tensor/scope.js";
export type { Dim, Dyn, Shape } from "./tensor/shape.js";
export { Tensor } from "./tensor/tensor.js";
export * from "./text/index.js";
export * from "./train/index.js";
