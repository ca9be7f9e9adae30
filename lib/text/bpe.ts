/**
 * @file The merging of byte-pair encoding in O(n log n). `@huggingface/tokenizers` has it too; it makes a JSON string of every pair
 * it looks up, which takes ten times as long (docs/text.md) where a whole text is one word, as in Llama 2.
 */
import type { WordTokens } from "./model.js";

/** Ids are below this, so that a pair of them is one exact number; the largest published vocabulary has 2^18 tokens. */
export const idLimit = 2 ** 24;
/** Rank and place of a pair as one exact number: ranks are below 2^21. */
const placeLimit = 2 ** 32;

/** Merges the symbols of words by ranked pairs: always the pair of the lowest rank, among equals the leftmost. */
export class BpeMerger {
  private readonly ranks = new Map<number, number>();
  private readonly results: Int32Array;
  // Per symbol of the word in work; kept to spare allocations.
  private ids = new Int32Array(64);
  private previous = new Int32Array(64);
  private next = new Int32Array(64);
  private readonly queue = new MinHeap();

  /** `merges`: flat triples of ids (left, right, result); a pair that stands twice has the rank of its last place. */
  constructor(merges: Int32Array) {
    this.results = new Int32Array(merges.length / 3);
    for (let rank = 0; rank < this.results.length; rank++) {
      this.ranks.set(pairKey(merges[3 * rank] as number, merges[3 * rank + 1] as number), rank);
      this.results[rank] = merges[3 * rank + 2] as number;
    }
  }

  merge(symbols: WordTokens): WordTokens {
    const count = symbols.ids.length;
    if (count < 2) return symbols;
    this.load(symbols.ids);
    for (let place = 0; place + 1 < count; place++) this.offer(place);
    for (let entry = this.queue.pop(); entry !== undefined; entry = this.queue.pop()) {
      const place = entry % placeLimit;
      const rank = (entry - place) / placeLimit;
      // The pair may have changed since it was offered; the new one has an entry of its own.
      if (this.rankAt(place) === rank) this.join(place, this.results[rank] as number);
    }
    return this.collect(symbols);
  }

  private load(ids: readonly number[]): void {
    const count = ids.length;
    if (count > this.ids.length) {
      const capacity = Math.max(count, 2 * this.ids.length);
      this.ids = new Int32Array(capacity);
      this.previous = new Int32Array(capacity);
      this.next = new Int32Array(capacity);
    }
    for (let place = 0; place < count; place++) {
      this.ids[place] = ids[place] as number;
      this.previous[place] = place - 1;
      this.next[place] = place + 1 < count ? place + 1 : -1;
    }
  }

  /** The rank of the pair that starts at `place`; undefined when it does not merge or the place is gone. */
  private rankAt(place: number): number | undefined {
    const right = this.next[place] as number;
    if (right < 0) return undefined;
    return this.ranks.get(pairKey(this.ids[place] as number, this.ids[right] as number));
  }

  private offer(place: number): void {
    const rank = this.rankAt(place);
    if (rank !== undefined) this.queue.push(rank * placeLimit + place);
  }

  private join(place: number, result: number): void {
    const gone = this.next[place] as number;
    const after = this.next[gone] as number;
    this.ids[place] = result;
    this.next[place] = after;
    this.next[gone] = -1;
    if (after >= 0) {
      this.previous[after] = place;
      this.offer(place);
    }
    const before = this.previous[place] as number;
    if (before >= 0) this.offer(before);
  }

  private collect(symbols: WordTokens): WordTokens {
    const ids: number[] = [];
    const from: number[] = [];
    const to: number[] = [];
    for (let place = 0; place >= 0; ) {
      const next = this.next[place] as number;
      ids.push(this.ids[place] as number);
      from.push(symbols.from[place] as number);
      to.push(symbols.to[(next < 0 ? symbols.ids.length : next) - 1] as number);
      place = next;
    }
    return { ids, from, to };
  }
}

function pairKey(left: number, right: number): number {
  return left * idLimit + right;
}

/** A binary heap of numbers, least first. */
class MinHeap {
  private items = new Float64Array(64);
  private size = 0;

  push(item: number): void {
    if (this.size === this.items.length) {
      const larger = new Float64Array(2 * this.size);
      larger.set(this.items);
      this.items = larger;
    }
    let at = this.size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = this.items[parent] as number;
      if (above <= item) break;
      this.items[at] = above;
      at = parent;
    }
    this.items[at] = item;
  }

  pop(): number | undefined {
    if (this.size === 0) return undefined;
    const least = this.items[0];
    const item = this.items[--this.size] as number;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.size) break;
      if (child + 1 < this.size && (this.items[child + 1] as number) < (this.items[child] as number)) child++;
      const below = this.items[child] as number;
      if (below >= item) break;
      this.items[at] = below;
      at = child;
    }
    this.items[at] = item;
    return least;
  }
}
