import { writeFileSync } from "node:fs";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { Context } from "../../lib/cli/context.js";
import { generateCommand } from "../../lib/cli/generate.js";
import { Output } from "../../lib/cli/output.js";
import { trainCommand } from "../../lib/cli/train.js";
import { model, runHere, trained, workFolder } from "./cli.js";

const work = workFolder();

/** What a command writes when standard output is a terminal, or not. */
async function written(run: (context: Context) => Promise<void>, args: readonly string[], isTTY: boolean): Promise<string> {
  let text = "";
  const out = { isTTY, write: (piece: string) => (text += piece) };
  await runHere(run, args, new Output(false, out, { write: () => undefined }));
  return text;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const control = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/;

describe("a terminal gets no control characters of", () => {
  test("the prompts and answers of train; a file gets them as they are", async () => {
    const prompts = work.at("hostile.txt");
    writeFileSync(prompts, "The \u001b[31mcat\u202e\n");
    const args = ["train", "--model", model, "--data", work.data, "--max-steps", "1", "--prompts", prompts, "--max-tokens", "12", "--out"];
    const terminal = await written(trainCommand, [...args, work.at("terminal")], true);
    const file = await written(trainCommand, [...args, work.at("file")], false);
    expect(file).toContain("user: The \u001b[31mcat\u202e\n");
    expect(terminal).toContain("user: The \\u{1b}[31mcat\\u{202e}\n");
    expect(terminal).not.toMatch(control);
  });

  afterEach(() => vi.useRealTimers());

  test("the answer of generate; a file gets them as they are", async () => {
    // The template tells the model the date; on this one it answers with such characters.
    vi.useFakeTimers({ toFake: ["Date"], now: new Date(2026, 10, 25) });
    const args = ["generate", "--model", model, "--adapter", trained, "--prompt", "The cat", "--max-tokens", "12", "--temperature", "0"];
    expect(await written(generateCommand, args, false)).toMatch(control);
    expect(await written(generateCommand, args, true)).not.toMatch(control);
  });
});
