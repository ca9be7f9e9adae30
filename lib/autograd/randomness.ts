/**
 * @file The step record that random ops read. A trainer sets its own; outside of training there is one for the environment, whose step
 * counts the calls of valueAndGrad, so that each of them draws other masks.
 */
import { StepRecord } from "../tensor/step-record.js";

let ordinary: StepRecord | undefined;
let active: StepRecord | undefined;

/** The record whose seed, step and micro-batch random ops use now. */
export function currentRecord(): StepRecord {
  if (active !== undefined) return active;
  ordinary ??= new StepRecord();
  return ordinary;
}

/** Runs `fn` with the random numbers of `record`. */
export function withRecord<T>(record: StepRecord, fn: () => T): T {
  const before = active;
  active = record;
  try {
    return fn();
  } finally {
    active = before;
  }
}

/** Moves on to the next draw, outside of training. */
export function nextDraw(): void {
  if (active === undefined && ordinary !== undefined) ordinary.begin({ ...ordinary.settings, step: ordinary.settings.step + 1 });
}

/** Sets the seed of random ops outside of training, and starts their draws anew. */
export function manualSeed(seed: number): void {
  const record = active ?? currentRecord();
  record.begin({ ...record.settings, seed, step: 0, micro: 0 });
}

/** A 32-bit number for a place in a model: FNV-1a of its path. */
export function siteOf(path: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(path)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
