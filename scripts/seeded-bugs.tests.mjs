/** @file The tests that several lists of seeded bugs name; see seeded-bugs.list.mjs. */

/**
 * The tests of ops whose names match.
 * @param {string} pattern
 */
export const op = (pattern) => ["test/ops.test.ts", "-t", pattern];
export const invariants = ["test/ops/invariants.test.ts"];
