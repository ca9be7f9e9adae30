/** @file The characters that stand for bytes in byte-level vocabularies (GPT-2's `bytes_to_unicode`). */

/** Byte → character: printable Latin-1 stands for itself, the others are moved to U+0100 and up. */
export const byteToChar: readonly string[] = Array.from({ length: 256 }, (_, byte) => {
  if (isPrintable(byte)) return String.fromCharCode(byte);
  const moved = Array.from({ length: byte }, (_, k) => k).filter((k) => !isPrintable(k)).length;
  return String.fromCharCode(256 + moved);
});

/** Character → byte. */
export const charToByte: ReadonlyMap<string, number> = new Map(byteToChar.map((char, byte) => [char, byte]));

function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}
