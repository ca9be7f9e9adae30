/** @file Bugs in recordings and their memory; see seeded-bugs.list.mjs. */

/** @typedef {import("./seeded-bugs.list.mjs").Bug} Bug */

const recording = ["test/recording.test.ts", "test/models/recorded.backends.test.ts"];

/** @type {readonly Bug[]} */
export const recordings = [
  {
    name: "a recording outlives a switched adapter",
    file: "lib/train/recorded.ts",
    find: "if (this.#version !== structureVersion()) this.dispose();",
    replace: "",
    tests: recording,
  },
  {
    name: "recordings told apart by the count of their tokens",
    file: "lib/train/recorded.ts",
    find: '...given.map(({ shape }) => shape.join("×"))',
    replace: "given[0]?.size",
    tests: recording,
  },
  {
    name: "a recording does not hold the weights it reads",
    file: "native/bind/environment.cpp",
    find: ".second) ++s->pins;",
    replace: ".second) s->pins += 0;",
    tests: recording,
  },
  {
    name: "a recording keeps its first place",
    file: "native/kernels/recording.cpp",
    find: "if (lies_at(memory)) return;",
    replace: "if (base_ != nowhere()) return;",
    tests: recording,
  },
  {
    name: "a replay remembers the failure of the one before",
    file: "native/kernels/recording.cpp",
    find: "for (Buffer& buffer : buffers_) buffer.failure = nullptr;",
    replace: "",
    tests: recording,
  },
  {
    name: "a buffer of a recording lies where its command still reads another",
    file: "native/core/arena.cpp",
    find: "if (other->until <= stay->from || ",
    replace: "if (other->until <= stay->from + 1 || ",
    tests: recording,
  },
  {
    name: "an arena is freed under the replay that uses it",
    file: "native/core/memory.cpp",
    find: "if (discarded_[i]->used_until > finished) continue;",
    replace: "",
    tests: ["test/recording.test.ts"],
  },
  {
    name: "a recording is moved while it runs",
    file: "native/bind/environment.cpp",
    find: "if (!recording->lies_at(arena_->data) && used_until > compute_.finished()) compute_.drain();",
    replace: "",
    tests: ["test/recording.test.ts"],
  },
  {
    name: "free blocks of every length stay",
    file: "native/core/memory.cpp",
    find: "while (passing_ + capacity + free_bytes_ > allowed) {",
    replace: "while (allowed < 0) {",
    tests: ["test/models/memory-plan.test.ts"],
  },
  {
    name: "memory for a step is taken batch by batch",
    file: "lib/train/recorded.ts",
    find: "this.reserve(Math.max(...ready.map(({ kept }) => kept.recording.bytes)));",
    replace: "this.reserve(ready[0]?.kept.recording.bytes ?? 0);",
    tests: ["test/models/memory-plan.test.ts"],
  },
  {
    name: "a step whose update had begun is not told",
    file: "lib/train/train.ts",
    find: "if (late?.stepsDone !== step + 1) throw error;",
    replace: "throw error;",
    tests: ["test/train/abort.test.ts"],
  },
];
