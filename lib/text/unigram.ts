/** @file Viterbi segmentation of the unigram model (Kudo 2018, arXiv:1804.10959), with the ties and the penalty of `tokenizers`. */
import { codePointLength } from "./aligned.js";
import { Trie } from "./trie.js";

/** What an unknown character costs more than the least likely token. */
const unknownPenalty = 10;

/** Finds the most likely segmentation of words. */
export class UnigramSegmenter {
  private readonly trie = new Trie();
  private readonly unknownScore: number;

  constructor(
    vocabulary: ReadonlyMap<string, number>,
    /** Log probabilities by id. */
    private readonly scores: Float64Array,
  ) {
    for (const [token, id] of vocabulary) if (token !== "") this.trie.set(token, id);
    this.unknownScore = scores.reduce((least, score) => Math.min(least, score), Number.POSITIVE_INFINITY) - unknownPenalty;
  }

  /** Calls `found(id, from, to)` for each token in order; `id` is undefined for a character that no token covers. */
  segment(word: string, found: (id: number | undefined, from: number, to: number) => void): void {
    const { start, id } = this.bestPaths(word);
    const cuts: number[] = [];
    for (let end = word.length; end > 0; end = start[end] as number) cuts.push(end);
    let from = 0;
    for (const to of cuts.reverse()) {
      const token = id[to] as number;
      found(token < 0 ? undefined : token, from, to);
      from = to;
    }
  }

  /** For every end of a token: where the last token of the best path to it starts (-1: no path), and its id (-1: unknown). */
  private bestPaths(word: string): { start: Int32Array; id: Int32Array } {
    const start = new Int32Array(word.length + 1).fill(-1);
    const id = new Int32Array(word.length + 1).fill(-1);
    const best = new Float64Array(word.length + 1);
    const offer = (from: number, to: number, token: number, score: number): void => {
      const total = (best[from] as number) + score;
      if ((start[to] as number) >= 0 && total <= (best[to] as number)) return;
      start[to] = from;
      id[to] = token;
      best[to] = total;
    };
    for (let from = 0; from < word.length; ) {
      const single = codePointLength(word, from);
      let hasSingle = false;
      this.trie.search(word, from, (token, to) => {
        offer(from, to, token, this.scores[token] as number);
        hasSingle ||= to === from + single;
      });
      if (!hasSingle) offer(from, from + single, -1, this.unknownScore);
      from += single;
    }
    return { start, id };
  }
}
