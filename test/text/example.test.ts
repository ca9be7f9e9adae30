/** @file Rows whose masks the golden cases do not cover: reasoning written anew, tool calls, templates that change the words. */
import { describe, expect, it } from "vitest";
import { type Example, loadTokenizer, type Message, renderExample, type TrainingRow } from "../../lib/text/index.js";
import { failureOf } from "./failure.js";
import { folder, text } from "./golden.js";

const config = { eos_token: "<|im_end|>", pad_token: "<|pad|>" };

async function example(template: string, row: TrainingRow, options = {}): Promise<Example> {
  const tokenizer = await loadTokenizer({
    "tokenizer.json": text("gpt2-style", "tokenizer.json"),
    "tokenizer_config.json": JSON.stringify({ ...config, chat_template: template }),
  });
  return renderExample(row, tokenizer, options);
}

/** What of the text is trained. */
const trained = ({ text, spans }: Example): string[] => spans.map(([start, end]) => text.slice(start, end));

/** Takes the reasoning apart and writes it anew in the last answer, as the templates of Qwen 3 do. */
const reasoning = `{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}
{%- for m in messages %}
    {%- if m.role == 'assistant' %}
        {%- set thought = '' %}{%- set content = m.content %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last %}{{- '<think>\\n' + thought + '\\n</think>\\n\\n' }}{%- endif %}
        {{- content + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}`;

/** Prints tool calls beside contents, which may be null. */
const calling = `{%- for m in messages %}
    {{- '<|im_start|>' + m.role }}
    {%- if m.content %}{{- '\\n' + m.content }}{%- endif %}
    {%- for call in m.tool_calls or [] %}{{- '\\n<call>' + call | tojson + '</call>' }}{%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant' }}{%- endif %}`;

describe("spans", () => {
  it("of reasoning that the template writes anew", async () => {
    const messages: Message[] = [
      { role: "user", content: "One?" },
      { role: "assistant", content: "<think>hm</think>First." },
      { role: "user", content: "Two?" },
      { role: "assistant", content: "<think>\n\nwell</think>\nSecond." },
    ];
    expect(trained(await example(reasoning, { messages }))).toEqual(["First.<|im_end|>", "<think>\nwell\n</think>\n\nSecond.<|im_end|>"]);
  });

  it("of answers that call tools", async () => {
    const messages: Message[] = [
      { role: "user", content: "Find it." },
      { role: "assistant", content: null, tool_calls: [{ name: "find" }] },
      { role: "tool", content: "found" },
      { role: "assistant", content: "Here it is." },
    ];
    expect(trained(await example(calling, { messages }))).toEqual(['\n<call>{"name": "find"}</call><|im_end|>', "Here it is.<|im_end|>"]);
  });

  it("end at the special token of each turn, where the last one ends otherwise", async () => {
    const template = "{% for m in messages %}{{ m.role + ':' + m.content }}{{ '<|endoftext|>' if loop.last else '<|im_end|>' }}\n{% endfor %}";
    const messages: Message[] = [
      { role: "assistant", content: "One." },
      { role: "user", content: "?" },
      { role: "assistant", content: "Two." },
    ];
    expect(trained(await example(template, { messages }))).toEqual(["One.<|im_end|>", "Two.<|endoftext|>"]);
  });

  it("cannot be found when the template changes the words", async () => {
    const template = "{% for m in messages %}{{ m.content | upper }}<|im_end|>{% endfor %}";
    const failure = await failureOf(() => example(template, { messages: [{ role: "assistant", content: "hello" }] }));
    expect(failure.code).toBe("TEMPLATE_SPAN");
    expect(failure.details.actual).toBe("HELLO<|im_end|>");
    expect(failure.details.expected).toBe("\ue000<|im_end|>");
  });

  it("are found in linear time, however many ways there are to look for them", async () => {
    const template = "{% for m in messages %}{{ m.content }}{% endfor %}{{ 'no' if messages[0].content == ' a ' else 'yes' }}";
    const messages = Array.from({ length: 200 }, () => ({ role: "assistant", content: " a " }));
    expect((await failureOf(() => example(template, { messages }))).code).toBe("TEMPLATE_SPAN");
  });

  it("of 20,000 messages", async () => {
    const template = "{% for m in messages %}{{ '[' + m.role + ']' + m.content | trim + '<|im_end|>' }}{% endfor %}";
    const messages = Array.from({ length: 20_000 }, (_, k) => ({ role: k % 2 === 0 ? "user" : "assistant", content: ` word ${k}\n` }));
    const spans = trained(await example(template, { messages }));
    expect(spans).toHaveLength(10_000);
    expect(spans.every((span, k) => span === `word ${2 * k + 1}<|im_end|>`)).toBe(true);
  });

  it("of very many answers that call tools are too much work", async () => {
    const messages = Array.from({ length: 8000 }, (_, k) => (k % 2 === 0 ? { role: "user", content: "x" } : { role: "assistant", tool_calls: [k] }));
    expect((await failureOf(() => example(calling, { messages: messages as Message[] }))).code).toBe("DATA_ROW_TOO_LARGE");
  });

  it("survive contents with private-use characters", async () => {
    const template = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}";
    expect(trained(await example(template, { messages: [{ role: "assistant", content: "\ue000\ue001" }] }))).toEqual(["\ue000\ue001<|im_end|>"]);
  });
});

