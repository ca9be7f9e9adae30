/** @file Post-processors of tokenizer.json: which special tokens stand before and after a text. */
import type { JsonValue } from "../io/json-scanner.js";
import { quoted } from "../native/errors.js";
import type { Component } from "./components.js";

/** Ids around those of the text. */
export interface Surroundings {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

const none: Surroundings = { before: [], after: [] };

/**
 * What the post-processor adds to a single text. `isToken` tells whether an id belongs to a token.
 * @throws LowrankError TOKENIZER_UNSUPPORTED, TOKENIZER_BAD_TEMPLATE
 */
export function readPostProcessor(component: Component, isToken: (id: number) => boolean): Surroundings {
  switch (component.type) {
    case "ByteLevel":
      return none;
    case "Sequence": {
      const adding = component
        .list("processors")
        .map((part) => readPostProcessor(part, isToken))
        .filter(({ before, after }) => before.length + after.length > 0);
      if (adding.length > 1) throw component.unsupported("post-processor", ["one processor that adds tokens"], "of several that add tokens");
      return adding[0] ?? none;
    }
    case "TemplateProcessing":
      return template(component, isToken);
    case "BertProcessing":
    case "RobertaProcessing":
      return { before: [namedId(component, "cls", isToken)], after: [namedId(component, "sep", isToken)] };
    default:
      throw component.unsupported("post-processor", ["Sequence", "ByteLevel", "TemplateProcessing", "BertProcessing", "RobertaProcessing"]);
  }
}

/** A field `["[CLS]", 101]`. */
function namedId(component: Component, name: string, isToken: (id: number) => boolean): number {
  const pair = component.field(name);
  const id = Array.isArray(pair) && pair.length === 2 ? pair[1] : undefined;
  if (typeof id !== "number" || !isToken(id)) throw badTemplate(component, `${name}: expected a token and its id`, pair);
  return id;
}

function template(component: Component, isToken: (id: number) => boolean): Surroundings {
  const tokens = component.child("special_tokens");
  const before: number[] = [];
  const after: number[] = [];
  let texts = 0;
  for (const item of component.list("single")) {
    if (item.field("Sequence") !== undefined) {
      texts++;
      continue;
    }
    const name = item.child("SpecialToken").text("id");
    if (!tokens.keys().includes(name)) throw badTemplate(item, `the special token ${quoted(name)} is not described in special_tokens`, name);
    const ids = tokens.child(name).field("ids");
    if (!Array.isArray(ids) || ids.length > 64 || !ids.every((id) => typeof id === "number" && isToken(id)))
      throw badTemplate(item, `the ids of the special token ${quoted(name)} are not those of tokens`, ids);
    (texts === 0 ? before : after).push(...(ids as number[]));
  }
  if (texts !== 1) throw badTemplate(component, "single: the text must stand exactly once in the template", texts);
  return { before, after };
}

function badTemplate(component: Component, problem: string, actual: JsonValue | undefined): Error {
  return component.error("TOKENIZER_BAD_TEMPLATE", `${component.place}: ${problem}`, { actual });
}
