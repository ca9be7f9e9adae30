/** @file The plain implementations by op. */
import { crossEntropy, type PlainOp, softmax } from "./plain.js";
import { transformerOps } from "./plain-transformer.js";

export const plainOps: Readonly<Record<string, PlainOp>> = { softmax, crossEntropy, ...transformerOps };
