/** @file Files that are no good JSONL: each ends in its own error with file, line and column, or is skipped and counted. */
import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LowrankError } from "../../lib/native/errors.js";
import { loadTokenizer, readExamples } from "../../lib/text/index.js";
import { all, file, lines, temporaryFolder, tokenizerOf, withData, withTemplates } from "./dataset-kit.js";
import { failureOf } from "./failure.js";

const good = { prompt: "a", completion: "b" };
const utf16 = (text: string, bigEndian = false): Buffer => {
  const bytes = Buffer.from(text, "utf16le");
  return bigEndian ? bytes.swap16() : bytes;
};
const template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}";
const messages = (...turns: unknown[]): object => ({ messages: turns });
const user = { role: "user", content: "a" };

describe("files", () => {
  const nest = '{"text":"a"}';
  const cases: [name: string, contents: string | Uint8Array, code: string, message: RegExp][] = [
    ["empty", "", "DATA_EMPTY", /has no row/],
    ["only a byte order mark", "\ufeff", "DATA_EMPTY", /has no row/],
    ["blank lines", "\n  \n\r\n\t", "DATA_EMPTY", /has no row/],
    ["a JSON array", `[${nest},${nest}]`, "DATA_NOT_JSONL", /a JSON array.*one JSON object a line/],
    ["a JSON array in lines", `[\n${nest},\n${nest}\n]\n`, "DATA_NOT_JSONL", /a JSON array/],
    ["a JSON array, an item a line", `[${nest},\n ${nest}]`, "DATA_NOT_JSONL", /a JSON array/],
    ["a JSON array after a BOM and blank lines", `\ufeff\n [ ${nest} ]\n\n`, "DATA_NOT_JSONL", /a JSON array/],
    ["a long JSON array", `[${`${nest},`.repeat(5000)}${nest}]\n`, "DATA_NOT_JSONL", /a JSON array/],
    ["a JSON object over lines", '{\n  "data": []\n}\n', "DATA_NOT_JSONL", /over several lines/],
    ["UTF-16LE with mark", Buffer.concat([Buffer.from([0xff, 0xfe]), utf16(lines(good))]), "DATA_ENCODING", /utf-16le.*UTF-8/],
    ["UTF-16BE with mark", Buffer.concat([Buffer.from([0xfe, 0xff]), utf16(lines(good), true)]), "DATA_ENCODING", /utf-16be/],
    ["UTF-16LE", utf16(lines(good)), "DATA_ENCODING", /utf-16le/],
    ["UTF-16BE", utf16(lines(good), true), "DATA_ENCODING", /utf-16be/],
    ["gzip", gzipSync(lines(good)), "WRONG_FILE_TYPE", /gzip.*Decompress/],
    ["ZIP", "PK\u0003\u0004abc", "WRONG_FILE_TYPE", /ZIP.*Unpack/],
    ["Parquet", "PAR1abc", "WRONG_FILE_TYPE", /Parquet.*JSONL/],
    ["Zstandard", Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0]), "WRONG_FILE_TYPE", /Zstandard/],
    ["HTML", "<!DOCTYPE html><html>", "WRONG_FILE_TYPE", /HTML/],
    ["git-lfs", "version https://git-lfs.github.com/spec/v1\noid", "WRONG_FILE_TYPE", /git-lfs/],
  ];
  it.each(cases)("%s", async (_, contents, code, message) => {
    for (const onBadRow of ["error", "skip"] as const) {
      const failure = await failureOf(() => withData(contents, { onBadRow }, () => undefined));
      expect(failure.code).toBe(code);
      expect(failure.message).toMatch(message);
      expect(failure.message).toMatch(/^rows-\d+\.jsonl: /);
      expect(failure.details.file).toMatch(/^rows-\d+\.jsonl$/);
    }
  });

  it("missing, a folder", async () => {
    const model = { tokenizer: await tokenizerOf() };
    expect((await failureOf(() => readExamples(join(temporaryFolder, "none.jsonl"), model))).code).toBe("IO_NOT_FOUND");
    const path = join(temporaryFolder, "folder.jsonl");
    mkdirSync(path);
    expect((await failureOf(() => readExamples(path, model))).code).toBe("IO_NOT_REGULAR_FILE");
  });
});

