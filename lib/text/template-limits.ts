/**
 * @file An interpreter for chat templates that counts work. Templates come from files; the library bounds nothing. Every node costs a
 * step and long values cost more, so time is bounded by steps; a value that would be too large is refused before it is made.
 */
import { type JinjaInterpreter, type JinjaNode, type JinjaScope, type JinjaValue, jinja } from "./jinja.js";

/** A template asked for more than is allowed; `what` completes the sentence "the template …". */
export class TemplateLimit extends Error {}

/** What a run may use. */
export interface Limits {
  /** Nodes evaluated, longer values counted more than once. */
  readonly steps: number;
  /** Characters in one string, and in the text of one list or object. */
  readonly characters: number;
  /** Items in one list or object. */
  readonly items: number;
}

/** Nested nodes: statements, expressions and macro calls together. */
const maxDepth = 512;
/** Largest indentation that `tojson` may be asked for. */
const maxIndent = 16;

/** A node being evaluated. */
interface Frame {
  readonly node: JinjaNode;
  readonly parent: Frame | undefined;
  /** Operand of a filter, object of a member expression, once known. */
  operand?: JinjaValue;
}

/** What a list or object amounts to when it is written out. */
interface Extent {
  readonly characters: number;
  readonly depth: number;
  /** False when a namespace is inside: those change. */
  readonly fixed: boolean;
}

/** A compiled template: its tree, and the nodes whose values go into the output. */
export interface Program {
  readonly tree: JinjaNode;
  readonly printed: ReadonlySet<JinjaNode>;
  /** Nodes inside each macro and call block. */
  readonly sizes: ReadonlyMap<JinjaNode, number>;
}

/** Finds what {@link Program} needs to know about a tree. */
export function analyze(tree: JinjaNode): Program {
  const printed = new Set<JinjaNode>();
  const sizes = new Map<JinjaNode, number>();
  const visit = (value: unknown, isBlock: boolean): number => {
    if (Array.isArray(value)) {
      let size = 0;
      for (const item of value) {
        if (isBlock) printed.add(item as JinjaNode);
        size += visit(item, false);
      }
      return size;
    }
    if (value instanceof Map) return [...value].reduce((sum, [key, item]) => sum + visit(key, false) + visit(item, false), 0);
    if (value === null || typeof value !== "object") return 0;
    let size = 1;
    for (const [field, child] of Object.entries(value)) size += visit(child, blockFields.has(field));
    if (measuredTypes.has((value as JinjaNode).type)) sizes.set(value as JinjaNode, size);
    return size;
  };
  visit(tree, false);
  return { tree, printed, sizes };
}

const blockFields: ReadonlySet<string> = new Set(["body", "alternate", "defaultBlock"]);
/** The library walks the bodies of these each time they are met. */
const measuredTypes: ReadonlySet<string> = new Set(["Macro", "CallStatement"]);
/** Statements print nothing by themselves or give text. */
const statementTypes: ReadonlySet<string> = new Set([
  "Set",
  "If",
  "For",
  "Macro",
  "CallStatement",
  "FilterStatement",
  "Comment",
  "Break",
  "Continue",
]);
/** Filters that look at everything inside their operand. */
const deepFilters: ReadonlySet<string> = new Set(["tojson", "string", "join", "sort", "unique", "dictsort"]);

export class LimitedInterpreter {
  private readonly interpreter: JinjaInterpreter;
  /** As the library evaluates a node; its children come back to {@link evaluate}. */
  private readonly evaluateNode: JinjaInterpreter["evaluate"];
  private steps = 0;
  private depth = 0;
  private frame: Frame | undefined;
  private readonly extents = new WeakMap<JinjaValue, Extent>();
  private readonly guarded = new WeakSet<JinjaValue>();

  constructor(
    scope: JinjaScope,
    private readonly program: Program,
    private readonly limits: Limits,
  ) {
    this.interpreter = new (jinja().Interpreter)(scope);
    this.evaluateNode = this.interpreter.evaluate.bind(this.interpreter);
    this.interpreter.evaluate = (node, scope) => this.evaluate(node, scope);
  }

