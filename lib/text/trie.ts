/** @file Prefix search over many strings, with one flat map: a node costs some 40 bytes, whatever its children. */

/** Units in all strings of one trie together; the vocabularies of published models have fewer than 4 million. */
const maxUnits = 8_000_000;

/** Strings with a number each. */
export class Trie {
  /** Node and unit → node. */
  private readonly next = new Map<number, number>();
  /** Node → number of the string that ends there. */
  private readonly values = new Map<number, number>();
  private nodes = 1;

  /** False when the strings are more than a trie may hold. */
  static accepts(units: number): boolean {
    return units <= maxUnits;
  }

  set(text: string, value: number): void {
    let node = 0;
    for (let unit = 0; unit < text.length; unit++) {
      const key = node * 0x10000 + text.charCodeAt(unit);
      let next = this.next.get(key);
      if (next === undefined) {
        next = this.nodes++;
        this.next.set(key, next);
      }
      node = next;
    }
    this.values.set(node, value);
  }

  /** Calls `found(value, end)` for every string that stands in `text` at `start`, the shortest first. */
  search(text: string, start: number, found: (value: number, end: number) => void): void {
    let node: number | undefined = 0;
    for (let unit = start; unit < text.length; ) {
      node = this.next.get(node * 0x10000 + text.charCodeAt(unit++));
      if (node === undefined) return;
      const value = this.values.get(node);
      if (value !== undefined) found(value, unit);
    }
  }
}
