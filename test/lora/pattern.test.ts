import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compilePattern, compileSuffixPattern, StepBudget } from "../../lib/lora/pattern.js";
import { charSet, contains } from "../../lib/lora/pattern-chars.js";
import { LowrankError } from "../../lib/native/errors.js";

interface Fixture {
  python: string;
  patterns: { pattern: string; matches: string[]; misses: string[] }[];
  errors: { pattern: string; position: number }[];
  unsupported: Record<string, string[]>;
  classes: Record<string, [number, number][]>;
}
const fixture = JSON.parse(readFileSync(new URL("../fixtures/patterns.json", import.meta.url), "utf8")) as Fixture;

function errorOf(fn: () => unknown): LowrankError {
  try {
    fn();
  } catch (error) {
    if (error instanceof LowrankError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe(`compilePattern against re.fullmatch of Python ${fixture.python}`, () => {
  it("gives Python's verdict on every pattern and text", () => {
    const wrong: string[] = [];
    let verdicts = 0;
    for (const { pattern, matches, misses } of fixture.patterns) {
      const compiled = compilePattern(pattern);
      for (const text of matches) if (!compiled.fullMatch(text)) wrong.push(`${JSON.stringify(pattern)} must match ${JSON.stringify(text)}`);
      for (const text of misses) if (compiled.fullMatch(text)) wrong.push(`${JSON.stringify(pattern)} must not match ${JSON.stringify(text)}`);
      verdicts += matches.length + misses.length;
    }
    expect(wrong).toEqual([]);
    expect(verdicts).toBeGreaterThan(15_000);
  });

  it("refuses what Python refuses, at the same position", () => {
    const found = fixture.errors.map(({ pattern }) => {
      const error = errorOf(() => compilePattern(pattern));
      return { pattern, code: error.code, position: error.details.position };
    });
    expect(found).toEqual(fixture.errors.map(({ pattern, position }) => ({ pattern, code: "PATTERN_SYNTAX", position })));
  });

  it("names what it does not support and offers the list form", () => {
    for (const [construct, patterns] of Object.entries(fixture.unsupported)) {
      for (const pattern of patterns) {
        const error = errorOf(() => compilePattern(pattern, "targetModules"));
        expect([pattern, error.code]).toEqual([pattern, "PATTERN_UNSUPPORTED"]);
        expect(error.message).toContain(construct);
        expect(error.message).toContain("list of module names");
        expect(error.message).toMatch(/^targetModules: /);
      }
    }
    expect(errorOf(() => compilePattern("\\1")).code).toBe("PATTERN_UNSUPPORTED");
  });

  it("has Python's character classes", () => {
    for (const [pattern, ranges] of Object.entries(fixture.classes)) {
      const compiled = compilePattern(pattern);
      const member = charSet(ranges);
      const blocks = [
        [0, 0x530],
        [0x2000, 0x2070],
        [0x2100, 0x2190],
        [0x3000, 0x3100],
        [0xac00, 0xac80],
        [0xfe00, 0xff00],
      ] as const;
      const wrong: number[] = [];
      for (const [first, end] of blocks) {
        for (let code = first; code < end; code++) if (compiled.fullMatch(String.fromCodePoint(code)) !== contains(member, code)) wrong.push(code);
      }
      expect([pattern, wrong]).toEqual([pattern, []]);
    }
  });
});

describe("linear time", () => {
  const text = "a".repeat(10_000);
  const slowElsewhere = [
    "(a+)+$",
    "(a+)+b",
    "(a*)*b",
    "(a|a)*b",
    "(a|aa)+$",
    "(.*a){12}b",
    "(([a-z_]+\\.?)+)+x",
    "(a?){40}a{40}b",
    "(.*)(.*)(.*)(.*)b",
    "(\\w*\\w*\\w*)*-",
  ];

  it.each(slowElsewhere)("%s on 10,000 characters visits each state once a character", (source) => {
    const pattern = compilePattern(source);
    const budget = new StepBudget();
    const expected = source.endsWith("$");
    expect(pattern.fullMatch(text, budget)).toBe(expected);
    expect(budget.steps).toBeGreaterThan(0);
    expect(budget.steps).toBeLessThanOrEqual(pattern.states * (text.length + 1));
  });

  it("every further character costs the same", () => {
    const pattern = compilePattern("(x+x+)+y");
    const steps = [2_500, 5_000, 7_500].map((length) => {
      const budget = new StepBudget();
      pattern.fullMatch("x".repeat(length), budget);
      return budget.steps;
    }) as [number, number, number];
    expect(steps[2] - steps[1]).toBe(steps[1] - steps[0]);
  });

  it("stops at the budget, which several matches share", () => {
    const pattern = compilePattern("a*");
    const budget = new StepBudget(1_000);
    expect(pattern.fullMatch("a".repeat(100), budget)).toBe(true);
    expect(errorOf(() => pattern.fullMatch(text, budget)).code).toBe("PATTERN_TOO_COMPLEX");
    expect(budget.steps).toBeLessThan(1_010);
  });
});

describe("limits", () => {
  it.each([
    "a{1000000}",
    "a{0,1000000}",
    "(a{1000}){1000}",
    "((a{100}){100}){100}",
    "(?:){1000000}",
    "a{99999999999999999999}",
    `a{0,${"9".repeat(400)}}`,
    "(((((x{9}){9}){9}){9}){9}){9}",
  ])("%s is too complex", (source) => {
    expect(errorOf(() => compilePattern(source)).code).toBe("PATTERN_TOO_COMPLEX");
  });

  it("takes 4,096 characters and no more", () => {
    expect(compilePattern("a".repeat(4096)).fullMatch("a".repeat(4096))).toBe(true);
    expect(errorOf(() => compilePattern("a".repeat(4097))).code).toBe("PATTERN_TOO_COMPLEX");
  });

  it("takes 19,999 states and no more", () => {
    expect(compilePattern("a{19999}").fullMatch("a".repeat(19_999))).toBe(true);
    expect(errorOf(() => compilePattern("a{20000}")).code).toBe("PATTERN_TOO_COMPLEX");
  });

  it("takes groups 100 deep and no more", () => {
    expect(compilePattern(`${"(".repeat(100)}a${")".repeat(100)}`).fullMatch("a")).toBe(true);
    expect(errorOf(() => compilePattern("(".repeat(2048) + ")".repeat(2048))).code).toBe("PATTERN_TOO_COMPLEX");
  });

  it("states never exceed the size that was checked", () => {
    fc.assert(
      fc.property(regexText, (source) => {
        const { states } = compilePattern(source);
        expect(states).toBeLessThanOrEqual(20_000);
      }),
    );
  });

  it("quotes and shortens a hostile pattern in the message", () => {
    const message = errorOf(() => compilePattern(`\u001b[31m\n${"b".repeat(500)}(`)).message;
    expect(message).not.toContain("\u001b");
    expect(message).not.toContain("\n");
    expect(message.length).toBeLessThan(400);
  });
});

describe("compileSuffixPattern", () => {
  it.each([
    ["q_proj", "model.layers.0.self_attn.q_proj", true],
    ["q_proj", "q_proj", true],
    ["q_proj", "model.xq_proj", false],
    ["proj", "model.q_proj", false],
    ["layers\\.1\\.self_attn\\.(k|v)_proj", "model.layers.1.self_attn.v_proj", true],
    ["layers\\.1\\.self_attn\\.(k|v)_proj", "model.layers.11.self_attn.v_proj", false],
    ["^model\\.fc1", "model.fc1", true],
    ["^fc1", "model.fc1", false],
    ["a|b", "model.b", true],
    ["a|b", "model.bb", false],
    ["(.*)*", "model.fc1", true],
    ["$", "model.", true],
    ["", "", true],
    ["b", "a\n.b", false],
    ["\\bfc1", "model.fc1", true],
  ])("%s on %s: %s", (key, path, expected) => {
    expect(compileSuffixPattern(key).fullMatch(path)).toBe(expected);
    expect(new RegExp(`^(.*\\.)?(${key})$`).test(path)).toBe(expected);
  });
});

const letters = fc.constantFrom("a", "b", ".", "[ab]", "[^a]", "\\w", "\\.", "\\d", "1", "^", "$");
const quantifier = fc.constantFrom("", "*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,}");
const term = fc.tuple(letters, quantifier).map(([atom, count]) => (atom === "^" || atom === "$" ? atom : atom + count));
const terms = fc.array(term, { maxLength: 3 }).map((items) => items.join(""));
const group = fc.tuple(fc.array(terms, { minLength: 1, maxLength: 3 }), quantifier).map(([options, count]) => `(?:${options.join("|")})${count}`);
/** One level of groups: RegExp needs exponential time on repeats within repeats within repeats. */
const regexText = fc.array(fc.oneof(term, group), { maxLength: 3 }).map((items) => items.join(""));

describe("against JavaScript's RegExp where the two languages agree", () => {
  it("gives the same verdict", () => {
    const text = fc.array(fc.constantFrom("a", "b", ".", "1", "-"), { maxLength: 6 }).map((chars) => chars.join(""));
    const seen = { true: 0, false: 0 };
    fc.assert(
      fc.property(regexText, fc.array(text, { minLength: 1, maxLength: 8 }), (source, texts) => {
        const ours = compilePattern(source);
        const theirs = new RegExp(`^(?:${source})$`, "u");
        for (const candidate of texts) {
          const verdict = theirs.test(candidate);
          seen[`${verdict}`]++;
          expect([source, candidate, ours.fullMatch(candidate)]).toEqual([source, candidate, verdict]);
        }
      }),
      { numRuns: 1500, seed: 7 },
    );
    expect(seen.true).toBeGreaterThan(200);
    expect(seen.false).toBeGreaterThan(200);
  });
});
