import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { eventTypes } from "../../lib/cli/events.js";
import { commandHelp } from "../../lib/cli/help.js";
import { commands } from "../../lib/cli/options.js";
import { cli, eventsOf, model, trained, workFolder } from "./cli.js";

const work = workFolder();

const page = readFileSync(new URL("../../docs/cli.md", import.meta.url), "utf8");

test.each(commands.map((command) => [command.name, command] as const))("docs/cli.md has the help of %s as it is", (_, command) => {
  expect(page).toContain(`\`\`\`text\n${commandHelp(command)}\`\`\`\n`);
});

interface Row {
  readonly types: readonly string[];
  readonly of: string;
  /** Undefined where the row points to another page, or to the code. */
  readonly fields: readonly string[] | undefined;
}

const ticked = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].flatMap(([, names = ""]) => names.split(", "));

const rows = [...page.matchAll(/^\| (`.+?) \| (.+?) \| (.+?) \|$/gm)].map(
  ([, types = "", of = "", fields = ""]): Row => ({
    types: ticked(types),
    of,
    fields: /as in the API|all it found/.test(fields) ? undefined : ticked(fields),
  }),
);

const isOf = ({ of }: Row, command: string): boolean => of === "all" || ticked(of).includes(command);

test("docs/cli.md has every kind of event, and no other", () => {
  expect([...new Set(rows.flatMap(({ types }) => types))].sort()).toEqual([...eventTypes].sort());
});

test("docs/cli.md has the events and fields that the commands print", async () => {
  const prompts = work.at("prompts.jsonl");
  writeFileSync(prompts, `${JSON.stringify({ prompt: "The cat ", completion: "sees." })}\n`);
  const other = work.at("other-template");
  cpSync(trained, other, { recursive: true });
  writeFileSync(join(other, "chat_template.jinja"), "{{ messages[0].content }}");
  const using = ["--model", model, "--adapter", other];
  const answers = ["--html", work.at("page.html"), "--prompts", prompts, "--max-tokens", "2"];
  const runs = [
    ["train", "--model", model, "--data", work.data, "--eval-data", work.held, "--out", work.at("out"), "--max-steps", "1", ...answers],
    ["train", ...using, "--data", work.data, "--out", work.at("again"), "--max-steps", "1"],
    ["eval", ...using, "--data", work.data],
    ["generate", ...using, "--prompt", "The cat", "--max-tokens", "2"],
    ["inspect"],
    ["bench", "rope", "--rounds", "1"],
    ["inspect", ...using],
    ["merge", ...using, "--out", work.at("merged")],
    ["merge", ...using, "--out", model],
    ["--help"],
    ["--version"],
  ];
  const printed = await Promise.all(
    runs.map(async (args) => eventsOf((await cli([...args, "--json"])).stdout).map((event) => [args[0], event] as const)),
  );
  for (const [command = "", { type, ...fields }] of printed.flat()) {
    const row = rows.find((one) => one.types.includes(type) && isOf(one, command));
    expect(row, `${type} of ${command}`).toBeDefined();
    if (row?.fields !== undefined) expect(row.fields, `${type} of ${command}`).toEqual(expect.arrayContaining(Object.keys(fields)));
  }
  const seen = new Set(printed.flat().map(([, { type }]) => type));
  expect(eventTypes.filter((type) => !seen.has(type))).toEqual(["interrupted"]);
});
