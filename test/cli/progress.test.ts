import { expect, test } from "vitest";
import { Meter } from "../../lib/cli/output.js";
import { type DoneEvent, type StepEvent, showProgress } from "../../lib/train/index.js";

const step: StepEvent = {
  ...{ type: "step", step: 1, totalSteps: 2, epoch: 0.5, loss: 1, learningRate: 1e-3, gradNorm: 1 },
  ...{ examples: 1, examplesPerSecond: 1, secondsLeft: 119.7 },
};
const done = (seconds: number): DoneEvent => ({ type: "done", steps: 2, loss: 1, seconds });

async function shown(events: readonly (StepEvent | DoneEvent)[], isTTY: boolean, columns = 100): Promise<string> {
  let text = "";
  const stream = { isTTY, columns, write: (piece: string) => (text += piece) };
  const source = async function* () {
    yield* events;
  };
  for await (const _ of showProgress(source(), { stream }));
  return text;
}

test.each([
  [9.94, "9.9 s"],
  [99.4, "99 s"],
  [119.7, "2 min 0 s"],
  [3599.6, "1 h 0 min"],
  [7265, "2 h 1 min"],
])("a training of %d s took %s", async (seconds, text) => {
  expect(await shown([done(seconds)], false)).toContain(`steps in ${text},`);
});

test("the time left is told in the same way", async () => {
  expect(await shown([step], false)).toMatch(/ {2}2 min 0 s left\n$/);
});

test("a terminal gets one line that changes, as wide as it is; what stays comes on a line of its own", async () => {
  const [before, line, after] = (await shown([step, done(1)], true, 20)).split("\r\x1b[K");
  expect([before, line?.length, after]).toEqual(["", 19, "training: 2 steps in 1.0 s, last loss 1.000\n"]);
});

test.each([200, 100, 80, 60, 50])("a line of %d columns has the time left", async (columns) => {
  const long = { ...step, step: 137, totalSteps: 2400, loss: 1.234567, tokensPerSecond: 1234, secondsLeft: 4000 };
  const line = (await shown([long], true, columns)).split("\r\x1b[K")[1] as string;
  expect(line).toMatch(/step 137\/2400.* 1 h 6 min left$/);
  expect(line.length).toBeLessThan(columns);
  expect(line.includes("[")).toBe(columns >= 80);
});

test("a meter shows nothing of work that is done at once", () => {
  let text = "";
  const meter = new Meter({ isTTY: true, write: (piece: string) => (text += piece) }, "loading");
  meter.update(1, 2);
  meter.end();
  expect(text).toBe("");
});
