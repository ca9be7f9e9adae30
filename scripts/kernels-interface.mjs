/** @file Turns native/kernels/kernels.def into the TypeScript interface lib/native/kernels.ts. */

/** The types of numbers in kernels.def; every other type is a view. @type {Readonly<Record<string, string>>} */
const numbers = { f32: "number", i32: "number", u64: "number", bool: "boolean" };

/**
 * The text of lib/native/kernels.ts.
 * @param {string} definitions @returns {string}
 */
export function kernelsInterface(definitions) {
  /** @type {string[]} */
  const lines = [];
  /** @type {string[]} */
  let comment = [];
  for (const line of definitions.split("\n")) {
    const kernel = /^[KS]\((\w+), (.*)\)$/.exec(line);
    if (line.startsWith("// ---")) comment = [];
    else if (line.startsWith("//")) comment.push(line.slice(3));
    else if (kernel) {
      const [, kernelName, list = ""] = kernel;
      const parameters = list.split(", ").map((parameter) => {
        const [type = "", name] = parameter.split(" ");
        return `${name}: ${numbers[type] ?? "View | undefined"}`;
      });
      if (comment.length > 0) lines.push(`  /** ${comment.join(" ")} */`);
      lines.push(`  ${kernelName}(${parameters.join(", ")}): void;`);
      comment = [];
    } else comment = [];
  }
  return [
    "// Generated from native/kernels/kernels.def by scripts/write-generated.ts. Do not edit.",
    'import type { View } from "./engine.js";',
    "",
    "/** The kernels of the active backend. A view that is undefined is an absent optional argument, or an output that nobody wants. */",
    "export interface Kernels {",
    ...lines,
    "}",
    "",
  ].join("\n");
}
