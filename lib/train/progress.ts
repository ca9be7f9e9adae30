/** @file A progress line for terminals, plain lines elsewhere. A line of its own: the progress-bar packages bring more code than this needs. */
import type { TrainingEvent } from "./events.js";

/** The part of a stream that progress needs. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface ProgressOptions {
  /** Default process.stderr. */
  readonly stream?: ProgressStream;
  /** Stands before the bar. */
  readonly label?: string;
  /** Steps between two plain lines where the stream is not a terminal; default: a line about every 5 seconds. */
  readonly every?: number;
}

const barWidth = 24;
const narrowestBar = 4;

/** A line that says how far something is: on a terminal it changes in its place, elsewhere a new one comes now and then. @internal */
export class StatusLine {
  #open = false;
  #shownAt = Number.NEGATIVE_INFINITY;

  constructor(private readonly stream: ProgressStream) {}

  get isTerminal(): boolean {
    return this.stream.isTTY === true;
  }

  /** Whether the time for another text has come. */
  get isDue(): boolean {
    return performance.now() - this.#shownAt > (this.isTerminal ? 100 : 5000);
  }

  /** No text is due for a while. */
  rest(): void {
    this.#shownAt = performance.now();
  }

  /** A function gets the width that there is. */
  show(text: string | ((width: number) => string)): void {
    this.rest();
    const width = this.isTerminal ? (this.stream.columns ?? 100) - 1 : Number.POSITIVE_INFINITY;
    const line = typeof text === "string" ? text : text(width);
    this.stream.write(this.isTerminal ? `\r\x1b[K${line.slice(0, width)}` : `${line}\n`);
    this.#open = this.isTerminal;
  }

  clear(): void {
    if (this.#open) this.stream.write("\r\x1b[K");
    this.#open = false;
  }
}

/** `8.1 s`, `2 min 0 s`, `1 h 5 min`. @internal */
export function secondsText(seconds: number): string {
  if (seconds < 99.5) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/**
 * Passes the events of a training on, and shows its progress: `for await (const event of showProgress(train(…)))`.
 */
export async function* showProgress<E extends TrainingEvent>(training: AsyncIterable<E>, options: ProgressOptions = {}): AsyncGenerator<E, void> {
  const { stream = process.stderr, label = "training", every } = options;
  const line = new StatusLine(stream);
  try {
    for await (const event of training) {
      if (event.type === "step") {
        const isDue = line.isTerminal || every === undefined ? line.isDue : event.step % every === 0;
        if (isDue) line.show((width) => progressText(event, label, width));
      } else {
        line.clear();
        const text = noteText(event, label);
        if (text !== undefined) stream.write(`${text}\n`);
      }
      yield event;
    }
  } finally {
    line.clear();
  }
}

/** Where it is too wide the bar becomes shorter; then parts fall away, the time left last. */
function progressText(event: Extract<TrainingEvent, { type: "step" }>, label: string, width: number): string {
  const { step, totalSteps: total, loss, examplesPerSecond, tokensPerSecond, secondsLeft } = event;
  const share = total === undefined ? undefined : step / total;
  const percent = share === undefined ? "" : ` ${Math.floor(share * 100)} %`;
  const steps = `  step ${step}${total === undefined ? "" : `/${total}`}`;
  const lossPart = `  loss ${loss.toPrecision(4)}`;
  const speed = `  ${tokensPerSecond === undefined ? `${Math.round(examplesPerSecond)} examples/s` : `${Math.round(tokensPerSecond)} tokens/s`}`;
  const left = secondsLeft === undefined ? "" : `  ${secondsText(secondsLeft)} left`;
  const after = `${percent}${steps}${lossPart}${speed}${left}`;
  const room = Math.min(barWidth, width - label.length - after.length - " []".length);
  if (share !== undefined && room >= narrowestBar) {
    const filled = Math.round(share * room);
    return `${label} [${"█".repeat(filled)}${"·".repeat(room - filled)}]${after}`;
  }
  const shorter = [after, `${steps}${lossPart}${left}`].map((text) => `${label}${text}`);
  return shorter.find((text) => text.length <= width) ?? `${label}${steps}${left}`;
}

function noteText(event: TrainingEvent, label: string): string | undefined {
  switch (event.type) {
    case "eval": {
      const accuracy = event.accuracy === undefined ? "" : `  accuracy ${(event.accuracy * 100).toFixed(2)} %`;
      return `${label}: evaluation after step ${event.step}  loss ${event.loss.toPrecision(4)}${accuracy}${event.best ? "  (best)" : ""}`;
    }
    case "warning":
      return `${label}: warning: ${event.message}`;
    case "done":
      return `${label}: ${event.steps} steps in ${secondsText(event.seconds)}, last loss ${event.loss.toPrecision(4)}`;
    default:
      return undefined;
  }
}
