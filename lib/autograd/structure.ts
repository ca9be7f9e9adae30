/**
 * @file Counts what changes the commands of a forward pass other than the shapes of its inputs: adapters that are attached, enabled, disabled,
 * merged, unmerged or detached, and parameters whose value is another buffer, or none any more. What was recorded before such a change is
 * not run again after it.
 */
let version = 0;

export const structureVersion = (): number => version;

export function structureChanged(): void {
  version++;
}
