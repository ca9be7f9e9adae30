/** @file What every environment of a user must be able to do with the installed package. */

/** @param {typeof import("lowrank")} lowrank @returns {Promise<boolean>} */
export async function check({ memory }) {
  return memory().cpu.tensors === 0;
}
