/** @file Chat templates: hostile ones end in an error, honest ones print what Jinja prints. */
import { createHash } from "node:crypto";
import { beforeAll, describe, expect, it } from "vitest";
import { ChatTemplate, type ChatTemplateOptions, loadTokenizer, type Message, type Tokenizer } from "../../lib/text/index.js";
import { strftime } from "../../lib/text/strftime.js";
import { failureOf } from "./failure.js";
import { text } from "./golden.js";

let vocabulary = "";
beforeAll(() => {
  vocabulary = text("gpt2-style", "tokenizer.json");
});

const tokenizerWith = (template: string): Promise<Tokenizer> => loadTokenizer({ "tokenizer.json": vocabulary, "chat_template.jinja": template });

const hello: Message[] = [{ role: "user", content: "Hello" }];

async function render(template: string, messages = hello, options: ChatTemplateOptions = {}): Promise<string> {
  return (await tokenizerWith(template)).applyChatTemplate(messages, options);
}

/** Half a megabyte in `x`. */
const big = '{% set ns = namespace(a="aaaaaaaaaaaaaaaa") %}{% for i in range(15) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{% set x = ns.a %}';
const loop = (body: string): string => `${big}{% set r = range(80000) %}{% for k in r %}${body}{% endfor %}`;

/** Name, template. */
const hostile: readonly (readonly [string, string])[] = [
  ["nested loops", "{% for i in range(80000) %}{% for j in range(80000) %}{% endfor %}{% endfor %}"],
  ["nested loops with a body", "{% for i in range(80000) %}{% for j in range(80000) %}x{% endfor %}{% endfor %}"],
  ["loops over a list made once", "{% set r = range(80000) %}{% for j in r %}{% for i in r %}{% endfor %}{% endfor %}"],
  ["a loop that goes on at once", "{% for i in range(80000) %}{% for j in range(80000) %}{% continue %}{% endfor %}{% endfor %}"],
  ["a huge range", "{% for i in range(10**10) %}x{% endfor %}"],
  ["a string that doubles", "{% set ns = namespace(a='aa') %}{% for i in range(60) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}"],
  ["a list that doubles", "{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = ns.a + ns.a %}{% endfor %}"],
  ["a list that holds itself twice, often", "{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}"],
  ["a namespace that holds itself", "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}"],
  ["a list that holds itself", "{% set ns = namespace() %}{% set ns.a = [ns, ns] %}{{ ns.a | tojson }}"],
  ["a macro that calls itself", "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}"],
  ["a macro that calls itself twice", "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}"],
  ["macros made in a loop", `{% for k in range(80000) %}{% macro f() %}${"{{ a }}".repeat(5000)}{% endmacro %}{% endfor %}`],
  ["a replacement of nothing", `${big}{{ x.replace("", x) }}`],
  ["a replacement of every character", `${big}{{ x | replace("a", x) }}`],
  ["a replacement by a method kept", `${big}{% set f = "aaaaaaaaaaaaaaaaaaaaaaaa".replace %}{{ f("a", x) }}`],
  ["a replacement by a method looked up", `${big}{{ x["repl" ~ "ace"]("a", x) }}`],
  ["a long separator", `${big}{{ [1, 2, 3, 4] | join(x) }}`],
  ["a long separator of characters", `${big}{{ "abcd" | join(x) }}`],
  ["a deep indentation", '{{ "a\\nb" | indent(500000000) }}'],
  ["a deep indentation by name", '{{ "a\\nb" | indent(width=500000000) }}'],
  ["deeply indented JSON", "{{ [1, [2]] | tojson(indent=100000000) }}"],
  ["JSON with long separators", `${big}{{ [1, 2, 3] | tojson(separators=(x, x)) }}`],
  ["pieces of a long string", `${big}{{ x.split("a") | length }}`],
  ...[
    "x | upper",
    "x.strip()",
    'x.replace("b", "c")',
    '"b" in x',
    "x.title()",
    "x[1:]",
    "[x, x] | sort",
    "[x] | tojson",
    "r | unique",
    "r[::2]",
    "r | reverse",
    "x == x ~ 1",
  ].map((expression) => [`many times ${expression}`, loop(`{% set y = ${expression} %}`)] as const),
  ["a name that is unknown, many times", "{% for k in range(80000) %}{% for l in range(80000) %}{{ nope }}{% endfor %}{% endfor %}"],
  ["parentheses", `{{ ${"(".repeat(100_000)}1${")".repeat(100_000)} }}`],
  ["nested blocks", "{% if a %}".repeat(50_000)],
  ["a chain of elif", `{% if a %}${"{% elif b %}".repeat(50_000)}{% endif %}`],
  ["a long run of white space", `${" ".repeat(900_000)}{{ 1 }}`],
];

