/** @file docs/ops.md from the registry of ops and the public functions. */
import ts from "typescript";
import { registry } from "../lib/ops/index.js";
import type { AnyOp } from "../lib/ops/op.js";

/** The text of docs/ops.md. `overridden` names the kernels that the vectorised backends have of their own; `functions` is lib/functions.ts, and what its options extend. */
export function opsPage(overridden: ReadonlySet<string>, functions: string): string {
  const calls = callsOf(functions);
  return `${[
    "<!-- Generated from lib/ops by scripts/write-generated.ts. Do not edit. -->",
    "# Ops",
    "",
    "Every op checks sizes and types at once and throws synchronously; the arithmetic runs on a native thread. The call is in TypeScript's notation",
    "(`?`: may be left out); what each option does is in [tensors.md](tensors.md). The signature is the shape rule:",
    "`...` is any number of leading axes, a capital is a size, `?` marks an optional input, `[~]` is broadcast to the first input (its shape, its",
    "trailing vector, or one element), `save` is what is kept for the gradient. **Own kernel** says whether AVX2 and AVX-512 have a kernel of their",
    "own; the reference serves everything else.",
    "",
    "| call | signature | formula | types | gradients | own kernel |",
    "|---|---|---|---|---|---|",
    ...registry.map((op) => row(op, calls, overridden)),
    "",
  ].join("\n")}`;
}

function row(op: AnyOp, calls: ReadonlyMap<string, string>, overridden: ReadonlySet<string>): string {
  const types = Object.entries(op.dtypes)
    .filter(([, allowed]) => allowed.join() !== "f32")
    .map(([name, allowed]) => `${name}: ${allowed.join(", ")}`);
  const kernels = kernelsOf(op);
  const own = kernels.filter((kernel) => overridden.has(kernel)).length;
  // Sum and mean choose among several kernels in functions of their own.
  const mark = kernels.length === 0 ? "partly" : own === kernels.length ? "yes" : own === 0 ? "reference" : `${own} of ${kernels.length}`;
  const cells = [
    `\`${calls.get(op.name) ?? op.name}\``,
    `\`${op.signature}\``,
    op.formula,
    types.join("; ") || "f32",
    op.gradients.join(", ") || "none",
    mark,
  ];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

/** The kernels an op calls, as its definition names them. */
function kernelsOf({ forward, backward }: AnyOp): string[] {
  const text = `${forward} ${backward ?? ""}`;
  return [...new Set([...text.matchAll(/\bk\.(\w+)\(/g)].map(([, name]) => name as string))];
}

/** Name → call of each exported function: `gelu(x, { approximate }?)`. Of overloads the one with all parameters. */
function callsOf(text: string): Map<string, string> {
  const source = ts.createSourceFile("functions.ts", text, ts.ScriptTarget.Latest, true);
  const options = new Map(source.statements.filter(ts.isInterfaceDeclaration).map((node) => [node.name.text, node]));
  const named = source.statements.flatMap((node): [string, readonly ts.ParameterDeclaration[]][] => {
    if (ts.isFunctionDeclaration(node)) return [[node.name?.text ?? "", node.parameters]];
    if (!ts.isVariableStatement(node)) return [];
    return node.declarationList.declarations.flatMap(({ name, initializer }) =>
      initializer !== undefined && ts.isArrowFunction(initializer) ? [[name.getText(), initializer.parameters]] : [],
    );
  });
  return new Map(named.map(([name, parameters]) => [name, `${name}(${parameters.map((one) => parameterText(one, options)).join(", ")})`]));
}

/** A parameter's name, or the names in its object of options. */
function parameterText({ name, type, questionToken, initializer }: ts.ParameterDeclaration, options: Map<string, ts.InterfaceDeclaration>): string {
  const optional = questionToken !== undefined || initializer !== undefined ? "?" : "";
  const declared = type !== undefined && ts.isTypeReferenceNode(type) ? options.get(type.typeName.getText()) : undefined;
  if (declared === undefined)
    return (ts.isObjectBindingPattern(name) ? `{ ${name.elements.map((one) => one.name.getText()).join(", ")} }` : name.getText()) + optional;
  return `{ ${namesIn(declared, options).join(", ")} }${optional}`;
}

/** The names in an object of options, those of what it extends last. */
function namesIn(declared: ts.InterfaceDeclaration, options: Map<string, ts.InterfaceDeclaration>): string[] {
  const bases = (declared.heritageClauses ?? []).flatMap(({ types }) => types.map(({ expression }) => expression.getText()));
  const inherited = bases.flatMap((name) => namesIn(options.get(name) as ts.InterfaceDeclaration, options));
  return [...declared.members.map((one) => one.name?.getText() ?? ""), ...inherited];
}