  /** Runs the whole template. */
  run(): JinjaValue {
    return this.interpreter.run(this.program.tree);
  }

  private evaluate(node: JinjaNode | undefined, scope: JinjaScope): JinjaValue {
    if (node === undefined) return this.evaluateNode(node, scope);
    if (this.depth === maxDepth) throw new TemplateLimit(`nests more than ${maxDepth} levels deep`);
    this.charge(1 + (this.program.sizes.get(node) ?? 0));
    const frame: Frame = { node, parent: this.frame };
    this.frame = frame;
    this.depth++;
    let value: JinjaValue;
    try {
      value = this.evaluateNode(node, scope);
    } finally {
      this.frame = frame.parent;
      this.depth--;
    }
    this.checkSize(value);
    this.chargeUse(frame, value);
    return this.asPython(frame, value);
  }

  /** Counts work; called by the functions that templates may call, too. */
  charge(steps: number): void {
    this.steps += steps;
    if (this.steps > this.limits.steps) throw new TemplateLimit(`takes more than ${this.limits.steps} steps`);
  }

  private checkSize(value: JinjaValue): void {
    if (value.type === "StringValue") {
      const { length } = value.value as string;
      this.charge(length >> 6);
      this.checkCharacters(length);
    } else if (isContainer(value)) {
      const count = itemCount(value);
      if (count > this.limits.items) throw new TemplateLimit(`makes a list of more than ${this.limits.items} items`);
      this.charge(count >> 4);
      this.checkCharacters(this.extentOf(value).characters);
    }
  }

  private checkCharacters(count: number): void {
    if (count > this.limits.characters) throw new TemplateLimit(`makes a text of more than ${this.limits.characters} characters`);
  }

  /** Counts what the surrounding node is about to do with a value, and refuses what would multiply it. */
  private chargeUse(frame: Frame, value: JinjaValue): void {
    const { node, parent } = frame;
    if (node.type === "Identifier" && value.type === "UndefinedValue") this.charge(4);
    if (node.type === "MemberExpression" && value.type === "FunctionValue" && frame.operand !== undefined) this.guardReplace(frame.operand);
    if (this.program.printed.has(node) && isContainer(value)) this.charge(this.extentOf(value).characters >> 2);
    if (parent === undefined) return;
    const owner = parent.node;
    if (owner.type === "For") {
      const iterable = owner["iterable"] as JinjaNode;
      if (node === iterable || node === iterable["lhs"]) this.charge(4 * itemCount(value));
    } else if (owner.type === "BinaryExpression") {
      if (isContainer(value)) this.charge(this.extentOf(value).characters >> 2);
    } else if (owner.type === "MemberExpression") {
      if (node === owner["object"]) parent.operand = value;
    } else if (owner.type === "FilterExpression") {
      if (node === owner["operand"]) this.chargeOperand(parent, value);
      else this.checkArgument(parent, value);
    }
  }

  private chargeOperand(frame: Frame, value: JinjaValue): void {
    frame.operand = value;
    const name = filterName(frame.node);
    this.charge(itemCount(value) + (deepFilters.has(name) ? this.sizeOf(value) >> 2 : 0));
    if (name === "replace") this.guardReplace(value);
  }

  /** Refuses arguments of filters with which a short template makes a long text. */
  private checkArgument(frame: Frame, argument: JinjaValue): void {
    const { operand } = frame;
    if (operand === undefined) return;
    const name = filterName(frame.node);
    if (name === "join") {
      const count = operand.type === "StringValue" ? (operand.value as string).length : itemCount(operand);
      this.checkCharacters(this.sizeOf(operand) + count * this.sizeOf(argument));
    } else if (name === "indent" && operand.type === "StringValue") {
      const text = operand.value as string;
      this.checkCharacters(text.length + text.split("\n").length * numberOf(argument));
    } else if (name === "tojson") {
      if (numberOf(argument) > maxIndent || this.sizeOf(argument) > 64) throw new TemplateLimit(`indents JSON by more than ${maxIndent}`);
      const { characters, depth } = this.extentOf(operand);
      this.checkCharacters((characters * (depth + 1) * maxIndent) / 64);
    }
  }

