/** @file Damaged and hostile tokenizer files: each loads, or gives a LowrankError that names the file, the place and the way out. */
import { mkdtemp, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { ErrorCode } from "../../lib/native/error-codes.js";
import { LowrankError } from "../../lib/native/errors.js";
import { loadTokenizer } from "../../lib/text/index.js";
import { failureOf } from "./failure.js";
import { folder, text } from "./golden.js";

type Json = Record<string, unknown>;

const bpe = (change: (json: Json & { model: Json; added_tokens: Json[] }) => void): string => {
  const json = {
    version: "1.0",
    added_tokens: [{ id: 5, content: "<end>", special: true }],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: "Fuse" },
    model: {
      type: "BPE",
      vocab: { a: 0, b: 1, ab: 2, "<u>": 3, aba: 4 },
      merges: [
        ["a", "b"],
        ["ab", "a"],
      ],
      unk_token: "<u>",
    },
  };
  change(json);
  return JSON.stringify(json);
};

const unigram = (model: Json): string =>
  bpe((json) => {
    json.model = { type: "Unigram", unk_id: 0, ...model };
    json.added_tokens = [];
  });

const nested = (depth: number): unknown =>
  Array.from({ length: depth }).reduce<unknown>((inner) => ({ type: "Sequence", normalizers: [inner] }), { type: "NFC" });

const split = (pattern: unknown): unknown => ({ type: "Split", pattern, behavior: "Isolated", invert: false });

const template = (single: unknown, specialTokens: unknown): unknown => ({
  type: "TemplateProcessing",
  single,
  pair: [],
  special_tokens: specialTokens,
});

