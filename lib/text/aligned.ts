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

  /** Units of the source that it stands for. */
  get sourceLength(): number {
    return this.text === "" ? 0 : this.sourceEnd(this.text.length) - this.sourceStart(0);
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

/** How much longer than its source a text may become: Unicode normalization and bytes as characters together make 33 of one. */
const maxGrowth = 40;
/** And so many units for the shortest texts. */
const growthMargin = 16;

/** Units that may come of so many of the source. */
export function mostUnits(source: number): number {
  return maxGrowth * source + growthMargin;
}

/** @throws LowrankError TOKENIZER_BAD_COMPONENT when `length` units are more than `source` units of the text may become */
export function checkGrowth(length: number, source: number): void {
  if (length <= mostUnits(source)) return;
  const problem = `The tokenizer makes a text of ${source} characters more than ${maxGrowth} times longer.`;
  throw new LowrankError("TOKENIZER_BAD_COMPONENT", `${problem} Download the tokenizer again from where it came.`, { expected: maxGrowth });
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
    const bounded = Math.min(capacity, mostUnits(from.sourceLength));
    this.starts = new Int32Array(bounded);
    this.ends = new Int32Array(bounded);
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

  /** The capacity never exceeds the limit, so only what does not fit is looked at. */
  private reserve(count: number): void {
    const wanted = this.length + count;
    if (wanted <= this.starts.length) return;
    const source = this.from.sourceLength;
    checkGrowth(wanted, source);
    const capacity = Math.min(Math.max(2 * this.starts.length, wanted), mostUnits(source));
    this.starts = grown(this.starts, capacity);
    this.ends = grown(this.ends, capacity);
  }
}

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
