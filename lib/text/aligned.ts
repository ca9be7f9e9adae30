/** @file A piece of text that remembers where each of its UTF-16 units came from. */
import { LowrankError } from "../native/errors.js";

/** Places in the source text: one number per UTF-16 unit of a piece. */
interface Places {
  readonly starts: Int32Array;
  readonly ends: Int32Array;
}

/**
 * A piece of text on its way from the source to tokens. Normalization changes the text; every unit of the result still knows its
 * range `[sourceStart, sourceEnd)` in the source (UTF-16 indices). Slices share the places of what they were cut from.
 */
export class Aligned {
  /** Use {@link Aligned.ofSource} and {@link AlignedBuilder}. */
  constructor(
    readonly text: string,
    /** Absent: the unit `i` is the unit `shift + i` of the source. */
    private readonly places: Places | undefined,
    private readonly shift: number,
  ) {}

  /** The units `[start, end)` of the source, unchanged. */
  static ofSource(source: string, start: number, end: number): Aligned {
    return new Aligned(source.slice(start, end), undefined, start);
  }

  sourceStart(unit: number): number {
    return this.places === undefined ? this.shift + unit : (this.places.starts[this.shift + unit] as number);
  }

  /** End of the source range of the unit before `unitEnd`. */
  sourceEnd(unitEnd: number): number {
    return this.places === undefined ? this.shift + unitEnd : (this.places.ends[this.shift + unitEnd - 1] as number);
  }

  slice(start: number, end: number): Aligned {
    if (start === 0 && end === this.text.length) return this;
    return new Aligned(this.text.slice(start, end), this.places, this.shift + start);
  }

  /** Another text with as many units, each in the place of the old one. */
  withUnits(text: string): Aligned {
    return new Aligned(text, this.places, this.shift);
  }
}

/** Collects the units of a changed text together with where they came from. */
export class AlignedBuilder {
  private text = "";
  private starts: Int32Array;
  private ends: Int32Array;
  private length = 0;

  constructor(
    private readonly from: Aligned,
    capacity = from.text.length + 16,
  ) {
    this.starts = new Int32Array(capacity);
    this.ends = new Int32Array(capacity);
  }

  /** Appends the units `[start, end)` of the old text unchanged. */
  keep(start: number, end: number): void {
    this.reserve(end - start);
    this.text += this.from.text.slice(start, end);
    for (let unit = start; unit < end; unit++) {
      this.starts[this.length] = this.from.sourceStart(unit);
      this.ends[this.length++] = this.from.sourceEnd(unit + 1);
    }
  }

  /** Appends new text that stands for the units `[start, end)` of the old text. */
  put(text: string, start: number, end: number): void {
    this.reserve(text.length);
    this.text += text;
    this.starts.fill(this.from.sourceStart(start), this.length, this.length + text.length);
    this.ends.fill(this.from.sourceEnd(end), this.length, this.length + text.length);
    this.length += text.length;
  }

  finish(): Aligned {
    return new Aligned(this.text, { starts: this.starts, ends: this.ends }, 0);
  }

  private reserve(count: number): void {
    if (this.length + count <= this.starts.length) return;
    this.checkGrowth(count);
    const capacity = Math.max(2 * this.starts.length, this.length + count);
    this.starts = grown(this.starts, capacity);
    this.ends = grown(this.ends, capacity);
  }

  private checkGrowth(count: number): void {
    const source = this.from.sourceEnd(this.from.text.length) - this.from.sourceStart(0);
    if (this.length + count <= maxGrowth * source + 4096) return;
    const problem = `The normalizer of the tokenizer makes a text of ${source} characters more than ${maxGrowth} times longer.`;
    throw new LowrankError("TOKENIZER_BAD_COMPONENT", `${problem} Download the tokenizer again from where it came.`, { expected: maxGrowth });
  }
}

/** Unicode normalization makes a text at most 18 times longer, bytes as characters 3 times. */
const maxGrowth = 20;

function grown(old: Int32Array, capacity: number): Int32Array {
  const larger = new Int32Array(capacity);
  larger.set(old);
  return larger;
}

/** Length in UTF-16 units of the code point at `unit`. */
export function codePointLength(text: string, unit: number): 1 | 2 {
  const code = text.charCodeAt(unit);
  return code >= 0xd800 && code < 0xdc00 && unit + 1 < text.length ? 2 : 1;
}