const cases: readonly (readonly [name: string, file: string, code: ErrorCode])[] = [
  ["nothing", "", "TOKENIZER_BAD_JSON"],
  ["an open brace", "{", "TOKENIZER_BAD_JSON"],
  ["a list", "[]", "TOKENIZER_BAD_JSON"],
  ["no model", bpe((json) => Object.assign(json, { model: undefined })), "TOKENIZER_BAD_JSON"],
  ["a model that is null", bpe((json) => Object.assign(json, { model: null })), "TOKENIZER_BAD_JSON"],
  ["a key twice", '{"model": {"type": "BPE", "vocab": {"a": 0, "a": 1}, "merges": []}}', "TOKENIZER_DUPLICATE_KEY"],
  ["bytes that are not UTF-8", "\xff", "TOKENIZER_BAD_JSON"],
  ["an unknown model", bpe(({ model }) => Object.assign(model, { type: "Foo" })), "TOKENIZER_UNSUPPORTED"],
  ["a model without type and merges", bpe((json) => Object.assign(json, { model: { vocab: {} } })), "TOKENIZER_UNSUPPORTED"],
  ["WordPiece", bpe(({ model }) => Object.assign(model, { type: "WordPiece" })), "TOKENIZER_UNSUPPORTED"],
  ["dropout", bpe(({ model }) => Object.assign(model, { dropout: 0.1 })), "TOKENIZER_UNSUPPORTED"],
  ["an end-of-word suffix", bpe(({ model }) => Object.assign(model, { end_of_word_suffix: "</w>" })), "TOKENIZER_UNSUPPORTED"],
  ["a vocabulary that is a list", bpe(({ model }) => Object.assign(model, { vocab: ["a"] })), "TOKENIZER_BAD_VOCAB"],
  ...[-1, 1.5, 2 ** 32, 4294967295, 1e300, "0", null, [0]].map(
    (id) => [`the id ${String(id)}`, bpe(({ model }) => Object.assign(model, { vocab: { a: id } })), "TOKENIZER_BAD_VOCAB"] as const,
  ),
  ["two tokens with one id", bpe(({ model }) => Object.assign(model, { vocab: { a: 0, b: 0 } })), "TOKENIZER_BAD_VOCAB"],
  ["a very long token", bpe(({ model }) => Object.assign(model, { vocab: { ["a".repeat(2000)]: 0 } })), "TOKENIZER_TOO_LARGE"],
  ["merges that are an object", bpe(({ model }) => Object.assign(model, { merges: {} })), "TOKENIZER_BAD_MERGE"],
  ["a merge of a token that is missing", bpe(({ model }) => Object.assign(model, { merges: ["a x"] })), "TOKENIZER_BAD_MERGE"],
  ["a merge whose result is missing", bpe(({ model }) => Object.assign(model, { merges: ["ab ab"] })), "TOKENIZER_BAD_MERGE"],
  ["a merge that gives its own part", bpe(({ model }) => Object.assign(model, { merges: [["", "a"]] })), "TOKENIZER_BAD_MERGE"],
  ["a merge of one", bpe(({ model }) => Object.assign(model, { merges: ["a"] })), "TOKENIZER_BAD_MERGE"],
  ["a merge of three", bpe(({ model }) => Object.assign(model, { merges: ["a b a"] })), "TOKENIZER_BAD_MERGE"],
  ["a merge of three in a list", bpe(({ model }) => Object.assign(model, { merges: [["a", "b", "a"]] })), "TOKENIZER_BAD_MERGE"],
  ["a merge of numbers", bpe(({ model }) => Object.assign(model, { merges: [[0, 1]] })), "TOKENIZER_BAD_MERGE"],
  ["an unknown token that is missing", bpe(({ model }) => Object.assign(model, { unk_token: "<x>" })), "TOKENIZER_BAD_COMPONENT"],
  ["a flag that is a word", bpe(({ model }) => Object.assign(model, { byte_fallback: "yes" })), "TOKENIZER_BAD_COMPONENT"],
  ["unigram without vocabulary", unigram({}), "TOKENIZER_BAD_VOCAB"],
  ["unigram with nothing in it", unigram({ vocab: [] }), "TOKENIZER_BAD_VOCAB"],
  [
    "unigram with a token twice",
    unigram({
      vocab: [
        ["a", -1],
        ["a", -2],
      ],
    }),
    "TOKENIZER_BAD_VOCAB",
  ],
  ["unigram with a score that is a word", unigram({ vocab: [["a", "-1"]] }), "TOKENIZER_BAD_VOCAB"],
  ["unigram with an unknown id out of range", unigram({ vocab: [["a", -1]], unk_id: 1 }), "TOKENIZER_BAD_COMPONENT"],
  ["added tokens that are an object", bpe((json) => Object.assign(json, { added_tokens: {} })), "TOKENIZER_BAD_ADDED_TOKEN"],
  ["an added token without text", bpe((json) => Object.assign(json, { added_tokens: [{ id: 9, content: "" }] })), "TOKENIZER_BAD_ADDED_TOKEN"],
  [
    "an added token with the id of another",
    bpe((json) => Object.assign(json, { added_tokens: [{ id: 0, content: "x" }] })),
    "TOKENIZER_BAD_ADDED_TOKEN",
  ],
  ["an added token with two ids", bpe((json) => Object.assign(json, { added_tokens: [{ id: 9, content: "a" }] })), "TOKENIZER_BAD_ADDED_TOKEN"],
  [
    "an added token with an id of 2^32",
    bpe((json) => Object.assign(json, { added_tokens: [{ id: 2 ** 32, content: "x" }] })),
    "TOKENIZER_BAD_ADDED_TOKEN",
  ],
  [
    "an added token that is very long",
    bpe((json) => Object.assign(json, { added_tokens: [{ id: 9, content: "x".repeat(999) }] })),
    "TOKENIZER_TOO_LARGE",
  ],
  ["an unknown normalizer", bpe((json) => Object.assign(json, { normalizer: { type: "Foo" } })), "TOKENIZER_UNSUPPORTED"],
  [
    "a precompiled normalizer",
    bpe((json) => Object.assign(json, { normalizer: { type: "Precompiled", precompiled_charsmap: "AAAA" } })),
    "TOKENIZER_UNSUPPORTED",
  ],
  ["a normalizer that is a word", bpe((json) => Object.assign(json, { normalizer: "NFC" })), "TOKENIZER_BAD_COMPONENT"],
  [
    "a normalizer that replaces nothing",
    bpe((json) => Object.assign(json, { normalizer: { type: "Replace", pattern: { String: "" }, content: "" } })),
    "TOKENIZER_BAD_COMPONENT",
  ],
  [
    "a normalizer with a regular expression",
    bpe((json) => Object.assign(json, { normalizer: { type: "Replace", pattern: { Regex: "(a+)+$" }, content: "" } })),
    "TOKENIZER_UNSUPPORTED",
  ],
  ["300 nested normalizers", bpe((json) => Object.assign(json, { normalizer: nested(300) })), "TOKENIZER_NESTING"],
  ["an unknown pre-tokenizer", bpe((json) => Object.assign(json, { pre_tokenizer: { type: "Foo" } })), "TOKENIZER_UNSUPPORTED"],
  ["a catastrophic pattern", bpe((json) => Object.assign(json, { pre_tokenizer: split({ Regex: "(a+)+$" }) })), "TOKENIZER_UNSUPPORTED"],
  ["half a pattern", bpe((json) => Object.assign(json, { pre_tokenizer: split({ Regex: "(" }) })), "TOKENIZER_UNSUPPORTED"],
  ["no pattern", bpe((json) => Object.assign(json, { pre_tokenizer: split(null) })), "TOKENIZER_BAD_COMPONENT"],
  [
    "an unknown behavior",
    bpe((json) => Object.assign(json, { pre_tokenizer: { ...(split({ String: " " }) as Json), behavior: "Foo" } })),
    "TOKENIZER_BAD_COMPONENT",
  ],
  [
    "a metaspace of two characters",
    bpe((json) => Object.assign(json, { pre_tokenizer: { type: "Metaspace", replacement: "ab" } })),
    "TOKENIZER_BAD_COMPONENT",
  ],
  ["an unknown post-processor", bpe((json) => Object.assign(json, { post_processor: { type: "Foo" } })), "TOKENIZER_UNSUPPORTED"],
  [
    "two post-processors that add tokens",
    bpe((json) =>
      Object.assign(json, {
        post_processor: { type: "Sequence", processors: Array(2).fill({ type: "BertProcessing", sep: ["a", 0], cls: ["b", 1] }) },
      }),
    ),
    "TOKENIZER_UNSUPPORTED",
  ],
  [
    "a template with a token that is not described",
    bpe((json) => Object.assign(json, { post_processor: template([{ SpecialToken: { id: "<s>" } }, { Sequence: { id: "A" } }], {}) })),
    "TOKENIZER_BAD_TEMPLATE",
  ],
  [
    "a template with an id that no token has",
    bpe((json) =>
      Object.assign(json, { post_processor: template([{ SpecialToken: { id: "<s>" } }, { Sequence: { id: "A" } }], { "<s>": { ids: [77] } }) }),
    ),
    "TOKENIZER_BAD_TEMPLATE",
  ],
  ["a template without the text", bpe((json) => Object.assign(json, { post_processor: template([], {}) })), "TOKENIZER_BAD_TEMPLATE"],
  [
    "a template with a prototype's name",
    bpe((json) => Object.assign(json, { post_processor: template([{ SpecialToken: { id: "constructor" } }, { Sequence: {} }], {}) })),
    "TOKENIZER_BAD_TEMPLATE",
  ],
  ["an unknown decoder", bpe((json) => Object.assign(json, { decoder: { type: "Foo" } })), "TOKENIZER_UNSUPPORTED"],
  [
    "a decoder that multiplies text",
    bpe((json) => Object.assign(json, { decoder: { type: "Replace", pattern: { String: "a" }, content: "a".repeat(99) } })),
    "TOKENIZER_BAD_COMPONENT",
  ],
];

