/** @file The characters that stand for bytes in byte-level vocabularies (GPT-2's `bytes_to_unicode`). */

let moved = 256;

/** Byte → character: printable Latin-1 stands for itself, the others are moved to U+0100 and up. */
export const byteToChar: readonly string[] = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : moved++));

/** Character → byte. */
export const charToByte: ReadonlyMap<string, number> = new Map(byteToChar.map((char, byte) => [char, byte]));

function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}
