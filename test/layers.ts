/** @file The doors between the rooms (docs/architecture): which folder may import which, and what each file may hold. */
import { posix } from "node:path";
import ts from "typescript";

/** Path relative to the repository root (forward slashes) → text. */
export type Sources = ReadonlyMap<string, string>;

/** Folder or file of lib/ → what it may import beside itself. `index.ts` may import everything. */
const arrows: Readonly<Record<string, readonly string[]>> = {
  native: [],
  tensor: ["native"],
  // Errors and file reads are in native.
  io: ["tensor", "native"],
  text: ["io", "tensor", "native"],
  ops: ["tensor", "native"],
  autograd: ["ops", "tensor", "native"],
  functions: ["autograd", "ops", "tensor", "native"],
  // Module.save and Module.load write and read safetensors, hence io.
  nn: ["functions", "autograd", "ops", "tensor", "native", "io"],
  models: ["nn", "functions", "autograd", "ops", "tensor", "native", "io", "text"],
  lora: ["nn", "functions", "autograd", "ops", "tensor", "native", "io"],
  train: ["models", "lora", "nn", "functions", "autograd", "ops", "tensor", "native", "io", "text"],
  cli: ["train", "models", "lora", "nn", "functions", "autograd", "ops", "tensor", "native", "io", "text"],
};