describe("tokenizer.json", () => {
  it.each(cases)("with %s", async (_, file, code) => {
    const bytes = file === "\xff" ? Uint8Array.of(0x22, 0xff) : file;
    const failure = await failureOf(() => loadTokenizer({ "tokenizer.json": bytes }));
    expect(failure.code).toBe(code);
    expect(failure.message).toMatch(/^tokenizer\.json: .+\. \S.+/s);
    expect(failure.details.file).toBe("tokenizer.json");
    expect(failure.details["offset"] ?? failure.details["place"]).toBeDefined();
  });

  it("that is sound loads", async () => {
    const tokenizer = await loadTokenizer({ "tokenizer.json": bpe(() => undefined) });
    expect(tokenizer.encode("abaab<end>c")).toEqual([4, 2, 5, 3]);
    expect(tokenizer.eosTokenId).toBeUndefined();
  });

  it("that is a git-lfs pointer or a web page says so", async () => {
    const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    for (const file of [pointer, "<!DOCTYPE html><html></html>"]) {
      expect((await failureOf(() => loadTokenizer({ "tokenizer.json": file }))).code).toBe("WRONG_FILE_TYPE");
    }
  });

  it("cut off anywhere is an error", async () => {
    const whole = new TextEncoder().encode(bpe((json) => Object.assign(json, { normalizer: { type: "Prepend", prepend: "é" } })));
    for (let length = 0; length < whole.length; length++) {
      const failure = await failureOf(() => loadTokenizer({ "tokenizer.json": whole.subarray(0, length) }));
      expect(failure.code).toBe("TOKENIZER_BAD_JSON");
    }
  });

  it("with any byte changed loads or is an error", async () => {
    const whole = new TextEncoder().encode(bpe((json) => Object.assign(json, { pre_tokenizer: { type: "Digits" } })));
    for (let at = 0; at < whole.length; at++) {
      for (const byte of [0x00, 0x22, 0x2d, 0x39, 0x5b, 0x7d, 0xff]) {
        const changed = Uint8Array.from(whole);
        changed[at] = byte;
        try {
          const tokenizer = await loadTokenizer({ "tokenizer.json": changed });
          tokenizer.decode(tokenizer.encode("ab 12"));
        } catch (error) {
          expect(error).toBeInstanceOf(LowrankError);
        }
      }
    }
  });

  it("cannot pollute prototypes", async () => {
    const vocab = JSON.parse('{"__proto__": 0, "constructor": 1, "a": 2}') as Json;
    const json = bpe(({ model }) => Object.assign(model, { vocab, merges: [], unk_token: null }));
    const tokenizer = await loadTokenizer({ "tokenizer.json": json.replace('"version"', '"__proto__": {"polluted": 1}, "version"') });
    expect(tokenizer.encode("a")).toEqual([2]);
    expect(tokenizer.decode([0, 1])).toBe("__proto__constructor");
    expect(({} as Json)["polluted"]).toBeUndefined();
  });

  it("may have a million tokens", async () => {
    const vocab = (count: number): string => Array.from({ length: count }, (_, id) => `"${id.toString(36)}":${id}`).join(",");
    const file = (count: number): string => `{"model":{"type":"BPE","merges":[],"vocab":{${vocab(count)}}}}`;
    expect((await loadTokenizer({ "tokenizer.json": file(1_000_000) })).vocabSize).toBe(1_000_000);
    const failure = await failureOf(() => loadTokenizer({ "tokenizer.json": file(1_000_001) }));
    expect(failure.code).toBe("TOKENIZER_TOO_LARGE");
    expect(failure.message).toContain("more than 1000000 tokens");
  });

  it("cannot turn the writing direction of an error", async () => {
    const turned = "x\u202ey\u2028z";
    const vocab = { a: 0, b: 1, ab: 2, aba: 4, "<u>": 3, [turned]: 6 };
    const files: Json[] = [
      { "tokenizer.json": bpe((json) => Object.assign(json, { model: { ...json.model, vocab }, added_tokens: [{ id: 6, content: "c" }] })) },
      {
        "tokenizer.json": bpe((json) => Object.assign(json, { post_processor: template([{ SpecialToken: { id: turned } }, { Sequence: {} }], {}) })),
      },
      {
        "tokenizer.json": bpe((json) =>
          Object.assign(json, { post_processor: template([{ SpecialToken: { id: turned } }, { Sequence: {} }], { [turned]: { ids: [99] } }) }),
        ),
      },
      { "tokenizer.json": bpe(() => undefined), "tokenizer_config.json": JSON.stringify({ eos_token: turned }) },
    ];
    for (const contents of files) {
      const { message } = await failureOf(() => loadTokenizer(contents));
      expect(message).toContain('"x\\u202ey\\u2028z"');
    }
  });

  it("whose normalizers multiply the text refuses the text", async () => {
    const grow = { type: "Replace", pattern: { String: "a" }, content: "a".repeat(1000) };
    const tokenizer = await loadTokenizer({
      "tokenizer.json": bpe((json) => Object.assign(json, { normalizer: { type: "Sequence", normalizers: Array(10).fill(grow) } })),
    });
    expect((await failureOf(() => tokenizer.encode("aaaa"))).code).toBe("TOKENIZER_BAD_COMPONENT");
  });

  const ligature = { type: "Replace", pattern: { String: " " }, content: "\ufdfa" };
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, use_regex: false };
  const growing: readonly (readonly [string, Json, string])[] = [
    ["puts much in front", { normalizer: { type: "Prepend", prepend: "a".repeat(4000) } }, "ab"],
    ["puts much in front of every part", { normalizer: { type: "Prepend", prepend: "a".repeat(1000) } }, "a<end>".repeat(1000)],
    [
      "normalizes again and again",
      {
        normalizer: {
          type: "Sequence",
          normalizers: Array(9)
            .fill([{ type: "NFKC" }, ligature])
            .flat(),
        },
      },
      "a b c d e f",
    ],
    ["writes bytes of bytes", { pre_tokenizer: { type: "Sequence", pretokenizers: Array(20).fill(byteLevel) } }, "é"],
    [
      "doubles its words",
      {
        pre_tokenizer: {
          type: "Sequence",
          pretokenizers: [..."_-_-_-_-_-_-_-_-"].flatMap((replacement) => [{ type: "Metaspace", replacement }, { type: "Punctuation" }]),
        },
      },
      "ab",
    ],
  ];
  it.each(growing)("that %s refuses the text", async (_, parts, source) => {
    const tokenizer = await loadTokenizer({ "tokenizer.json": bpe((json) => Object.assign(json, parts)) });
    const failure = await failureOf(() => tokenizer.encode(source));
    expect(failure.code).toBe("TOKENIZER_BAD_COMPONENT");
    expect(failure.details.expected).toBe(40);
  });

  it("may make a text as much longer as Unicode can", async () => {
    const tokenizer = await loadTokenizer({
      "tokenizer.json": bpe((json) => Object.assign(json, { normalizer: { type: "NFKC" }, pre_tokenizer: byteLevel })),
    });
    expect(tokenizer.encode("\ufdfa".repeat(50_000))).toHaveLength(50_000 * 33);
  });

  it("without an unknown token refuses characters that have no token", async () => {
    const tokenizer = await loadTokenizer({ "tokenizer.json": bpe(({ model }) => Object.assign(model, { unk_token: null })) });
    const failure = await failureOf(() => tokenizer.encode("abc"));
    expect(failure.code).toBe("TEXT_UNENCODABLE");
    expect(failure.details.actual).toBe("c");
  });

  it("may give a merge twice: the last place counts, as in tokenizers", async () => {
    const merges = [
      ["a", "b"],
      ["b", "a"],
      ["a", "b"],
    ];
    const vocab = { a: 0, b: 1, ab: 2, ba: 3 };
    const tokenizer = await loadTokenizer({ "tokenizer.json": bpe(({ model }) => Object.assign(model, { vocab, merges, unk_token: null })) });
    expect(tokenizer.encode("aba")).toEqual([0, 3]);
  });
});

