/** @file Values from files as they may stand in messages. */
import { quoted } from "../native/errors.js";

/** What a value is, without what it holds. */
export function kindOf(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/** Strings, numbers and truth values themselves, of others what they are. */
export function describe(value: unknown): string {
  if (typeof value === "string") return quoted(value);
  return value === undefined || value === null || typeof value === "object" || typeof value === "function" ? kindOf(value) : String(value);
}