/** Headers with a room of their own. */
const headerRooms: readonly { header: RegExp; room: RegExp }[] = [
  { header: /^(napi|node_api|js_native_api|node|v8)\.h$|^(napi-inl|uv)\.h$/, room: /^native\/bind\// },
  { header: /^(immintrin|x86intrin|emmintrin|xmmintrin)\.h$/, room: /^native\/kernels\/(avx2|avx512|avx512_emulated)\// },
  { header: /^arm_neon\.h$/, room: /^native\/kernels\/neon\// },
  { header: /^cuda.*\.h$/, room: /^native\/kernels\/cuda\// },
];

/** Room of native/ → the rooms whose headers it may include. */
const nativeArrows: readonly { room: RegExp; mayInclude: RegExp }[] = [
  { room: /^native\/addon\.cpp$/, mayInclude: /^bind\// },
  { room: /^native\/core\//, mayInclude: /^core\// },
  { room: /^native\/kernels\/[^/]+$/, mayInclude: /^(core|kernels\/scalar)\/|^kernels\/[^/]+$/ },
  { room: /^native\/kernels\/simd\//, mayInclude: /^(core|kernels\/simd)\/|^kernels\/[^/]+$/ },
  { room: /^native\/kernels\/avx512\//, mayInclude: /^(core|kernels\/(simd|avx2))\/|^kernels\/[^/]+$/ },
  { room: /^native\/kernels\/avx512_emulated\//, mayInclude: /^(core|kernels\/(simd|avx2|avx512|avx512_emulated))\/|^kernels\/[^/]+$/ },
  { room: /^native\/kernels\/(\w+)\//, mayInclude: /^core\/|^kernels\/simd\/|^kernels\/[^/]+$/ },
];

const maxLines = 450;

function nativeViolations(path: string, text: string): string[] {
  const includes = [...text.matchAll(/^\s*#\s*include\s*([<"])([^>"]+)[>"]/gm)].map(([, bracket, name]) => ({
    own: bracket === '"',
    name: name ?? "",
  }));
  const strangers = includes.flatMap(({ name }) =>
    headerRooms.filter(({ header, room }) => header.test(name) && !room.test(path)).map(() => `${path}: includes ${name}, which has another room`),
  );
  const ownRoom = `${posix.dirname(path).replace(/^native\/?/, "")}/`;
  const arrow = nativeArrows.find(({ room }) => room.test(path));
  const sideways = includes
    .filter(({ own, name }) => own && arrow !== undefined && name.includes("/") && !name.startsWith(ownRoom) && !arrow.mayInclude.test(name))
    .map(({ name }) => `${path}: may not include ${name}`);
  return [...strangers, ...sideways];
}

function roomOf(path: string): string {
  return path.replace(/^lib\//, "").replace(/\/.*$|\.ts$/, "");
}

function isInsideFunction(node: ts.Node): boolean {
  for (let at: ts.Node = node; at.parent !== undefined; at = at.parent) if (ts.isFunctionLike(at.parent)) return true;
  return false;
}

/** The specifiers of all imports of a file, static or dynamic, of values or of types, and what lib/ must never hold. */
function scanTypeScript(path: string, text: string): { imports: string[]; violations: string[] } {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const imports: string[] = [];
  const violations: string[] = [];
  const at = (node: ts.Node): string => `${path}:${file.getLineAndCharacterOfPosition(node.getStart()).line + 1}`;
  const visit = (node: ts.Node): void => {
    if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier !== undefined) {
      imports.push((node.moduleSpecifier as ts.StringLiteral).text);
    }
    if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument) && ts.isStringLiteral(node.argument.literal))
      imports.push(node.argument.literal.text);
    const isImportCall = ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword;
    if (isImportCall && node.arguments[0] !== undefined && ts.isStringLiteral(node.arguments[0])) imports.push(node.arguments[0].text);
    const waits = ts.isAwaitExpression(node) || (ts.isForOfStatement(node) && node.awaitModifier !== undefined);
    if (waits && !isInsideFunction(node)) violations.push(`${at(node)}: top-level await breaks require() of the package`);
    if ((ts.isNewExpression(node) || ts.isCallExpression(node)) && node.expression.getText() === "RegExp") {
      const pattern = node.arguments?.[0];
      if (pattern === undefined || !ts.isStringLiteralLike(pattern))
        violations.push(`${at(node)}: a RegExp must be a literal; patterns of users go through the matcher of lora`);
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return { imports, violations };
}

function libViolations(path: string, text: string): string[] {
  const { imports, violations } = scanTypeScript(path, text);
  const room = roomOf(path);
  const allowed = arrows[room];
  if (/\.node["'`]/.test(text) && path !== "lib/native/load.ts") violations.push(`${path}: only lib/native/load.ts may name a .node file`);
  if (room === "index") return violations;
  if (allowed === undefined) return [...violations, `${path}: lib/${room} is not in the table of rooms in test/layers.ts`];
  const targets = imports.filter((name) => name.startsWith(".")).map((name) => posix.join(posix.dirname(path), name));
  for (const target of targets) {
    const other = roomOf(target.replace(/\.js$/, ".ts"));
    if (!target.startsWith("lib/")) violations.push(`${path}: imports ${target}, outside lib/`);
    else if (other !== room && !allowed.includes(other)) violations.push(`${path}: lib/${room} may not import lib/${other}`);
  }
  return violations;
}

/** Every broken rule, one line each: the file, and what to change. */
export function layerViolations(sources: Sources): string[] {
  return [...sources].flatMap(([path, text]) => {
    const lines = text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
    const tooLong = lines > maxLines ? [`${path}: ${lines} lines; at most ${maxLines}`] : [];
    if (/^native\/.*\.(cpp|h|inl|cu|def)$/.test(path)) return [...tooLong, ...nativeViolations(path, text)];
    if (/^lib\/.*\.ts$/.test(path)) return [...tooLong, ...libViolations(path, text)];
    return tooLong;
  });
}

/** What native/sources.txt lacks, has twice or names in vain, and conditions that do not fit the folder. */
export function sourceListViolations(list: string, existing: readonly string[]): string[] {
  const rows = list
    .split("\n")
    .map((line) => line.replace(/#.*/, "").trim().split(/\s+/))
    .filter(([path]) => path !== "");
  const listed = rows.map(([path = ""]) => path);
  const required = (path: string): string[] => {
    if (path.startsWith("native/kernels/avx512_emulated/")) return ["x64", "test"];
    if (/^native\/kernels\/avx\w*\//.test(path)) return ["x64"];
    return path.startsWith("native/kernels/neon/") ? ["arm64"] : [];
  };
  return [
    ...existing.filter((path) => !listed.includes(path)).map((path) => `native/sources.txt lacks ${path}`),
    ...listed.filter((path) => !existing.includes(path)).map((path) => `native/sources.txt names ${path}, which does not exist`),
    ...listed.filter((path, i) => listed.indexOf(path) !== i).map((path) => `native/sources.txt names ${path} twice`),
    ...rows
      .filter(([path = "", ...conditions]) => conditions.join(" ") !== required(path).join(" "))
      .map(([path = ""]) => `native/sources.txt: the conditions of ${path} must be "${required(path).join(" ")}"`),
  ];
}
