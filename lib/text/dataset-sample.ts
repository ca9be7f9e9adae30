/** @file One example as text in which the trained characters are marked. */
import { ignoredLabel, type PlacedExample } from "./example.js";
import { terminalText } from "./terminal-text.js";
import type { Tokenizer } from "./tokenizer.js";

export interface SampleOptions {
  /** Mark by colours of the terminal instead of ⟦ ⟧; default: is standard output a terminal, and NO_COLOR not set? */
  readonly color?: boolean;
}

/** A stretch of text, trained or not. */
interface Run {
  readonly text: string;
  readonly trained: boolean;
}

/** `title`, the counts, and the text of an example with its marks. */
export function sampleText(title: string, example: PlacedExample, tokenizer: Tokenizer, color: boolean): string {
  const { labels, tokens } = example;
  const trained = labels.filter((label, t) => t > 0 && label !== ignoredLabel).length;
  const cut = example.starts.length - tokens.length;
  const runs = runsOf(example, tokenizer);
  const [open, close] = color ? ["\x1b[30;42m", "\x1b[0m"] : ["⟦", "⟧"];
  const text = runs.map((run) => (run.trained ? `${open}${terminalText(run.text)}${close}` : terminalText(run.text))).join("");
  const end = cut === 0 ? "" : `… (${cut} more token${cut === 1 ? "" : "s"} cut off at the limit of ${tokens.length} tokens)`;
  return `${title}: ${tokens.length} tokens, ${trained} trained\n${text}${end}`;
}

/** The text in runs. A character belongs to the first token that covers it; added tokens are shown by their names. */
function runsOf({ text, tokens, labels, starts, ends }: PlacedExample, tokenizer: Tokenizer): Run[] {
  const runs: Run[] = [];
  let at = 0;
  const push = (piece: string, trained: boolean): void => {
    const last = runs.at(-1);
    if (piece === "") return;
    if (last?.trained === trained) runs[runs.length - 1] = { text: last.text + piece, trained };
    else runs.push({ text: piece, trained });
  };
  tokens.forEach((token, t) => {
    const trained = t > 0 && labels[t] !== ignoredLabel;
    const [start, end] = [starts[t] as number, ends[t] as number];
    push(text.slice(at, start), false);
    at = Math.max(at, start);
    if (start === end) push(tokenizer.token(token) ?? `<${token}>`, trained);
    else push(text.slice(at, end), trained);
    at = Math.max(at, end);
  });
  if (starts.length === tokens.length) push(text.slice(at), false);
  return runs;
}
