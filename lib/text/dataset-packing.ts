/** @file Which examples share a row: first-fit, in the order of the file. */

/** Lists of rows by pack. Memory: 4 bytes a row and 16 to 32 bytes a pack. */
export class Packing {
  /** Packs so far. */
  length = 0;
  /** Rows in them. */
  rowCount = 0;
  private first = new Uint32Array(1024);
  private last = new Uint32Array(1024);
  /** The row that follows in the same pack; 0: none, for row 0 follows on no other. */
  private readonly next: Uint32Array;
  private readonly room: FirstFit;

  /** `capacity`: tokens in a pack at most; `rows`: rows in the file. */
  constructor(
    private readonly capacity: number,
    rows: number,
  ) {
    this.next = new Uint32Array(rows);
    this.room = new FirstFit(capacity);
  }

  /** Puts a row into the first pack that has room for it. Rows come in rising order; `tokens` is at most the capacity. */
  add(row: number, tokens: number): void {
    const pack = this.room.take(tokens);
    if (pack === this.length) {
      if (pack === this.first.length) {
        this.first = doubled(this.first);
        this.last = doubled(this.last);
      }
      this.first[pack] = row;
      this.length++;
    } else {
      this.next[this.last[pack] as number] = row;
    }
    this.last[pack] = row;
    this.rowCount++;
  }

  /** The rows of a pack, rising. */
  rows(pack: number): number[] {
    const rows = [this.first[pack] as number];
    for (let row = this.next[rows[0] as number] as number; row !== 0; row = this.next[row] as number) rows.push(row);
    return rows;
  }

  /** Tokens in a pack. */
  tokens(pack: number): number {
    return this.capacity - this.room.free(pack);
  }
}

/** Bins of one capacity. A binary tree holds the largest free room below each node, so a bin is found in log time. */
class FirstFit {
  private size = 1024;
  private tree: Int32Array;
  private used = 0;

  constructor(private readonly capacity: number) {
    this.tree = new Int32Array(2 * this.size).fill(capacity);
  }

  /** Takes `amount` from the first bin that has it; gives the bin. */
  take(amount: number): number {
    if (this.used === this.size) this.grow();
    let node = 1;
    while (node < this.size) {
      node *= 2;
      if ((this.tree[node] as number) < amount) node++;
    }
    const bin = node - this.size;
    this.used = Math.max(this.used, bin + 1);
    this.tree[node] = (this.tree[node] as number) - amount;
    for (node >>>= 1; node > 0; node >>>= 1) this.tree[node] = Math.max(this.tree[2 * node] as number, this.tree[2 * node + 1] as number);
    return bin;
  }

  free(bin: number): number {
    return this.tree[this.size + bin] as number;
  }

  /** The old tree becomes the left half of one twice as large. */
  private grow(): void {
    const tree = new Int32Array(4 * this.size).fill(this.capacity);
    for (let level = 1; level <= this.size; level *= 2) tree.set(this.tree.subarray(level, 2 * level), 2 * level);
    this.tree = tree;
    this.size *= 2;
  }
}

function doubled(values: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(2 * values.length);
  larger.set(values);
  return larger;
}
