export { type ModelConfig, parseModelConfig } from "./config.js";
export { CausalLm, type TokenBatch } from "./decoder.js";
export { type LoadModelOptions, type LoadProgress, loadModel } from "./load-model.js";