describe("rows", () => {
  it.each([
    ["null", null],
    ["of nothing known", { texts: "a" }],
    ["with a prompt alone", { prompt: "a" }],
    ["with a text that is a number", { text: 1 }],
    ["with messages that are a text", { messages: "a" }],
  ])("%s are EXAMPLE_BAD_ROW", async (_, row) => {
    expect((await failureOf(() => example("x", row as never))).code).toBe("EXAMPLE_BAD_ROW");
  });

  it("that were cut say how long they are", async () => {
    const failure = await failureOf(() => example("x", { prompt: "a long prompt ", completion: "x" }, { maxLength: 3 }));
    expect(failure.code).toBe("EXAMPLE_NO_TRAINED_TOKEN");
    expect(failure.message).toContain("raise maxLength (now 3)");
    expect((await failureOf(() => example("x", { text: "a" }, { maxLength: 0 }))).code).toBe("BAD_ARGUMENT");
  });

  it("of text need an end-of-text token", async () => {
    const tokenizer = await loadTokenizer({ "tokenizer.json": text("gpt2-style", "tokenizer.json") });
    expect((await failureOf(() => renderExample({ text: "a" }, tokenizer))).code).toBe("TOKENIZER_BAD_CONFIG");
  });

  it("with a sentence of the folder's own template agree with its prompt up to each span", async () => {
    const tokenizer = await loadTokenizer(folder("gpt2-style"));
    expect(tokenizer.chatTemplates.size).toBe(0);
    const messages: Message[] = [
      { role: "user", content: "Who paints?" },
      { role: "assistant", content: "The child." },
      { role: "user", content: "And who sees?" },
      { role: "assistant", content: "The cat." },
    ];
    const { tokens, labels } = await example(reasoning, { messages: messages.slice(0, 2) });
    const first = labels.findIndex((label) => label >= 0);
    const withTemplate = await loadTokenizer({
      "tokenizer.json": text("gpt2-style", "tokenizer.json"),
      "tokenizer_config.json": JSON.stringify({ ...config, chat_template: reasoning }),
    });
    const prompt = withTemplate.applyChatTemplate(messages.slice(0, 1), { addGenerationPrompt: true });
    expect(tokens.slice(0, withTemplate.encode(prompt).length)).toEqual(withTemplate.encode(prompt));
    expect(first).toBeGreaterThanOrEqual(withTemplate.encode(prompt).length);
  });
});
