/** @file The images of the example: a base task, and two tasks to adapt to. */
import { retarget } from "./augment.js";
import { digitSets, digits, type LabelledImages, type Task } from "./digits.js";
import { readIdxDataset } from "./idx.js";

export interface TrainAndTest {
  readonly train: LabelledImages;
  readonly test: LabelledImages;
}

export interface ExampleData {
  readonly source: string;
  readonly base: TrainAndTest;
  readonly tasks: Readonly<Record<Exclude<Task, "base">, TrainAndTest>>;
}

const trainCount = 2000;
const testCount = 1000;

/** The MNIST files of a folder, or generated digits. */
export async function loadData(folder: string | undefined, seed: number): Promise<ExampleData> {
  if (folder === undefined) {
    const set = (name: keyof typeof digitSets): LabelledImages => digits({ seed, ...digitSets[name] });
    return {
      source: "generated digits",
      base: { train: set("baseTrain"), test: set("baseTest") },
      tasks: { mild: { train: set("mildTrain"), test: set("mildTest") }, strong: { train: set("strongTrain"), test: set("strongTest") } },
    };
  }
  const [train, test] = await Promise.all([readIdxDataset(folder, "train"), readIdxDataset(folder, "t10k")]);
  const changed = (task: Task): TrainAndTest => ({
    train: retarget(firstOf(train, trainCount), task, seed),
    test: retarget(firstOf(test, testCount), task, seed + 1),
  });
  return {
    source: `MNIST files (${train.count} + ${test.count} images)`,
    base: { train, test },
    tasks: { mild: changed("mild"), strong: changed("strong") },
  };
}

function firstOf(set: LabelledImages, most: number): LabelledImages {
  const count = Math.min(most, set.count);
  return { ...set, count, images: set.images.subarray(0, count * set.rows * set.cols), labels: set.labels.subarray(0, count) };
}
