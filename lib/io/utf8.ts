/** @file Strict UTF-8 (RFC 3629) on bytes: no overlong forms, no encoded surrogates, nothing above U+10FFFF. */
import { isUtf8 } from "node:buffer";

/** Offset of the first byte that does not start a valid UTF-8 sequence inside `[start, end)`, or -1 if the range is valid UTF-8. */
export function firstInvalidUtf8(bytes: Uint8Array, start = 0, end = bytes.length): number {
  if (isUtf8(bytes.subarray(start, end))) return -1;
  let at = start;
  while (at < end) {
    const lead = bytes[at] as number;
    if (lead < 0x80) {
      at++;
      continue;
    }
    const length = sequenceLength(bytes, at, end);
    if (length === 0) return at;
    at += length;
  }
  return -1;
}

/** Length of the valid multi-byte sequence at `at`, or 0. The narrowed second byte (Unicode table 3-7) excludes what UTF-8 forbids. */
function sequenceLength(bytes: Uint8Array, at: number, end: number): number {
  const lead = bytes[at] as number;
  const length = lead >= 0xc2 && lead <= 0xdf ? 2 : lead >= 0xe0 && lead <= 0xef ? 3 : lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
  if (length === 0 || at + length > end) return 0;
  const second = bytes[at + 1] as number;
  const least = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const most = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  if (second < least || second > most) return 0;
  for (let k = 2; k < length; k++) {
    if (((bytes[at + k] as number) & 0xc0) !== 0x80) return 0;
  }
  return length;
}
