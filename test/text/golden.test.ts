/** @file Everything in test/fixtures/text, compared exactly: ids, decoded text, streams, rendered chats, spans and masks. */
import { describe, expect, it } from "vitest";
import { createTextStream, type Example, ignoredLabel, loadTokenizer, renderExample, type Tokenizer } from "../../lib/text/index.js";
import { failureOf } from "./failure.js";
import { type ChatCase, cases, folder, type Style, styles, text } from "./golden.js";

const codes = { template: "TEMPLATE_RAISED", "no-assistant-turn": "EXAMPLE_NO_ASSISTANT", "no-trained-token": "EXAMPLE_NO_TRAINED_TOKEN" } as const;

function expectMask({ tokens, labels }: Example, ids: readonly number[], trained: readonly number[]): void {
  expect(tokens).toEqual(ids);
  expect(labels).toEqual(ids.map((id, t) => (trained[t] === 1 ? id : ignoredLabel)));
}

/** The tokenizer of a folder with another template. */
function withTemplate(style: Style, template: string): Promise<Tokenizer> {
  const config = JSON.parse(text(style, "tokenizer_config.json")) as Record<string, unknown>;
  return loadTokenizer({
    "tokenizer.json": text(style, "tokenizer.json"),
    "tokenizer_config.json": JSON.stringify({ ...config, chat_template: template }),
  });
}

describe.each(styles)("%s", (style) => {
  it("tokenizes and decodes every string", async () => {
    const tokenizer = await loadTokenizer(folder(style));
    const all = cases.tokenize(style);
    expect(all.length).toBeGreaterThan(200);
    for (const { text, ids, idsWithSpecial, decoded, decodedSkip } of all) {
      expect(tokenizer.encode(text, { addSpecialTokens: false }), text).toEqual(ids);
      expect(tokenizer.encode(text), text).toEqual(idsWithSpecial);
      expect(tokenizer.decode(idsWithSpecial), text).toBe(decoded);
      expect(tokenizer.decode(idsWithSpecial, { skipSpecialTokens: true }), text).toBe(decodedSkip);
      expect(tokenizer.encodeWithOffsets(text).ids, text).toEqual(idsWithSpecial);
    }
  });

  it("streams without splitting characters", async () => {
    const tokenizer = await loadTokenizer(folder(style));
    const all = cases.stream(style);
    expect(all).toHaveLength(13);
    for (const { ids, pieces, text } of all) {
      const stream = createTextStream(tokenizer);
      const shown = ids.map((id) => stream.push(id));
      // The cases were made with the whole text known: U+FFFD as a character is there at its first byte, when nobody can tell it from
      // the start of another character. It must come with its last byte.
      expect(shown, text).toEqual(text.includes("\ufffd") ? delayed(pieces) : pieces);
      expect(stream.end(), text).toBe("");
    }
  });

  const chat = cases.chat(style);
  describe.each(Object.keys(chat.templates))("template %s", (name) => {
    const mine = chat.cases.filter(({ template }) => template === name);
    it.each(mine)("$name", async (example) => {
      const tokenizer = await withTemplate(style, chat.templates[name]?.template ?? "");
      await checkChat(tokenizer, example);
    });
  });

  it("masks rows without roles", async () => {
    const tokenizer = await loadTokenizer(folder(style));
    const all = cases.rows(style);
    expect(all).toHaveLength(13);
    for (const row of all) {
      const { maxLength, trained, ids, error } = row;
      const render = (): Example => renderExample(row, tokenizer, maxLength === undefined ? {} : { maxLength });
      if (error !== undefined) expect((await failureOf(render)).code).toBe(codes[error]);
      else expectMask(render(), ids, trained ?? []);
    }
  });
});

/** Moves U+FFFD from the first to the last of the tokens of its three bytes; what is between shows nothing. */
function delayed(pieces: readonly string[]): string[] {
  const at = pieces.indexOf("\ufffd");
  const last = pieces.findIndex((piece, k) => k > at && piece !== "") - 1;
  return pieces.map((piece, k) => (k === at ? "" : k === last ? "\ufffd" : piece));
}

async function checkChat(tokenizer: Tokenizer, example: ChatCase): Promise<void> {
  const { messages, tools, templateArgs, now, maxLength, error } = example;
  const common = { ...(templateArgs ? { templateArgs } : {}), ...(now === undefined ? {} : { now: new Date(now) }) };
  const chatOptions = { ...common, ...(tools ? { tools } : {}) };
  const render = (): Example =>
    renderExample({ messages, ...(tools ? { tools } : {}) }, tokenizer, { ...common, ...(maxLength ? { maxLength } : {}) });
  if (error === "template") {
    const failure = await failureOf(() => tokenizer.applyChatTemplate(messages, chatOptions));
    expect(failure.code).toBe("TEMPLATE_RAISED");
    expect(failure.details["raised"]).toBe(example.message);
    return;
  }
  const rendered = tokenizer.applyChatTemplate(messages, chatOptions);
  expect(rendered).toBe(example.text);
  expect(tokenizer.encode(rendered, { addSpecialTokens: false }).slice(0, maxLength)).toEqual(example.ids);
  const prompt = tokenizer.applyChatTemplate(messages, { ...chatOptions, addGenerationPrompt: true });
  expect(prompt).toBe(example.promptText);
  expect(tokenizer.encode(prompt, { addSpecialTokens: false })).toEqual(example.promptIds);
  if (error !== undefined) {
    expect((await failureOf(render)).code).toBe(codes[error]);
    return;
  }
  const made = render();
  expect(made.text).toBe(example.text);
  expect(made.spans).toEqual(example.spans);
  expectMask(made, example.ids ?? [], example.trained ?? []);
}