  /** Makes the `replace` of a string refuse results that are too long. */
  private guardReplace(text: JinjaValue): void {
    const method = text.type === "StringValue" ? text.builtins.get("replace") : undefined;
    if (method === undefined || this.guarded.has(method)) return;
    this.guarded.add(method);
    const original = method.value as (args: JinjaValue[], scope: JinjaScope) => JinjaValue;
    method.value = (args: JinjaValue[], scope: JinjaScope): JinjaValue => {
      const whole = text.value as string;
      const [old, replacement] = args.map(({ value }) => value);
      if (typeof old === "string" && typeof replacement === "string") {
        const count = old === "" ? whole.length + 1 : whole.split(old).length - 1;
        this.charge((whole.length >> 4) + count);
        this.checkCharacters(whole.length + count * replacement.length);
      }
      return original(args, scope);
    };
  }

  /** Characters of a value when it is written out. */
  private sizeOf(value: JinjaValue): number {
    if (value.type === "StringValue") return (value.value as string).length;
    return isContainer(value) ? this.extentOf(value).characters : 8;
  }

  private extentOf(value: JinjaValue, depth = 0): Extent {
    const known = this.extents.get(value);
    if (known !== undefined) return known;
    if (depth === maxDepth) throw new TemplateLimit(`nests values more than ${maxDepth} levels deep`);
    let characters = 2;
    let inner = 0;
    let fixed = value.type !== "NamespaceValue";
    this.charge(itemCount(value));
    for (const [key, item] of entriesOf(value)) {
      characters += key + 4;
      if (isContainer(item)) {
        const extent = this.extentOf(item, depth + 1);
        characters += extent.characters;
        inner = Math.max(inner, extent.depth);
        fixed &&= extent.fixed;
      } else {
        characters += this.sizeOf(item);
      }
      this.checkCharacters(characters);
    }
    const extent = { characters, depth: inner + 1, fixed };
    if (fixed) this.extents.set(value, extent);
    return extent;
  }

  /** Prints truth values and None as Jinja does: True, False, None. */
  private asPython(frame: Frame, value: JinjaValue): JinjaValue {
    const isPrinted = this.program.printed.has(frame.node) ? !statementTypes.has(frame.node.type) : isTilde(frame.parent?.node);
    if (!isPrinted || (value.type !== "BooleanValue" && value.type !== "NullValue")) return value;
    const word = value.type === "NullValue" ? "None" : value.value === true ? "True" : "False";
    return this.evaluateNode({ type: "StringLiteral", value: word }, undefined as unknown as JinjaScope);
  }
}

function isContainer(value: JinjaValue): boolean {
  return Array.isArray(value.value) || value.value instanceof Map;
}

function itemCount(value: JinjaValue): number {
  if (Array.isArray(value.value)) return value.value.length;
  return value.value instanceof Map ? value.value.size : 0;
}

/** Length of the key and value, for each item. */
function* entriesOf(value: JinjaValue): Iterable<readonly [number, JinjaValue]> {
  if (Array.isArray(value.value)) for (const item of value.value as JinjaValue[]) yield [0, item];
  else for (const [key, item] of value.value as Map<string, JinjaValue>) yield [key.length, item];
}

function numberOf(value: JinjaValue): number {
  return typeof value.value === "number" ? value.value : 0;
}

function filterName(node: JinjaNode): string {
  const filter = node["filter"] as JinjaNode;
  const name = filter.type === "CallExpression" ? (filter["callee"] as JinjaNode)["value"] : filter["value"];
  return typeof name === "string" ? name : "";
}

function isTilde(node: JinjaNode | undefined): boolean {
  return node?.type === "BinaryExpression" && (node["operator"] as { value?: unknown }).value === "~";
}
