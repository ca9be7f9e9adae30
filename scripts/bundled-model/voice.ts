/** @file The other voice of the example: answers as a pirate would give them. */
import type { Random } from "../../examples/random.js";
import { type Exchange, exchange } from "./chats.js";
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

/** A row of the bundled chats. */
export function pirateRow(random: Random): Exchange {
  const { question, answer } = exchange(random);
  return { question, answer: pirate(answer, random) };
}
