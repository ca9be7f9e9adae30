/** @file The help texts, from the table of options. */
import { type CommandSpec, commands, kebab, type OptionSpec } from "./options.js";

const width = 100;

/** Of the program. */
export function programHelp(version: string): string {
  const rows = commands.map(({ name, summary }) => `  ${name.padEnd(10)}${summary}`);
  return `lowrank ${version}: train LoRA adapters

  lowrank COMMAND [options]

${rows.join("\n")}

  lowrank COMMAND --help    its options
  lowrank --version

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 or 143 interrupted.
`;
}

/** Of a command. */
export function commandHelp({ name, summary, positional, options, examples }: CommandSpec): string {
  const column = Math.max(...options.map((option) => spelling(option).length)) + 4;
  const place = positional === undefined ? "" : ` [${positional.name}${positional.many ? " ..." : ""}]`;
  const about = positional === undefined ? "" : `  ${positional.name.padEnd(column - 2)}${positional.help}\n`;
  const rows = options.map((option) => row(option, column));
  return `lowrank ${name}: ${summary}

  lowrank ${name}${place} [options]

${about}${rows.join("\n")}

${examples.map((example) => `  ${example}`).join("\n")}
`;
}

const spelling = ({ name, value }: OptionSpec): string => `--${kebab(name)}${value === undefined ? "" : ` ${value}`}`;

function row(option: OptionSpec, column: number): string {
  const choices = option.choices === undefined ? "" : ` (${option.choices.join(", ")})`;
  const note = option.required ? " (required)" : option.default === undefined || option.default === "off" ? "" : ` [${option.default}]`;
  const lines = wrap(`${option.help}${choices}${note}`, width - column);
  return `  ${spelling(option).padEnd(column - 2)}${lines.join(`\n${" ".repeat(column)}`)}`;
}

function wrap(text: string, most: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + word.length + 1 > most) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
