/** @file The JSON scanner against JSON.parse and TextDecoder, and on a hand-made minefield. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkJson, JsonCursor, type JsonNode, type JsonRules, parseJson, plainValue, withoutByteOrderMark } from "../../lib/io/json-scanner.js";
import { firstInvalidUtf8 } from "../../lib/io/utf8.js";
import { LowrankError } from "../../lib/native/errors.js";

const codes = { syntax: "ADAPTER_BAD_JSON", duplicate: "ADAPTER_DUPLICATE_KEY", depth: "ST_NESTING_TOO_DEEP", utf8: "ST_HEADER_NOT_UTF8" } as const;
const rules: JsonRules = { path: "/some/folder/config.json", codes };
const parse = (text: string | Uint8Array, more: Partial<JsonRules> = {}): JsonNode =>
  parseJson(typeof text === "string" ? Buffer.from(text) : text, { ...rules, ...more });

function failure(text: string | Uint8Array, more: Partial<JsonRules> = {}): LowrankError {
  try {
    parse(text, more);
  } catch (error) {
    if (error instanceof LowrankError) return error;
    throw error;
  }
  throw new Error(`accepted: ${text}`);
}

/** What JSON.parse gives, in the form of {@link plainValue} for values whose integers are safe. */
const plainAsJson = (node: JsonNode): unknown =>
  JSON.parse(JSON.stringify(plainValue(node), (_, value) => (typeof value === "bigint" ? Number(value) : value)));