/** Row 2 of 3, code, column (0: none), message. */
const rows: [name: string, row: string | Uint8Array | object, code: string, column: number, message: RegExp][] = [
  ["cut off", '{"prompt":"a"', "DATA_BAD_JSON", 14, /cut off/],
  ["cut inside a string", '{"prompt":"a', "DATA_BAD_JSON", 11, /not closed.*cut off/],
  ["single quotes", "{'prompt':'a'}", "DATA_BAD_JSON", 2, /double quotes/],
  ["a comma at the end", '{"text":"a",}', "DATA_BAD_JSON", 13, /expected a key/],
  ["two objects", '{"text":"a"} {"text":"b"}', "DATA_BAD_JSON", 14, /after the end/],
  ["NaN", '{"text":"é🙂","x":NaN}', "DATA_BAD_JSON", 18, /no NaN/],
  ["Infinity", '{"x":-Infinity}', "DATA_BAD_JSON", 7, /JSON/],
  ["None", '{"x":None}', "DATA_BAD_JSON", 6, /true, false and null/],
  ["plain text", "hello", "DATA_BAD_JSON", 1, /expected a JSON value/],
  ["NUL bytes", '{"text":"a"\0\0\0\0}', "DATA_BAD_JSON", 12, /interrupted/],
  ["only NUL bytes", "\0\0\0\0\0\0", "DATA_BAD_JSON", 1, /interrupted/],
  ["a control character", '{"text":"a\u0001"}', "DATA_BAD_JSON", 11, /control character/],
  ["lone CR", '{"text":"a"}\r{"text":"b"}', "DATA_BAD_JSON", 14, /lone CR/],
  ["byte FF", Buffer.from('{"text":"é\u00ff"}', "latin1"), "DATA_ENCODING", 10, /0xe9 is not valid UTF-8.*Save/],
  ["half a pair", '{"text":"\\ud800"}', "DATA_ENCODING", 10, /surrogate pair/],
  ["the other half", '{"text":"a\\uDC00"}', "DATA_ENCODING", 11, /surrogate pair/],
  ["a bad escape", '{"text":"\\u12"}', "DATA_BAD_JSON", 10, /hexadecimal/],
  ["a cut escape", '{"text":"\\ud8"}', "DATA_BAD_JSON", 10, /hexadecimal/],
  ["a cut escape after half a pair", '{"text":"\\ud83d\\ude"}', "DATA_BAD_JSON", 16, /hexadecimal/],
  ["half a pair before another escape", '{"text":"\\ud83d\\n"}', "DATA_ENCODING", 10, /surrogate pair/],
  ["a key twice", '{"text":"a","text":"b"}', "DATA_DUPLICATE_KEY", 13, /"text" stands twice/],
  ["a key twice inside", '{"text":"a","x":{"y":1,"\\u0079":2}}', "DATA_DUPLICATE_KEY", 24, /"y" stands twice/],
  ["nested deeply", `{"text":"a","x":${"[".repeat(1000)}${"]".repeat(1000)}}`, "DATA_NESTING_TOO_DEEP", 144, /128 levels/],
  ["a list", [1], "DATA_ROW_NOT_OBJECT", 0, /the row is a list/],
  ["a string", '"x"', "DATA_ROW_NOT_OBJECT", 0, /the row is a string/],
  ["a number", "3", "DATA_ROW_NOT_OBJECT", 0, /the row is a number/],
  ["null", "null", "DATA_ROW_NOT_OBJECT", 0, /the row is null/],
  ["nothing in it", {}, "DATA_MISSING_FIELD", 0, /the row is empty/],
  ["no completion", { prompt: "a" }, "DATA_MISSING_FIELD", 0, /no completion/],
  ["no prompt", { completion: "a" }, "DATA_MISSING_FIELD", 0, /no prompt/],
  ["a slip", { prompt: "a", completon: "b" }, "DATA_MISSING_FIELD", 0, /Is "completon" the same as "completion"/],
  ["another slip", { Text: "a" }, "DATA_MISSING_FIELD", 0, /Is "Text" the same as "text"/],
  ["Alpaca", { instruction: "a", input: "", output: "b" }, "DATA_MISSING_FIELD", 0, /prompt \(the instruction/],
  ["ShareGPT", { conversations: [{ from: "human", value: "a" }] }, "DATA_MISSING_FIELD", 0, /instead of conversations/],
  ["preferences", { prompt: "a", chosen: "b", rejected: "c" }, "DATA_MISSING_FIELD", 0, /not supported/],
  ["a completion that is a number", { prompt: "a", completion: 3 }, "DATA_BAD_FIELD", 0, /completion must be a string, found a number/],
  ["a completion that is null", { prompt: "a", completion: null }, "DATA_BAD_FIELD", 0, /found null/],
  ["a completion of messages", { prompt: [user], completion: "x" }, "DATA_BAD_FIELD", 0, /one list: messages/],
  ["a text that is an object", { text: {} }, "DATA_BAD_FIELD", 0, /found an object/],
  ["messages that are a string", { messages: "a" }, "DATA_BAD_FIELD", 0, /messages must be a list/],
  ["no message", messages(), "DATA_BAD_FIELD", 0, /found an empty list/],
  ["a message that is a string", messages("a"), "DATA_BAD_FIELD", 0, /messages\[0\] must be an object/],
  ["no role", messages(user, { content: "a" }), "DATA_BAD_FIELD", 0, /messages\[1\]\.role must be a string, found nothing/],
  ["from and value", messages({ from: "human", value: "a" }), "DATA_BAD_FIELD", 0, /instead of from and value/],
  ["a content that is a number", messages({ role: "user", content: 1 }), "DATA_BAD_FIELD", 0, /content must be a string, found a number/],
  ["a content that is null", messages(user, { role: "assistant", content: null }), "DATA_BAD_FIELD", 0, /messages\[1\]\.content/],
  ["a role with a slip", messages(user, { role: "asistant", content: "b" }), "DATA_BAD_ROLE", 0, /"asistant".*Write "assistant"/],
  ["a role in capitals", messages(user, { role: "Assistant", content: "b" }), "DATA_BAD_ROLE", 0, /Write "assistant"/],
  ["a role of another tool", messages({ role: "human", content: "b" }), "DATA_BAD_ROLE", 0, /Write "user"/],
  ["tools that are a text", { messages: [user], tools: "[]" }, "DATA_BAD_FIELD", 0, /tools must be a list.*not its JSON text/],
  ["a number that would change", { messages: [user], tools: ["2^60"] }, "DATA_BAD_FIELD", 0, /integers of at most 2\^53/],
  ["no answer", messages(user), "EXAMPLE_NO_ASSISTANT", 0, /no assistant turn/],
  ["texts that are too long", { text: "a".repeat(2 ** 21 + 1) }, "DATA_ROW_TOO_LARGE", 0, /2097152 characters/],
  [
    "a rendering that is too long",
    messages({ role: "user", content: "a".repeat(2 ** 20 - 5) }, { role: "assistant", content: "b".repeat(2 ** 20 - 5) }),
    "DATA_ROW_TOO_LARGE",
    0,
    /2097152 characters/,
  ],
  ["a row that is too long", { text: "a b", x: "a".repeat(2 ** 24) }, "DATA_ROW_TOO_LARGE", 0, /16777216 bytes/],
];

describe("rows", () => {
  it.each(rows)("%s", async (name, row, code, column, message) => {
    const tokenizer = await withTemplates("gpt2-style", template);
    const json =
      row instanceof Uint8Array ? row : Buffer.from(typeof row === "string" ? row : JSON.stringify(row).replace('"2^60"', String(2n ** 60n)));
    const line = Buffer.from("\n");
    const contents = Buffer.concat([Buffer.from(lines(good)), line, json, line, Buffer.from(lines(good))]);
    const failure = await failureOf(() => withData(contents, { tokenizer }, () => undefined));
    expect(failure.code).toBe(code);
    expect(failure.message).toMatch(message);
    expect(failure.message.startsWith(`${failure.details.file}: line 3${column === 0 ? "" : `, column ${column}`}: `), failure.message).toBe(true);
    expect(failure.details.line).toBe(3);
    expect(failure.details["column"]).toBe(column === 0 ? undefined : column);
    const before = Buffer.byteLength(lines(good)) + 1;
    expect(failure.details.offset).toBeGreaterThanOrEqual(before);
    if (/^[\x20-\x7f]*$/.test(json.toString("latin1")) && column > 0) expect(failure.details.offset).toBe(before + column - 1);
    expect(failure.message.length, name).toBeLessThan(700);

    await withData(contents, { tokenizer, onBadRow: "skip" }, async (data) => {
      expect(data.length).toBe(2);
      expect((await all(data)).map(({ tokens }) => tokens)).toEqual([(await data.at(0)).tokens, (await data.at(0)).tokens]);
      expect(data.skipped).toEqual({ count: 1, reasons: [{ line: 3, code, message: expect.stringMatching(message) as string }] });
    });
    await withData(contents, { tokenizer, onBadRow: "skip", packing: true, maxLength: 64 }, (data) => {
      expect([data.length, data.examples, data.skipped.count]).toEqual([1, 2, 1]);
    });
  });

  it("a list in the first line is a row when more follow", async () => {
    const failure = await failureOf(() => withData(`[1]\n${lines(good)}`, {}, () => undefined));
    expect([failure.code, failure.details.line]).toEqual(["DATA_ROW_NOT_OBJECT", 1]);
  });

  it("a prompt that leaves no room", async () => {
    const row = { prompt: "every old lamp keeps the quiet song again", completion: " b" };
    const failure = await failureOf(() => withData(lines(good, row), { maxLength: 4 }, () => undefined));
    expect([failure.code, failure.details.line]).toEqual(["EXAMPLE_NO_TRAINED_TOKEN", 2]);
    expect(failure.message).toMatch(/raise maxLength \(now 4\) to \d+/);
  });

  it("the messages of a row do not reach the error", async () => {
    for (const row of [
      '{"text":"secret',
      '{"text":"secret","text":""}',
      '{"text":["secret"]}',
      '{"messages":[{"role":"user","content":"secret"}]}',
    ]) {
      const tokenizer = await withTemplates("gpt2-style", template);
      const failure = await failureOf(() => withData(row, { tokenizer }, () => undefined));
      expect(JSON.stringify(failure)).not.toContain("secret");
    }
  });

  it("what the template and the tokenizer say of a row does not hold its text", async () => {
    const changing = await withTemplates("gpt2-style", "{% for m in messages %}{{ m.content | upper }}<|im_end|>{% endfor %}");
    const small = await loadTokenizer({
      "tokenizer.json": JSON.stringify({ added_tokens: [], model: { type: "BPE", vocab: { a: 0, e: 1 }, merges: [] } }),
      "tokenizer_config.json": JSON.stringify({ eos_token: "e" }),
    });
    const turns = JSON.stringify(messages(user, { role: "assistant", content: "secret" })).replace('"a"', '"secret"');
    for (const [tokenizer, row, code, place] of [
      [changing, turns, "TEMPLATE_SPAN", /Use another chat template/],
      [small, '{"text":"aa\u{10FFFF}"}', "TEXT_UNENCODABLE", /character 3 of the text/],
    ] as const) {
      for (const onBadRow of ["error", "skip"] as const) {
        const failure = await failureOf(() => withData(row, { tokenizer, onBadRow }, () => undefined));
        expect(failure.code).toBe(onBadRow === "skip" ? "DATA_EMPTY" : code);
        expect(failure.message).toMatch(place);
        const everything = `${JSON.stringify(failure)} ${inspect(failure, { depth: 9 })}`;
        expect(everything).not.toMatch(/secret/i);
        expect(everything).not.toContain("\u{10FFFF}");
      }
    }
  });

  it("when all are bad there is nothing to train", async () => {
    const failure = await failureOf(() => withData("{}\n\n[]\n", { onBadRow: "skip" }, () => undefined));
    expect(failure.code).toBe("DATA_EMPTY");
    expect(failure.message).toMatch(/none of 2 rows.*first reason: .*line 1: the row is empty/);
  });

  it("keeps the first 20 reasons", async () => {
    await withData(lines(good, ...Array.from({ length: 50 }, () => "{}"), good), { onBadRow: "skip" }, (data) => {
      expect(data.length).toBe(2);
      expect(data.skipped.count).toBe(50);
      expect(data.skipped.reasons.map(({ line }) => line)).toEqual(Array.from({ length: 20 }, (_, k) => k + 2));
    });
  });
});

describe("rows beyond the checked ones", () => {
  const many = (bad: ReadonlySet<number>): string => lines(...Array.from({ length: 40_000 }, (_, i) => (bad.has(i) ? "{}" : { text: `row ${i}` })));

  it("are errors with their line when they are met", async () => {
    await withData(many(new Set([2500, 39_999])), {}, async (data) => {
      expect(data.length).toBe(40_000);
      expect(data.lengthOf(1999)).toBeGreaterThan(1);
      expect(data.lengthOf(2000)).toBeUndefined();
      for (const i of [2500, 39_999]) {
        const failure = await failureOf(() => data.at(i));
        expect([failure.code, failure.details.line]).toEqual(["DATA_MISSING_FIELD", i + 1]);
      }
      expect(await data.sample(39_998, { color: false })).toMatch(/^row 39998, line 39999: /);
    });
  });

  it("are replaced by checked ones and counted once, with skip", async () => {
    await withData(many(new Set([3, 2500, 39_999])), { onBadRow: "skip" }, async (data) => {
      expect(data.length).toBe(39_999);
      expect(data.skipped.count).toBe(1);
      // Row 3 is left out, so the rows behind it move up, and 1,999 of the checked ones are good.
      const items = await Promise.all([2499, 2499, 2498, 2500, 39_998].map((i) => data.at(i)));
      expect(items[0]).toEqual(await data.at(2499 % 1999));
      expect(items[1]).toEqual(items[0]);
      expect(items[4]).toEqual(await data.at(39_998 % 1999));
      expect(await data.sample(2498, { color: false })).toContain("line 2500");
      expect(await data.sample(2500, { color: false })).toContain("line 2502");
      expect(data.skipped.count).toBe(3);
      expect(data.skipped.reasons.map(({ line }) => line)).toEqual([4, 2501, 40_000]);
    });
  });

  it("an error in the checked part comes before the first step", async () => {
    const failure = await failureOf(() => withData(many(new Set([1999])), {}, () => undefined));
    expect(failure.details.line).toBe(2000);
  });
});

describe("a file that changes while it is in use", () => {
  const contents = lines(...Array.from({ length: 3000 }, (_, i) => ({ text: `row ${i}` })));

  it("may grow", async () => {
    await withData(contents, {}, async (data, path) => {
      const last = await data.at(2999);
      writeFileSync(path, contents + lines({ text: "more" }));
      expect(data.length).toBe(3000);
      expect(await data.at(2999)).toEqual(last);
    });
  });

  it("is noticed when it shrinks or moves", async () => {
    for (const options of [{}, { packing: true, maxLength: 64 }]) {
      await withData(contents, options, async (data, path) => {
        truncateSync(path, 1000);
        expect((await failureOf(() => data.at(data.length - 1))).code).toBe("IO_SHORT_READ");
        writeFileSync(path, `\n${contents}`);
        expect((await failureOf(() => data.at(data.length - 1))).code).toBe("DATA_CHANGED");
        writeFileSync(path, contents.replaceAll("row", "xyz"));
        const read = data.at(5);
        if ("packing" in options) expect((await failureOf(() => read)).code).toBe("DATA_CHANGED");
      });
    }
  });
});

it("random bytes end in a LowrankError or in a dataset", async () => {
  const model = { tokenizer: await withTemplates("llama3-style", template) };
  const base = Buffer.from(`\ufeff${lines(good, { text: "é\n🙂" }, messages(user, { role: "assistant", content: "b" }))}`);
  const mutated = fc
    .array(fc.tuple(fc.nat(base.length), fc.nat(3), fc.uint8Array({ maxLength: 4 })), { maxLength: 4 })
    .map((edits) => edits.reduce((bytes, [at, gone, put]) => Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + gone)]), base));
  const property = fc.asyncProperty(fc.oneof(mutated, fc.uint8Array({ maxLength: 64 })), fc.boolean(), async (bytes, skip) => {
    try {
      const data = await readExamples(file(bytes, "random.jsonl"), model, skip ? { onBadRow: "skip" } : {});
      const items = await all(data);
      await data.close();
      expect(items.every(({ tokens, labels }) => tokens.length === labels.length && labels.some((label, t) => t > 0 && label >= 0))).toBe(true);
    } catch (error) {
      if (!(error instanceof LowrankError)) throw error;
      expect(error.code).toMatch(/^(DATA|EXAMPLE|TEMPLATE|WRONG)_/);
      expect(error.details.file).toBe("random.jsonl");
    }
  });
  await fc.assert(property, { numRuns: 1000 });
});