describe("the other files", () => {
  const json = bpe(() => undefined);
  const configured = (config: unknown): Promise<unknown> =>
    loadTokenizer({ "tokenizer.json": json, "tokenizer_config.json": JSON.stringify(config) });

  it.each([
    ["a list", [], "TOKENIZER_BAD_CONFIG"],
    ["a role that no token has", { eos_token: "<none>" }, "TOKENIZER_BAD_CONFIG"],
    ["a role that is a number", { eos_token: 5 }, "TOKENIZER_BAD_CONFIG"],
    ["an added token that contradicts", { added_tokens_decoder: { "0": { content: "x" } } }, "TOKENIZER_BAD_CONFIG"],
    ["an added id that is no integer", { added_tokens_decoder: { "-1": { content: "x" } } }, "TOKENIZER_BAD_CONFIG"],
    ["templates that are numbers", { chat_template: [1] }, "TOKENIZER_BAD_CONFIG"],
    ["a template that is too large", { chat_template: "a".repeat(1_000_001) }, "TEMPLATE_TOO_LARGE"],
  ] as const)("tokenizer_config.json with %s", async (_, config, code) => {
    const failure = await failureOf(() => configured(config));
    expect(failure.code).toBe(code);
    expect(failure.details.file).toBe("tokenizer_config.json");
  });

  it.each([
    ["tokenizer.json", 128 * 1024 * 1024, "TOKENIZER_TOO_LARGE"],
    ["tokenizer_config.json", 16 * 1024 * 1024, "TOKENIZER_TOO_LARGE"],
    ["special_tokens_map.json", 16 * 1024 * 1024, "TOKENIZER_TOO_LARGE"],
    ["chat_template.jinja", 1_000_000, "TEMPLATE_TOO_LARGE"],
  ] as const)("given as contents have the limits of files: %s", async (name, limit, code) => {
    for (const contents of [new Uint8Array(limit + 1), "é".repeat(limit / 2 + 1)]) {
      const failure = await failureOf(() => loadTokenizer({ "tokenizer.json": json, [name]: contents }));
      expect([failure.code, failure.details.file, failure.details.expected]).toEqual([code, name, limit]);
    }
  });

  it("add tokens that tokenizer.json lacks", async () => {
    const tokenizer = await loadTokenizer({
      "tokenizer.json": json,
      "tokenizer_config.json": JSON.stringify({ added_tokens_decoder: { "5": { content: "<end>" }, "7": { content: "<new>", special: true } } }),
      "special_tokens_map.json": JSON.stringify({ eos_token: { content: "<new>" } }),
    });
    expect(tokenizer.encode("a<new>")).toEqual([0, 7]);
    expect([tokenizer.eosTokenId, tokenizer.vocabSize]).toEqual([7, 8]);
  });

  it("chat_template.jinja must be UTF-8", async () => {
    const failure = await failureOf(() => loadTokenizer({ "tokenizer.json": json, "chat_template.jinja": Uint8Array.of(0x61, 0xff) }));
    expect(failure.code).toBe("TEMPLATE_SYNTAX");
  });

  it("a folder without tokenizer.json is TOKENIZER_MISSING", async () => {
    const empty = await mkdtemp(join(tmpdir(), "lowrank-text-"));
    expect((await failureOf(() => loadTokenizer(empty))).code).toBe("TOKENIZER_MISSING");
    expect((await failureOf(() => loadTokenizer(join(empty, "nowhere")))).code).toBe("TOKENIZER_MISSING");
  });

  it("a link out of the folder is refused", async () => {
    const inside = await mkdtemp(join(tmpdir(), "lowrank-text-"));
    await symlink(join(folder("gpt2-style"), "tokenizer.json"), join(inside, "tokenizer.json"));
    expect((await failureOf(() => loadTokenizer(inside))).code).toBe("PATH_SYMLINK_ESCAPE");
  });

  it("a byte order mark before the JSON does no harm", async () => {
    const inside = await mkdtemp(join(tmpdir(), "lowrank-text-"));
    await writeFile(join(inside, "tokenizer.json"), `\ufeff${text("gpt2-style", "tokenizer.json")}`);
    expect((await loadTokenizer(inside)).vocabSize).toBe(519);
  });
});
