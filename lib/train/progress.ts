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

/**
 * Passes the events of a training on, and shows its progress: `for await (const event of showProgress(train(…)))`.
 */
export async function* showProgress<E extends TrainingEvent>(training: AsyncIterable<E>, options: ProgressOptions = {}): AsyncGenerator<E, void> {
  const { stream = process.stderr, label = "training", every } = options;
  const terminal = stream.isTTY === true;
  let drawn = Number.NEGATIVE_INFINITY;
  let open = false;
  const clear = (): void => {
    if (open) stream.write("\r\x1b[K");
    open = false;
  };
  try {
    for await (const event of training) {
      const now = performance.now();
      if (event.type === "step") {
        const due = terminal ? now - drawn > 100 : every === undefined ? now - drawn > 5000 : event.step % every === 0;
        if (due) {
          drawn = now;
          stream.write(terminal ? `\r\x1b[K${progressText(event, label).slice(0, (stream.columns ?? 100) - 1)}` : `${progressText(event, label)}\n`);
          open = terminal;
        }
      } else {
        clear();
        const text = noteText(event, label);
        if (text !== undefined) stream.write(`${text}\n`);
      }
      yield event;
    }
  } finally {
    clear();
  }
}

function progressText(event: Extract<TrainingEvent, { type: "step" }>, label: string): string {
  const { step, totalSteps: total, loss, examplesPerSecond, tokensPerSecond, secondsLeft } = event;
  const speed = tokensPerSecond === undefined ? `${Math.round(examplesPerSecond)} examples/s` : `${Math.round(tokensPerSecond)} tokens/s`;
  const share = total === undefined ? undefined : step / total;
  const filled = share === undefined ? 0 : Math.round(share * barWidth);
  const bar = share === undefined ? "" : ` [${"█".repeat(filled)}${"·".repeat(barWidth - filled)}] ${Math.floor(share * 100)} %`;
  const left = secondsLeft === undefined ? "" : `  ${secondsText(secondsLeft)} left`;
  return `${label}${bar}  step ${step}${total === undefined ? "" : `/${total}`}  loss ${loss.toPrecision(4)}  ${speed}${left}`;
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

const secondsText = (seconds: number): string =>
  seconds < 99.5 ? `${seconds.toFixed(seconds < 10 ? 1 : 0)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
