/** The generator and the parser of the stories were written apart: each is the other's judge. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Random } from "../../examples/random.js";
import { exchange, storyRequest, storyWish } from "../../scripts/bundled-model/chats.js";
import { readStory } from "../../scripts/bundled-model/parse.js";
import { story } from "../../scripts/bundled-model/stories.js";
import { pirate } from "../../scripts/bundled-model/voice.js";
import { adjectives, characterNames, placeNames, spotNames, thingNames } from "../../scripts/bundled-model/words.js";

const seeds = fc.nat(1_000_000);

/** One word for another of its kind. */
const kinds: readonly (readonly string[])[] = [characterNames, placeNames, thingNames, spotNames, adjectives];

describe("stories", () => {
  it("are a pure function of the seed", () => {
    expect(story(new Random(7))).toBe(story(new Random(7)));
    expect(story(new Random(7))).not.toBe(story(new Random(8)));
  });

  it("are accepted, all of them", () => {
    for (let i = 0; i < 3000; i++) expect(readStory(story(new Random(9, i)))).toMatchObject({ accepted: true });
  });

  it("are about what was asked for", () => {
    for (let i = 0; i < 300; i++) {
      const { wish } = storyWish(new Random(5, i));
      expect(readStory(story(new Random(6, i), wish))).toMatchObject({ accepted: true, ...wish });
    }
    expect(readStory(storyRequest(new Random(3)).answer).accepted).toBe(true);
  });

  it("of every kind occur: each sentence of the grammar, two to four events", () => {
    const texts = Array.from({ length: 500 }, (_, i) => story(new Random(2, i))).join("\n");
    for (const words of [
      "It is a",
      "One ",
      "finds a",
      "has a",
      "comes to",
      "is happy",
      "There you are!",
      "gives the",
      "Thank you",
      "May I",
      "Yes.",
      "No.",
    ])
      expect(texts).toContain(words);
    for (const words of ["drops", "picks it up", "puts the", "looks for", "finds it", "They go to the", "They ", "likes the", "The end."])
      expect(texts).toContain(words);
    const events = new Set(
      Array.from({ length: 300 }, (_, i) => readStory(story(new Random(4, i)))).map((reading) => reading.accepted && reading.events),
    );
    expect([...events].sort()).toEqual([2, 3, 4]);
  });

  it("with a sentence missing, twice or exchanged are rarely stories, and say so where it shows", () => {
    let survivors = 0;
    let tried = 0;
    for (let i = 0; i < 300; i++) {
      const random = new Random(11, i);
      const sentences = story(random).split(/(?<=[.!?]"?) (?=[A-Z])/);
      const at = random.below(sentences.length);
      const mutants = [sentences.toSpliced(at, 1), sentences.toSpliced(at, 0, sentences[at] as string)];
      for (const mutant of mutants.map((parts) => parts.join(" "))) {
        tried++;
        const reading = readStory(mutant);
        if (reading.accepted) survivors++;
        else expect(reading.offset).toBeLessThanOrEqual(mutant.length);
      }
    }
    // Optional sentences may go: the weather, a greeting, thanks, a mere event.
    expect(survivors / tried).toBeLessThan(0.25);
  });

  it("with one name, place, thing, spot or adjective exchanged are no stories", () => {
    let survivors = 0;
    let tried = 0;
    fc.assert(
      fc.property(seeds, fc.nat(), fc.nat(), (seed, which, other) => {
        const text = story(new Random(seed));
        const kind = kinds[which % kinds.length] as readonly string[];
        const found = [...text.matchAll(new RegExp(`\\b(${kind.join("|")})\\b`, "g"))];
        const match = found[other % Math.max(1, found.length)];
        // A place or a spot that is named once may be another one as well.
        if (match === undefined || found.filter(([word]) => word === match[0]).length < 2) return;
        const replaced = kind[(kind.indexOf(match[0]) + 1 + (other % (kind.length - 1))) % kind.length] as string;
        tried++;
        if (readStory(text.slice(0, match.index) + replaced + text.slice(match.index + match[0].length)).accepted) survivors++;
      }),
      { numRuns: 1000, seed: 1 },
    );
    expect(tried).toBeGreaterThan(500);
    expect(survivors / tried).toBeLessThan(0.05);
  });

  it.each(["", "The end.", " ", "It is a sunny day.", "Mia is in the garden. She has a red ball."])("%j is none", (text) => {
    expect(readStory(text).accepted).toBe(false);
  });

  it("cut off, or with anything before or behind, are none", () => {
    fc.assert(
      fc.property(seeds, fc.nat(), (seed, cut) => {
        const text = story(new Random(seed));
        expect(readStory(text.slice(0, cut % text.length)).accepted).toBe(false);
        expect(readStory(`${text} `).accepted).toBe(false);
        expect(readStory(` ${text}`).accepted).toBe(false);
        expect(readStory(`${text} ${text}`).accepted).toBe(false);
      }),
      { numRuns: 100 },
    );
  });
});

describe("chats", () => {
  it("have a question and an answer, and a pirate's answer has the marks of the voice where the neutral one has none", () => {
    for (let i = 0; i < 500; i++) {
      const { question, answer } = exchange(new Random(1, i));
      expect(question).toMatch(/[.?!]$/);
      expect(answer).toMatch(/[.?!]$/);
      expect(answer).not.toMatch(/Arr|matey|hearty/);
      expect(pirate(answer, new Random(i))).toMatch(/^Arr! .*, (matey|me hearty)!$/);
    }
  });
});
