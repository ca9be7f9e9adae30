/** @file What a command gets. */
import type { Interrupt } from "./interrupt.js";
import type { Output } from "./output.js";
import type { Arguments } from "./parse.js";

export interface Context {
  readonly args: Arguments;
  readonly output: Output;
  readonly interrupt: Interrupt;
}
