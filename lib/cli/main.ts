#!/usr/bin/env node
/** @file The program `lowrank`. */
import { runCli } from "./run.js";

void runCli(process.argv.slice(2)).then((code) => {
  // Not process.exit: what was written must reach the pipe first.
  process.exitCode = code;
});
