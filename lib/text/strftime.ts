/** @file The clock of chat templates: Python's strftime in the C locale. */
import { quoted } from "../native/errors.js";

const months = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

const two = (value: number): string => String(value).padStart(2, "0");

const dayOfYear = (date: Date): number => {
  const day = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  return Math.round((day - Date.UTC(date.getFullYear(), 0, 1)) / 86_400_000) + 1;
};

const directives: ReadonlyMap<string, (date: Date) => string> = new Map<string, (date: Date) => string>([
  ["a", (date) => (days[date.getDay()] as string).slice(0, 3)],
  ["A", (date) => days[date.getDay()] as string],
  ["b", (date) => (months[date.getMonth()] as string).slice(0, 3)],
  ["B", (date) => months[date.getMonth()] as string],
  ["d", (date) => two(date.getDate())],
  ["H", (date) => two(date.getHours())],
  ["I", (date) => two(date.getHours() % 12 || 12)],
  ["j", (date) => String(dayOfYear(date)).padStart(3, "0")],
  ["m", (date) => two(date.getMonth() + 1)],
  ["M", (date) => two(date.getMinutes())],
  ["p", (date) => (date.getHours() < 12 ? "AM" : "PM")],
  ["S", (date) => two(date.getSeconds())],
  ["w", (date) => String(date.getDay())],
  ["y", (date) => two(date.getFullYear() % 100)],
  ["Y", (date) => String(date.getFullYear())],
  ["F", (date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`],
  ["T", (date) => `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`],
  ["%", () => "%"],
]);

/** `date` in local time by a format such as `%d %b %Y`. Throws an Error that names a directive that is not known. */
export function strftime(date: Date, format: string): string {
  return format.replace(/%(.?)/gsu, (text, letter: string) => {
    const directive = directives.get(letter);
    if (directive === undefined) throw new Error(`strftime_now: the directive ${quoted(text)} is not supported`);
    return directive(date);
  });
}