describe("TEMPLATE_LIMIT stops", () => {
  it.each(hostile)("%s", async (_, template) => {
    const failure = await failureOf(() => render(template));
    expect(failure.code).toBe("TEMPLATE_LIMIT");
    expect(failure.message).toMatch(/^chat_template\.jinja: the chat template \S.+\. \S.+/);
  });

  it("but not long conversations", async () => {
    const template =
      "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content | trim + '<|im_end|>' }}{% if loop.index0 == messages | length - 1 %}.{% endif %}{% endfor %}";
    const messages = Array.from({ length: 500 }, (_, k) => ({ role: k % 2 === 0 ? "user" : "assistant", content: "word ".repeat(2000) }));
    expect((await render(template, messages)).length).toBeGreaterThan(5_000_000);
  });
});

describe("other errors", () => {
  it.each([
    ["an open block", "{% for m in messages %}{{ m.content }}", "TEMPLATE_SYNTAX"],
    ["an open expression", "{{ messages", "TEMPLATE_SYNTAX"],
    ["an unknown statement", "{% frobnicate %}", "TEMPLATE_SYNTAX"],
    ["include", '{% include "x" %}', "TEMPLATE_UNSUPPORTED"],
    ["import", '{% import "x" as y %}', "TEMPLATE_UNSUPPORTED"],
    ["from", '{% from "x" import y %}', "TEMPLATE_UNSUPPORTED"],
    ["an unknown filter", "{{ messages | frobnicate }}", "TEMPLATE_FAILED"],
    ["the class of a string", "{{ ''.__class__.__mro__() }}", "TEMPLATE_FAILED"],
    ["a constructor", '{{ messages.constructor.constructor("return process")() }}', "TEMPLATE_FAILED"],
    ["a constructor of a function", '{{ range.constructor("return process")() }}', "TEMPLATE_FAILED"],
    ["a product of text and number", '{{ "a" * 10**9 }}', "TEMPLATE_FAILED"],
    ["an unknown directive of the clock", '{{ strftime_now("%Q") }}', "TEMPLATE_FAILED"],
  ] as const)("%s", async (_, template, code) => {
    expect((await failureOf(() => render(template))).code).toBe(code);
  });

  it("a message of the template comes through", async () => {
    const failure = await failureOf(() => render('{{ raise_exception("Only \\"user\\" may speak.") }}'));
    expect(failure.code).toBe("TEMPLATE_RAISED");
    expect(failure.details["raised"]).toBe('Only "user" may speak.');
    expect(failure.message).toContain('Only \\"user\\" may speak.');
  });

  it("wrong arguments are named", async () => {
    const tokenizer = await tokenizerWith("x");
    expect((await failureOf(() => tokenizer.applyChatTemplate("hello" as never))).code).toBe("BAD_ARGUMENT");
    expect((await failureOf(() => tokenizer.applyChatTemplate([...hello, { content: "x" } as never]))).message).toContain("messages[1]");
    expect((await failureOf(() => tokenizer.applyChatTemplate(hello, { templateArgs: { messages: [] } }))).code).toBe("BAD_ARGUMENT");
    expect((await failureOf(() => tokenizer.applyChatTemplate(hello, { template: "other" }))).code).toBe("TEMPLATE_MISSING");
    const bare = await loadTokenizer({ "tokenizer.json": vocabulary });
    expect((await failureOf(() => bare.applyChatTemplate(hello))).code).toBe("TEMPLATE_MISSING");
  });
});

