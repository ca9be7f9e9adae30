/** @file Texts of models and files on terminals. */

/** Text from elsewhere as a terminal may get it: control characters, but line ends and tabs, by their numbers. */
export const terminalText = (text: string): string =>
  text.replace(/[\p{Cc}\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu, (c) => (c === "\n" || c === "\t" ? c : `\\u{${c.charCodeAt(0).toString(16)}}`));
