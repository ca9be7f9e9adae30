export type { AttachedAdapter } from "./adapter-switch.js";
export { bundledModel } from "./bundled.js";
export { type ModelConfig, parseModelConfig } from "./config.js";
export { CausalLm, type CausalLmOptions, type LossInputs, type TokenBatch } from "./decoder.js";
export { type GenerateOptions, type GenerateTokensOptions, generate, generateTokens } from "./generate.js";
export type { GenerationDefaults } from "./generation-config.js";
export { type LoadModelOptions, type LoadProgress, loadModel } from "./load-model.js";
