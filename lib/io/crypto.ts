/** @file Node's cryptography, loaded when first used: it takes as long as a tenth of the start. */

export function crypto(): typeof import("node:crypto") {
  return process.getBuiltinModule("node:crypto");
}
