/** @file A program of a comparison whose package nobody has installed. */
import { optionalPackage } from "../../bench/contenders/answer.js";

await optionalPackage("nobody", "a-package-that-nobody-has-installed");