describe("values", () => {
  test("nodes carry kind, offset and exact numbers", () => {
    const node = parse(' {"a": [1, -0.5e3, 9007199254740993, true, null, "x"]}');
    if (node.kind !== "object") throw new Error("not an object");
    expect(node.offset).toBe(1);
    expect(node.members.get("a")).toEqual({
      kind: "array",
      offset: 7,
      items: [
        { kind: "number", offset: 8, text: "1", integer: 1 },
        { kind: "number", offset: 11, text: "-0.5e3" },
        { kind: "number", offset: 19, text: "9007199254740993", integer: 9007199254740993n },
        { kind: "boolean", offset: 37, value: true },
        { kind: "null", offset: 43 },
        { kind: "string", offset: 49, value: "x" },
      ],
    });
  });

  test("integers are exact on both sides of 2^53", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }), (value) => {
        const node = parse(String(value));
        if (node.kind !== "number") throw new Error("not a number");
        expect(typeof node.integer).toBe(value >= -(2n ** 53n) + 1n && value <= 2n ** 53n - 1n ? "number" : "bigint");
        expect(BigInt(node.integer as number | bigint)).toBe(value);
      }),
    );
  });

  test("a key __proto__ is an entry, not a prototype", () => {
    const node = parse('{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}}');
    if (node.kind !== "object") throw new Error("not an object");
    expect([...node.members.keys()]).toEqual(["__proto__", "constructor"]);
    const plain = plainValue(node) as Record<string, unknown>;
    expect(Object.getPrototypeOf(plain)).toBe(null);
    expect(Object.keys(plain)).toEqual(["__proto__", "constructor"]);
    expect(({} as Record<string, unknown>)["polluted"]).toBe(undefined);
  });

  test("strings with every kind of escape and character equal those of JSON.parse", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.boolean(), (value, ascii) => {
        const text = ascii
          ? JSON.stringify(value).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`)
          : JSON.stringify(value);
        expect(plainValue(parse(text))).toBe(value);
      }),
    );
    expect(plainValue(parse('"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uD83D\\ude00\\u20AC"'))).toBe('"\\/\b\f\n\r\t\u0000\u{1f600}\u20ac');
  });
});

describe("against JSON.parse", () => {
  const jsonText = fc.json({ stringUnit: "binary" });
  const breakText = (text: string, at: number, insert: string, remove: number): string => text.slice(0, at) + insert + text.slice(at + remove);
  const broken = fc
    .tuple(
      fc.json({ maxDepth: 3 }),
      fc.nat(),
      fc.constantFrom(
        "",
        ",",
        ":",
        '"',
        "{",
        "}",
        "[",
        "]",
        "0",
        "-",
        "+",
        ".",
        "e",
        "\\",
        "\\u12",
        " ",
        "\t",
        "\u00a0",
        "N",
        "null",
        "/**/",
        "'",
        "\u0001",
      ),
      fc.nat(2),
    )
    .map(([text, at, insert, remove]) => breakText(text, at % (text.length + 1), insert, remove));

  test.each([
    ["valid texts", jsonText],
    ["broken texts", broken],
    ["short texts", fc.string({ unit: fc.constantFrom(...'{}[],:"\\01.-+eEtrufalsn \n\u00e9'), maxLength: 12 })],
  ] as const)("%s: the same verdict and the same value, but for the stated differences", (_, texts) => {
    let accepted = 0;
    fc.assert(
      fc.property(texts, (text) => {
        const theirs = attempt(() => JSON.parse(text) as unknown);
        const ours = attempt(() => plainAsJson(parse(text, { maxDepth: 100 })));
        if (ours.ok) {
          accepted++;
          expect(theirs.ok).toBe(true);
          expect(JSON.stringify(ours.value)).toBe(JSON.stringify(theirs.value));
        } else if (theirs.ok) {
          expect(stated(text, ours.error as LowrankError)).toBe(true);
        }
      }),
      { numRuns: 6000, seed: 11 },
    );
    expect(accepted).toBeGreaterThan(20);
  });

  function attempt(parser: () => unknown): { ok: boolean; value?: unknown; error?: unknown } {
    try {
      return { ok: true, value: parser() };
    } catch (error) {
      if (!(error instanceof SyntaxError || error instanceof LowrankError)) throw error;
      return { ok: false, error };
    }
  }

  /** We refuse what JSON.parse accepts only for a key that stands twice (it loses a member) or for half a surrogate pair. */
  function stated(text: string, error: LowrankError): boolean {
    if (error.code === "ADAPTER_DUPLICATE_KEY") return countKeys(text) > countMembers(JSON.parse(text));
    return error.message.includes("surrogate") && /\\ud[89a-f]/i.test(text);
  }

  const countKeys = (text: string): number => (text.match(/"(?:[^"\\]|\\.)*"\s*:/g) ?? []).length;
  const countMembers = (value: unknown): number =>
    typeof value !== "object" || value === null
      ? 0
      : Object.values(value).reduce((sum: number, item) => sum + countMembers(item), Array.isArray(value) ? 0 : Object.keys(value).length);
});

describe("the minefield", () => {
  test.each([
    "",
    " ",
    "\ufeff1",
    "nul",
    "nulll",
    "True",
    "undefined",
    "NaN",
    "Infinity",
    "-Infinity",
    "+1",
    "01",
    "-01",
    "-",
    "1.",
    ".5",
    "1.e5",
    "1e",
    "1e+",
    "0x10",
    "1_000",
    "--1",
    "1 2",
    "'a'",
    '"',
    '"a',
    '"\\',
    '"\\"',
    '"\\x"',
    '"\\u12"',
    '"\\u12g4"',
    '"\\U0041"',
    '"\t"',
    '"\n"',
    '"\u0000"',
    '"\\ud800"',
    '"\\udc00"',
    '"\\ud800\\u0041"',
    '"\\ud800\\ud800"',
    "[",
    "]",
    "[1",
    "[1,",
    "[,1]",
    "[1,]",
    "[1,,2]",
    "[1 2]",
    "[1}",
    "[1]]",
    "{",
    "}",
    '{"a"',
    '{"a":',
    '{"a":1',
    '{"a":1,',
    '{"a":1,}',
    "{,}",
    '{"a",1}',
    "{a:1}",
    "{'a':1}",
    "{1:1}",
    '{"a":1]',
    '{"a":1}}',
    '{"a"::1}',
    "// x\n1",
    "/* x */1",
    "1 // x",
    "# x",
    "[1]\u0000",
    "\u00a01",
    "\u20281",
    "1\u000b",
    "[1;2]",
    '{"a"=1}',
  ])("%j is refused with a place", (text) => {
    const error = failure(text);
    expect(error.code).toBe("ADAPTER_BAD_JSON");
    expect(error.message).toMatch(/^config\.json: not valid JSON: .+ \(at byte \d+\)\.$/);
    expect(error.details.offset).toBeLessThanOrEqual(Buffer.byteLength(text));
    if (!/\\ud[8c]00/.test(text)) expect(() => JSON.parse(text) as unknown).toThrow(SyntaxError);
  });

  test.each([
    "null",
    " true ",
    "false\n",
    "0",
    "-0",
    "0.0",
    "1E-5",
    "0e0",
    "1e400",
    "-1.5e+3",
    '""',
    '"\u2028\u007f"',
    "[]",
    "{}",
    " [ ] ",
    ' { "" : [ { } ] } ',
    '"\\ud83d\\ude00"',
    "[1,[2,[3]]]",
  ])("%j is accepted", (text) => expect(JSON.stringify(plainAsJson(parse(text)))).toBe(JSON.stringify(JSON.parse(text))));

  test("offsets, lines and columns point at the defect", () => {
    expect(failure('{"a": 1,\n "é": tru}').details).toMatchObject({ offset: 16 });
    const error = failure('{"a": 1,\n "é": tru}', { place: "line" });
    expect(error.message).toContain("(at line 2, column 7)");
    expect(error.details).toMatchObject({ line: 2, column: 7 });
    expect(failure("[1, 2", {}).details.offset).toBe(5);
  });

  test("a text inside a larger array of bytes ends where it is said to end", () => {
    const bytes = Buffer.from("xx[12]34");
    expect(plainValue(parse(bytes, { start: 2, end: 6 }))).toEqual([12]);
    expect(plainValue(parse(bytes, { start: 3, end: 5 }))).toBe(12);
    expect(plainValue(parse(Buffer.from("1234"), { end: 2 }))).toBe(12);
    expect(failure(bytes, { start: 2, end: 5 }).details.offset).toBe(5);
    expect(failure(Buffer.from('"ab"'), { end: 3 }).code).toBe("ADAPTER_BAD_JSON");
    expect(failure(Buffer.from('"\\u1234"'), { end: 6 }).code).toBe("ADAPTER_BAD_JSON");
    expect(failure(Buffer.from("true"), { end: 3 }).code).toBe("ADAPTER_BAD_JSON");
  });

  test("a byte order mark is refused unless it is taken off", () => {
    const bytes = Buffer.from("\ufeff[1]");
    expect(failure(bytes).code).toBe("ADAPTER_BAD_JSON");
    expect(plainValue(parse(withoutByteOrderMark(bytes)))).toEqual([1]);
  });
});

describe("limits", () => {
  test("duplicate keys are found whatever their spelling, at any depth, and only within one object", () => {
    expect(failure('{"a":1,"a":2}').code).toBe("ADAPTER_DUPLICATE_KEY");
    expect(failure('{"a":1,"\\u0061":2}').code).toBe("ADAPTER_DUPLICATE_KEY");
    expect(failure('[{"x":[{"b":1,"c":2,"b":3}]}]').details.offset).toBe(20);
    expect(plainAsJson(parse('{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}'))).toEqual({ a: { a: { a: 1 } }, b: [{ a: 1 }, { a: 2 }] });
  });

  test("the depth limit counts arrays and objects", () => {
    const nested = (depth: number): string => `${'[{"a":'.repeat(depth / 2)}1${"}]".repeat(depth / 2)}`;
    expect(parse(nested(32)).kind).toBe("array");
    expect(failure(nested(34)).code).toBe("ST_NESTING_TOO_DEEP");
    expect(parse(nested(128), { maxDepth: 128 }).kind).toBe("array");
  });

  test("100,000 nested arrays and objects take no stack", () => {
    expect(failure("[".repeat(100_000)).code).toBe("ST_NESTING_TOO_DEEP");
    expect(failure("[".repeat(100_000), { maxDepth: 200_000 }).code).toBe("ADAPTER_BAD_JSON");
    const deep = `[${"[".repeat(100_000)}${"]".repeat(100_000)},1]`;
    const cursor = new JsonCursor(checkJson(Buffer.from(deep), { ...rules, maxDepth: 200_000 }));
    const kinds: string[] = [];
    cursor.array(() => kinds.push(cursor.kind()));
    expect(kinds).toEqual(["array", "number"]);
  });

  test("keys, their length and the length of numbers are bounded", () => {
    expect(failure('{"a":{"b":1,"c":2},"d":3}', { maxKeys: 2 }).message).toContain("more than 2 keys");
    expect(parse('{"a":{"b":1},"d":{"e":1}}', { maxKeys: 3 }).kind).toBe("object");
    expect(failure(`{"${"k".repeat(11)}":1}`, { maxKeyBytes: 10 }).code).toBe("ADAPTER_BAD_JSON");
    const keys = (megabytes: number): string =>
      `{${Array.from({ length: megabytes * 32 }, (_, k) => `"${String(k).padEnd(32_768, "k")}":1`).join()}}`;
    expect(failure(`[${keys(30)},${keys(33)}]`).message).toContain("the keys have more than 33554432 bytes");
    expect(parse(`[${keys(30)},${keys(31)}]`).kind).toBe("array");
    expect(failure("1".repeat(1025)).message).toContain("1024");
    expect(parse("1".repeat(1024))).toMatchObject({ integer: BigInt("1".repeat(1024)) });
  });
});

describe("UTF-8", () => {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const theirs = (bytes: Uint8Array): boolean => {
    try {
      decoder.decode(bytes);
      return true;
    } catch {
      return false;
    }
  };

  test("the same verdict as TextDecoder on every sequence of 1 and 2 bytes and on all leads with chosen continuations", () => {
    const edges = [0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xff];
    const disagree: number[][] = [];
    const compare = (...sequence: number[]): void => {
      const bytes = Uint8Array.from(sequence);
      if (firstInvalidUtf8(bytes) < 0 !== theirs(bytes)) disagree.push(sequence);
    };
    for (let a = 0; a < 256; a++) {
      compare(a);
      for (let b = 0; b < 256; b++) compare(a, b);
      for (const b of edges) for (const c of edges) compare(a, b, c);
      for (const b of edges) for (const c of edges) for (const d of edges) compare(a, b, c, d);
    }
    expect(disagree).toEqual([]);
  });

  test.each([
    ["overlong NUL", [0x22, 0xc0, 0x80, 0x22], 1],
    ["overlong slash", [0x22, 0xe0, 0x80, 0xaf, 0x22], 1],
    ["surrogate", [0x22, 0x61, 0xed, 0xa0, 0x80, 0x22], 2],
    ["above U+10FFFF", [0x22, 0xf4, 0x90, 0x80, 0x80, 0x22], 1],
    ["cut sequence", [0x22, 0xe2, 0x82], 1],
    ["outside of strings", [0x5b, 0x31, 0xff, 0x5d], 2],
  ])("%s gives its offset", (_, bytes, offset) => {
    expect(failure(Uint8Array.from(bytes))).toMatchObject({ code: "ST_HEADER_NOT_UTF8", details: { offset } });
  });

  test("random bytes: the same verdict as TextDecoder", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 8 }), (bytes) => firstInvalidUtf8(bytes) < 0 === theirs(bytes)),
      { numRuns: 5000 },
    );
  });
});
