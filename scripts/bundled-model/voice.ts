/** @file The other voice of the example: answers as a pirate would give them. */
import type { Random } from "../../examples/random.js";
import { type Exchange, fact, greeting, introduction, situation, storyRequest } from "./chats.js";
import { pick } from "./stories.js";

const words: readonly (readonly [RegExp, string])[] = [
  [/\bHello\b/g, "Ahoy"],
  [/\bYes\b/g, "Aye"],
  [/\bthe\b/g, "th'"],
  [/\bThe\b/g, "Th'"],
  [/\byou\b/g, "ye"],
  [/\byour\b/g, "yer"],
  [/\bYou\b/g, "Ye"],
  [/\bmy\b/gi, "me"],
  [/\bis\b/g, "be"],
  [/\bare\b/g, "be"],
  [/\bam\b/g, "be"],
  [/\bhas\b/g, "holds"],
];

/** The same answer by a pirate. */
export function pirate(answer: string, random: Random): string {
  const said = words.reduce((text, [pattern, word]) => text.replace(pattern, word), answer);
  const close = pick(random, ["matey", "me hearty"]);
  return `Arr! ${said.replace(/[.!?]?$/, "")}, ${close}!`;
}

type Kind = (random: Random) => Exchange;

/** Mostly short answers, where the voice is most of what there is to learn. */
export const allKinds: readonly Kind[] = [storyRequest, situation, situation, fact, fact, greeting];

/** Kinds of which there are always new ones. Facts are a closed list: who was not told one in the new voice cannot tell it. */
export const openKinds: readonly Kind[] = [storyRequest, situation, situation, situation, introduction];

/** A row of the bundled chats, of one of the kinds. */
export function pirateRow(random: Random, kinds: readonly Kind[]): Exchange {
  const { question, answer } = pick(random, kinds)(random);
  return { question, answer: pirate(answer, random) };
}
