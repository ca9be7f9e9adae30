/** @file Where the words of a command go: results and JSON events to standard output, everything else to standard error. */
import { terminalText } from "../text/terminal-text.js";
import type { ProgressStream } from "../train/index.js";
import { StatusLine } from "../train/progress.js";
import type { CliEvent } from "./events.js";

/** A standard stream whose reader may go away: then nothing more is written to it. */
export class StandardStream implements ProgressStream {
  failure: NodeJS.ErrnoException | undefined;

  constructor(private readonly stream: NodeJS.WriteStream) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      this.failure ??= error;
    });
  }

  get isTTY(): boolean {
    return this.stream.isTTY;
  }

  get columns(): number {
    return this.stream.columns;
  }

  /** That there is no reader is no failure of the command. */
  get isBroken(): boolean {
    return this.failure !== undefined && this.failure.code !== "EPIPE";
  }

  write(text: string): void {
    if (this.failure === undefined) this.stream.write(text);
  }
}

export class Output {
  constructor(
    /** Decided when the arguments are read. */
    public json: boolean,
    private readonly out: ProgressStream = process.stdout,
    readonly err: ProgressStream = process.stderr,
  ) {}

  /** One line of JSON, with --json. Numbers that are not finite become null. */
  event(event: CliEvent): void {
    if (this.json) this.out.write(`${JSON.stringify(event)}\n`);
  }

  /** What the command was called for, without --json. */
  result(text: string): void {
    if (!this.json) this.out.write(shown(text, this.out));
  }

  /** A line for people, always. */
  note(text: string): void {
    this.err.write(`${shown(text, this.err)}\n`);
  }

  warn(message: string): void {
    this.note(`warning: ${message}`);
    this.event({ type: "warning", message });
  }

  /** Lines "name  value" with the values under each other. */
  table(title: string, rows: readonly (readonly [name: string, value: string])[]): void {
    const column = Math.max(0, ...rows.map(([name]) => name.length)) + 2;
    const lines = rows.map(([name, value]) => `  ${name.padEnd(column)}${value.replaceAll("\n", `\n${" ".repeat(column + 2)}`)}\n`);
    this.result(`${title}\n${lines.join("")}`);
  }
}

/** Models and files say anything: a terminal gets no control characters of theirs. Everything else gets the text as it is. */
const shown = (text: string, { isTTY }: ProgressStream): string => (isTTY === true ? terminalText(text) : text);

/** How far some work has come, unless it is done soon. */
export class Meter {
  readonly #line: StatusLine;

  constructor(
    stream: ProgressStream,
    private readonly label: string,
  ) {
    this.#line = new StatusLine(stream);
    this.#line.rest();
  }

  update(done: number, total: number, unit = ""): void {
    if (!this.#line.isDue) return;
    this.#line.show(`${this.label}  ${Math.floor((100 * done) / Math.max(1, total))} %${unit === "" ? "" : `  ${unit}`}`);
  }

  end(): void {
    this.#line.clear();
  }
}