describe("rendering", () => {
  it.each([
    ["truth values and None as Python has them", "{{ true }} {{ none }} {{ 'a' ~ false }}{% if none %}x{% endif %}", "True None aFalse"],
    ["nothing for statements", "{% set a = true %}{% macro f() %}x{% endmacro %}{# c #}|", "|"],
    ["names of both cases", "{{ True == true }}{{ None is none }}", "TrueTrue"],
    ["ranges", "{{ range(3) | join(',') }} {{ range(5, 0, -2) | join(',') }} {{ range(0) | length }}", "0,1,2 5,3,1 0"],
    ["no tools when none are given", "{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}", "TrueTrueFalse"],
    ["line breaks of Windows as \\n", "{{ 'a\r\nb' }}\r\nc{% if true %}\r\nd{% endif %}{{ '\\r' }}", "a\nb\ncd\r"],
    ["white space as transformers has it", "  {% if true %}\n  a\n  {% endif %}\nb\n", "  a\nb"],
  ])("%s", async (_, template, expected) => {
    expect(await render(template)).toBe(expected);
  });

  it("passes tools, arguments and special tokens", async () => {
    const tokenizer = await loadTokenizer({
      "tokenizer.json": vocabulary,
      "tokenizer_config.json": JSON.stringify({
        eos_token: { content: "<|im_end|>" },
        chat_template: [
          { name: "default", template: "{{ eos_token }}{{ mood }}" },
          { name: "tool_use", template: "{{ tools | tojson }}" },
        ],
      }),
    });
    expect(tokenizer.applyChatTemplate(hello, { templateArgs: { mood: "good" } })).toBe("<|im_end|>good");
    expect(tokenizer.applyChatTemplate(hello, { tools: [{ name: "größe", args: [1, null] }] })).toBe('[{"name": "größe", "args": [1, null]}]');
    expect(tokenizer.applyChatTemplate(hello, { tools: [], template: "default" })).toBe("<|im_end|>");
  });

  it("has the hash of its text, and the file wins over the configuration", async () => {
    const tokenizer = await loadTokenizer({
      "tokenizer.json": vocabulary,
      "tokenizer_config.json": JSON.stringify({ chat_template: "old" }),
      "chat_template.jinja": "neü",
    });
    const template = tokenizer.chatTemplates.get("default");
    expect(template?.text).toBe("neü");
    expect(template?.hash).toBe(createHash("sha256").update("neü", "utf8").digest("hex"));
  });

  it("has no byte order mark, wherever it comes from", async () => {
    const bytes = new TextEncoder().encode("\ufeff{{ 1 }}");
    const ways = [
      { "chat_template.jinja": bytes },
      { "tokenizer_config.json": JSON.stringify({ chat_template: "\ufeff{{ 1 }}" }) },
      { "tokenizer_config.json": JSON.stringify({ chat_template: [{ name: "default", template: "\ufeff{{ 1 }}" }] }) },
    ];
    for (const files of ways) {
      const tokenizer = await loadTokenizer({ "tokenizer.json": vocabulary, ...files });
      expect(tokenizer.applyChatTemplate(hello)).toBe("1");
      expect(tokenizer.chatTemplates.get("default")?.hash).toBe(createHash("sha256").update("{{ 1 }}").digest("hex"));
    }
    expect(new ChatTemplate("\ufeffa", "").text).toBe("a");
  });

  it("tells the time in English", () => {
    const date = new Date("2025-02-09T08:05:03");
    expect(strftime(date, "%d %b %Y, %A %H:%M:%S %j %I%p %y %%")).toBe("09 Feb 2025, Sunday 08:05:03 040 08AM 25 %");
    expect(strftime(date, "%F %T %a %B %m %w")).toBe("2025-02-09 08:05:03 Sun February 02 0");
  });
});
