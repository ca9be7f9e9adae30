/** @file The messages that generate gets are checked as rows of data are, before they are rendered. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { type CausalLm, generate, loadModel, type Message } from "../../lib/index.js";
import { pathOf } from "./golden-llm.js";

let model: CausalLm;
beforeAll(async () => {
  model = await loadModel(pathOf("llama", "model"));
});
afterAll(() => model.dispose());

it.each<[messages: unknown, code: string, problem: string]>([
  [[{ role: "user", text: "x" }], "DATA_BAD_FIELD", "generate: messages[0].content must be a string"],
  [[{ role: "asistant", content: "x" }], "DATA_BAD_ROLE", 'Write "assistant"'],
  [[{ role: "user", content: "x" }, { content: "y" }], "DATA_BAD_FIELD", "generate: messages[1].role must be a string"],
  [["x"], "DATA_BAD_FIELD", "generate: messages[0] must be an object"],
  [[], "DATA_BAD_FIELD", "generate: messages must be a list of at least one message"],
])("%j is refused", (messages, code, problem) => {
  const message = expect.stringContaining(problem);
  expect(() => generate(model, messages as Message[])).toThrow(expect.objectContaining({ code, message }));
  expect(() => generate(model, messages as Message[])).not.toThrow(/row/);
  const details = expect.objectContaining({ hint: expect.not.stringContaining("row") });
  expect(() => generate(model, messages as Message[])).toThrow(expect.objectContaining({ details }));
});
