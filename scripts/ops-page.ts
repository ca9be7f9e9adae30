/** @file docs/ops.md from the registry of ops. */
import { registry } from "../lib/ops/index.js";
import type { AnyOp } from "../lib/ops/op.js";

/** The text of docs/ops.md. `overridden` names the kernels that the vectorised backends have of their own. */
export function opsPage(overridden: ReadonlySet<string>): string {
  return `${[
    "<!-- Generated from lib/ops by scripts/write-generated.ts. Do not edit. -->",
    "# Ops",
    "",
    "Every op checks sizes and types at once and throws synchronously; the arithmetic runs on a native thread. The signature is the shape rule:",
    "`...` is any number of leading axes, a capital is a size, `?` marks an optional input, `[~]` is broadcast to the first input (its shape, its",
    "trailing vector, or one element), `save` is what is kept for the gradient. **Own kernel** says whether AVX2 and AVX-512 have a kernel of their",
    "own; the reference serves everything else.",
    "",
    "| op | signature | formula | types | gradients | own kernel |",
    "|---|---|---|---|---|---|",
    ...registry.map((op) => row(op, overridden)),
    "",
  ].join("\n")}`;
}

function row(op: AnyOp, overridden: ReadonlySet<string>): string {
  const types = Object.entries(op.dtypes)
    .filter(([, allowed]) => allowed.join() !== "f32")
    .map(([name, allowed]) => `${name}: ${allowed.join(", ")}`);
  const kernels = kernelsOf(op);
  const own = kernels.filter((kernel) => overridden.has(kernel)).length;
  // Sum and mean choose among several kernels in functions of their own.
  const mark = kernels.length === 0 ? "partly" : own === kernels.length ? "yes" : own === 0 ? "reference" : `${own} of ${kernels.length}`;
  const cells = [`\`${op.name}\``, `\`${op.signature}\``, op.formula, types.join("; ") || "f32", op.gradients.join(", ") || "none", mark];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

/** The kernels an op calls, as its definition names them. */
function kernelsOf({ forward, backward }: AnyOp): string[] {
  const text = `${forward} ${backward ?? ""}`;
  return [...new Set([...text.matchAll(/\bk\.(\w+)\(/g)].map(([, name]) => name as string))];
}
