/** @file The text that generate gives: pieces, characters, stop strings. */
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { type GenerateOptions, generate, memory } from "../../lib/index.js";
import { StopFilter } from "../../lib/models/stop-strings.js";
import { loadTokenizer, type Tokenizer } from "../../lib/text/index.js";
import { collect } from "./generate-kit.js";
import { pathOf } from "./golden-llm.js";
import { scriptedModel } from "./scripted.js";

const idle = memory().cpu;
afterEach(() => {
  const { tensors, bytes } = memory().cpu;
  expect({ tensors, bytes }).toEqual({ tensors: idle.tensors, bytes: idle.bytes });
});

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await loadTokenizer(pathOf("llama", "model"));
});

const plain = (text: string): number[] => tokenizer.encode(text, { addSpecialTokens: false });
/** The last token of the prompt of `speak`. */
const cue = (): number => plain("#")[0] as number;

/** What a model says that was made to say these tokens, and then the end of the text. */
async function speak(ids: readonly number[], options: GenerateOptions = {}): Promise<string[]> {
  const eos = tokenizer.eosTokenId as number;
  const model = scriptedModel([cue(), ...ids, eos], tokenizer.vocabSize, { tokenizer });
  const pieces = await collect(generate(model, "#", { temperature: 0, ...options }));
  model.dispose();
  return pieces;
}

/** Each character's bytes as tokens of one byte. */
const bytewise = (text: string): number[] => {
  const single = new Map<number, number>();
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    const token = tokenizer.token(id);
    if (token === undefined || [...token].length !== 1 || tokenizer.isSpecial(id)) continue;
    single.set(byteOf(token), id);
  }
  return [...new TextEncoder().encode(text)].map((byte) => single.get(byte) as number);
};

/** The byte that a character of a byte-level vocabulary stands for. */
function byteOf(character: string): number {
  const code = character.codePointAt(0) as number;
  if (code < 256) return code;
  const shifted = [...Array(256).keys()].filter((byte) => !((byte > 32 && byte < 127) || (byte > 160 && byte < 256 && byte !== 173)));
  return shifted[code - 256] as number;
}

describe("text", () => {
  it("comes piece by piece, without the token that ends it", async () => {
    const ids = plain("The cat sees");
    expect(new Set(ids).size).toBe(ids.length);
    const pieces = await speak(ids);
    expect(pieces.join("")).toBe("The cat sees");
    expect(pieces.length).toBeGreaterThan(1);
  });

  it("never ends inside a character", async () => {
    const text = "é👋z";
    expect(await speak(bytewise(text))).toEqual(["é", "👋", "z"]);
    // Cut off inside: what never became a character is shown as U+FFFD, at the end.
    expect(await speak(bytewise(text).slice(0, 4))).toEqual(["é", "\ufffd"]);
    expect(await speak(bytewise(text), { maxTokens: 3 })).toEqual(["é", "\ufffd"]);
  });

  it("continues a text as it would be decoded whole; a reply stands for itself", async () => {
    const own = await loadTokenizer(pathOf("mistral", "model"));
    const said = own.encode("cat", { addSpecialTokens: false });
    const messages = [{ role: "user", content: "Hello" }];
    const rendered = own.encode(own.applyChatTemplate(messages, { addGenerationPrompt: true }), { addSpecialTokens: false });
    for (const [prompt, ids, expected] of [
      ["Hello!", own.encode("Hello!"), " cat"],
      [messages, rendered, "cat"],
    ] as const) {
      const model = scriptedModel([ids.at(-1) as number, ...said, own.eosTokenId as number], own.vocabSize, { tokenizer: own });
      expect((await collect(generate(model, prompt, { temperature: 0 }))).join("")).toBe(expected);
      model.dispose();
    }
  });

  it("ends after maxTokens; none is none", async () => {
    const ids = plain("The cat sees");
    expect((await speak(ids, { maxTokens: 2 })).join("")).toBe(tokenizer.decode(ids.slice(0, 2)));
    expect(await speak(ids, { maxTokens: 0 })).toEqual([]);
  });
});

describe("stop strings", () => {
  it("end the text across borders of tokens, and no part of them is shown", async () => {
    const unique = bytewise("abcdefgh");
    expect((await speak(unique, { stop: "cde" })).join("")).toBe("ab");
    expect((await speak(unique, { stop: ["zz", "defg", "cx"] })).join("")).toBe("abc");
    expect((await speak(unique, { stop: ["abc"] })).join("")).toBe("");
    // What looked like a beginning and was none is shown.
    expect((await speak(unique, { stop: ["cdx", "ghi"] })).join("")).toBe("abcdefgh");
  });

  it("that are special tokens end it too", async () => {
    const special = tokenizer.specialTokens.find((token) => tokenizer.encode(token, { addSpecialTokens: false })[0] !== tokenizer.eosTokenId);
    const [id] = plain(special as string);
    const ids = [...bytewise("ab"), id as number, ...bytewise("cd")];
    expect((await speak(ids)).join("")).toBe("abcd");
    expect((await speak(ids, { stop: [special as string] })).join("")).toBe("ab");
  });

  it("a filter shows everything before the first of them, whatever the pieces", () => {
    const all = "aabaabaaabcabd";
    for (const stops of [["aabaaa"], ["bc"], ["abd", "cab"], ["x"], ["d"], ["abda"]]) {
      const ends = stops.map((stop) => all.indexOf(stop)).filter((at) => at >= 0);
      const expected = ends.length === 0 ? all : all.slice(0, Math.min(...ends));
      for (let size = 1; size <= all.length; size++) {
        const filter = new StopFilter(stops);
        let shown = "";
        for (let at = 0; at < all.length; at += size) {
          shown += filter.push(all.slice(at, at + size));
          expect(expected.startsWith(shown)).toBe(true);
        }
        expect(shown + filter.end()).toBe(expected);
      }
    }
  });
});
