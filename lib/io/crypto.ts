/** @file Node's cryptography, loaded when first used: it is 4 to 8 % of the instructions of the start. */

export function crypto(): typeof import("node:crypto") {
  return process.getBuiltinModule("node:crypto");
}
