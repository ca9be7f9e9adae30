import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { commandHelp } from "../../lib/cli/help.js";
import { commands } from "../../lib/cli/options.js";

const page = readFileSync(new URL("../../docs/cli.md", import.meta.url), "utf8");

test.each(commands.map((command) => [command.name, command] as const))("docs/cli.md has the help of %s as it is", (_, command) => {
  expect(page).toContain(`\`\`\`text\n${commandHelp(command)}\`\`\`\n`);
});
