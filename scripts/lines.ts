/**
 * @file Prints the lines of source per folder. What ships (native/ and lib/) has a budget in package.json ("sizeBudget": { "lines": N });
 * tests, benchmarks and examples may grow.
 */
import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { filesUnder, root } from "./files.mjs";

const shipped = ["native", "lib"];
const folders = [...shipped, "test", "bench", "examples", "scripts"];
const endings = [".cpp", ".h", ".inl", ".def", ".cu", ".ts", ".mjs", ".cjs", ".js", ".py"];
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { sizeBudget: { lines: number } };

const linesOf = (path: string): number => readFileSync(path, "utf8").split("\n").length - 1;
const roomOf = (path: string): string => relative(root, path).replaceAll("\\", "/").split("/").slice(0, -1).slice(0, 3).join("/");

let total = 0;
for (const folder of folders) {
  const files = filesUnder([folder], endings);
  const rooms = new Map<string, { files: number; lines: number }>();
  for (const path of files) {
    const room = rooms.get(roomOf(path)) ?? { files: 0, lines: 0 };
    rooms.set(roomOf(path), { files: room.files + 1, lines: room.lines + linesOf(path) });
  }
  const lines = [...rooms.values()].reduce((sum, room) => sum + room.lines, 0);
  if (shipped.includes(folder)) total += lines;
  console.log(`${folder.padEnd(34)}${String(files.length).padStart(5)} files ${String(lines).padStart(7)} lines`);
  for (const [room, counted] of rooms) {
    if (room !== folder) console.log(`  ${room.padEnd(32)}${String(counted.files).padStart(5)} files ${String(counted.lines).padStart(7)} lines`);
  }
}

const budget = manifest.sizeBudget.lines;
console.log(`${shipped.join(" + ").padEnd(34)}${" ".repeat(12)}${String(total).padStart(7)} lines of ${budget}`);
if (total > budget) {
  console.error(`The size budget is exceeded by ${total - budget} lines: delete something, or raise "sizeBudget" in package.json and say why.`);
  process.exitCode = 1;
}
