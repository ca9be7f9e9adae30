/** @file The training rows: stories and chats, packed. A row is a pure function of (seed, number of the row). */
import type { LanguageExample } from "lowrank";
import { Random } from "../../examples/random.js";
import { assistantTurn, BytePairEncoding, endOfText, endOfTurn, userTurn } from "./bpe.js";
import { exchange, pirateLore } from "./chats.js";
import { story } from "./stories.js";

/** Streams of random numbers: what is learnt from, what the tokenizer is made of, what is held out. */
export const streams = { training: 1, vocabulary: 2, heldOut: 3, samples: 4, voice: 5, heldOutVoice: 6 } as const;

const ignored = -100;

interface Text {
  readonly tokens: number[];
  readonly labels: number[];
}

/** Three texts in ten are stories, the others chats of one or two exchanges, of which the answers are trained. */
function text(random: Random, bpe: BytePairEncoding): Text {
  if (random.below(10) < 3) {
    const tokens = [endOfText, ...bpe.encode(story(random)), endOfText];
    return { tokens, labels: tokens };
  }
  const tokens: number[] = [endOfText];
  const labels: number[] = [ignored];
  for (let turns = random.below(4) === 0 ? 2 : 1; turns > 0; turns--) {
    const { question, answer } = random.below(25) === 0 ? pirateLore(random) : exchange(random);
    const asked = [userTurn, ...bpe.encode(question), endOfTurn, assistantTurn];
    const answered = [...bpe.encode(answer), endOfTurn];
    tokens.push(...asked, ...answered);
    labels.push(...asked.map(() => ignored), ...answered);
  }
  return { tokens, labels };
}

/** Row `index`: texts one behind the other, until there are `length` tokens. */
export function packedRow(bpe: BytePairEncoding, length: number, stream: number, index: number): LanguageExample {
  const random = new Random(seed, stream, index);
  const row = { tokens: [] as number[], labels: [] as number[], starts: [] as number[] };
  while (row.tokens.length < length) {
    const { tokens, labels } = text(random, bpe);
    row.starts.push(row.tokens.length);
    row.tokens.push(...tokens);
    row.labels.push(...labels);
  }
  return row;
}

/** Decides everything about the bundled model. */
export const seed = 0;
export const vocabularySize = 768;

/** The bundled model's tokenizer, learnt anew. */
export const bundledEncoding = (): BytePairEncoding => BytePairEncoding.learn(vocabularyTexts(8000), vocabularySize);

function* vocabularyTexts(count: number): Generator<string> {
  for (let i = 0; i < count; i++) {
    const random = new Random(seed, streams.vocabulary, i);
    if (i % 4 === 0) yield story(random);
    else {
      const { question, answer } = i % 4 === 1 ? pirateLore(random) : exchange(random);
      yield question;
      yield answer;
    }
  }
}
