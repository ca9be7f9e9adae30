/** @file Which chat template a prompt is rendered with: the one that the adapter was trained with. */
import { quoted } from "../native/errors.js";
import { ChatTemplate, type Tokenizer } from "../text/index.js";
import type { AttachedAdapter } from "./adapter-switch.js";

/** The tokenizer, with the chat template of the adapters that are on where they have one. `onWarning` hears of differences. */
export function promptTokenizer(
  tokenizer: Tokenizer,
  adapters: readonly AttachedAdapter[],
  onWarning: (message: string) => void,
): Pick<Tokenizer, "applyChatTemplate"> {
  const [first, ...others] = adapters.flatMap(({ name, chatTemplate }) =>
    chatTemplate === undefined ? [] : [{ name, template: new ChatTemplate(chatTemplate, `chat_template.jinja of the adapter ${quoted(name)}`) }],
  );
  if (first === undefined) return tokenizer;
  const { template } = first;
  const other = others.find((one) => one.template.text !== template.text);
  if (other !== undefined) {
    onWarning(
      `The adapters ${quoted(first.name)} and ${quoted(other.name)} were trained with different chat templates (SHA-256 ${template.hash} and ${other.template.hash}). ` +
        `The prompt is rendered with that of ${quoted(first.name)}.`,
    );
  }
  const own = tokenizer.chatTemplates.get("default");
  if (own !== undefined && own.text !== template.text) {
    onWarning(
      `The adapter ${quoted(first.name)} was trained with another chat template (SHA-256 ${template.hash}) than the model's (SHA-256 ${own.hash}). ` +
        "The prompt is rendered with the adapter's.",
    );
  }
  // The same tokenizer with its special tokens, seen with other templates.
  return Object.create(tokenizer, { chatTemplates: { value: new Map([["default", template]]) } }) as Tokenizer;
}
