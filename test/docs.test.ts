/** Every code block of README.md and docs/ runs as a user would run it: pasted into a file of its own, importing the package by name. */
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as functions from "../lib/functions.js";

const root = fileURLToPath(new URL("../", import.meta.url));
const run = promisify(execFile);

interface Block {
  readonly place: string;
  readonly language: string;
  readonly code: string;
}

async function blocksOf(file: string): Promise<Block[]> {
  const text = await readFile(join(root, file), "utf8");
  return [...text.matchAll(/^```(js|ts)\n([\s\S]*?)^```/gm)].map(([, language = "", code = ""], i) => ({
    place: `${file} block ${i + 1}`,
    language,
    code,
  }));
}

const pages = ["README.md", ...(await readdir(join(root, "docs"))).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`)];
const blocks = (await Promise.all(pages.map(blocksOf))).flat();

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "lowrank-docs-"));
  await mkdir(join(folder, "node_modules"));
  await symlink(root, join(folder, "node_modules", "lowrank"), "dir");
  // What the pages call a downloaded model and the reader's own chats; the model is a tiny one with random weights.
  await cp(join(root, "test/fixtures/llm/llama/model"), join(folder, "SmolLM2-135M-Instruct"), { recursive: true });
  const chat = (question: string, answer: string): string =>
    JSON.stringify({
      messages: [
        { role: "user", content: question },
        { role: "assistant", content: answer },
      ],
    });
  const rows = [
    chat("Where is my parcel?", "It arrives tomorrow."),
    chat("Can I return it?", "Yes, within 30 days."),
    chat("Hello", "Good morning!"),
  ];
  await writeFile(join(folder, "support.jsonl"), `${rows.join("\n")}\n`);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("documented examples", () => {
  it("exist", () => {
    expect(blocks.length).toBeGreaterThanOrEqual(6);
  });

  it("docs/tensors.md has a row for every op", async () => {
    const page = await readFile(join(root, "docs/tensors.md"), "utf8");
    expect(Object.keys(functions).filter((name) => !page.includes(`| \`${name}(`))).toEqual([]);
  });

  it.each(blocks.filter(({ language }) => language === "js"))("$place runs", async ({ code, place }) => {
    const name = `${place.replace(/\W+/g, "-")}.${/\brequire\(/.test(code) ? "cjs" : "mjs"}`;
    await writeFile(join(folder, name), code);
    await run(process.execPath, [name], { cwd: folder });
  });

  it("TypeScript blocks compile", async () => {
    const names = await Promise.all(
      blocks
        .filter(({ language }) => language === "ts")
        .map(async ({ code, place }) => {
          const name = `${place.replace(/\W+/g, "-")}.mts`;
          await writeFile(join(folder, name), code);
          return name;
        }),
    );
    const options = "--ignoreConfig --noEmit --strict --target es2022 --module nodenext --skipLibCheck --types node --typeRoots".split(" ");
    await run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), ...options, join(root, "node_modules/@types"), ...names], {
      cwd: folder,
    });
  });
});
