export { Dropout } from "./dropout.js";
export { Embedding, type EmbeddingOptions } from "./embedding.js";
export { Linear, type LinearOptions } from "./linear.js";
export type { LowRankBranch } from "./low-rank.js";
export { Module, type RandomSource } from "./module.js";
export type { LoadOptions } from "./module-file.js";
export { RmsNorm } from "./rms-norm.js";
export { ropeTable } from "./rope-table.js";
export { Sequential, type Step } from "./sequential.js";
