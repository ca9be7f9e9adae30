/** @file The text half: tokenizers, chat templates, training examples. */
export { ChatTemplate, type ChatTemplateOptions, type ChatTemplates, type Message } from "./chat-template.js";
export { type Dataset, type DatasetItem, readExamples, type SkippedRow } from "./dataset.js";
export type { ReadOptions } from "./dataset-options.js";
export type { SampleOptions } from "./dataset-sample.js";
export type { DatasetProgress } from "./dataset-slices.js";
export {
  type Example,
  type ExampleOptions,
  ignoredLabel,
  type MessagesRow,
  type PromptRow,
  renderExample,
  type TextRow,
  type TrainingRow,
} from "./example.js";
export { loadTokenizer, type TokenizerFileName, type TokenizerFiles } from "./load.js";
export type { Span } from "./spans.js";
export { createTextStream, type TextStream, type TextStreamOptions } from "./stream.js";
export { type DecodeOptions, type EncodeOptions, type Encoding, Tokenizer } from "./tokenizer.js";
