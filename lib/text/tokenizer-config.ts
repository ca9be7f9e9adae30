/** @file tokenizer_config.json, special_tokens_map.json and chat_template.jinja: what tokenizer.json does not say. */
import { type JsonValue, parseJson, plainValue, withoutByteOrderMark } from "../io/json-scanner.js";
import { templateText } from "../io/template-text.js";
import { fileError, quoted } from "../native/errors.js";
import type { AddedTokenList } from "./added-tokens.js";
import { idLimit } from "./bpe.js";
import { ChatTemplate, type ChatTemplates } from "./chat-template.js";
import { Component } from "./components.js";
import type { TokenTable } from "./token-table.js";
import { type TokenizerJson, tokenizerRules } from "./tokenizer-json.js";

/** A file that was read: its path (for errors) and contents. */
interface TextFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** The small files of a tokenizer, where they exist. */
interface ConfigFiles {
  readonly config: TextFile | undefined;
  readonly specialTokensMap: TextFile | undefined;
  readonly chatTemplate: TextFile | undefined;
}

/** Roles that a template may name, `bos_token` for instance. */
const roleNames = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"] as const;
type RoleName = (typeof roleNames)[number];

/** Adds its tokens to those of tokenizer.json. @throws LowrankError TOKENIZER_BAD_CONFIG, TOKENIZER_BAD_JSON, TOKENIZER_BAD_ADDED_TOKEN, TEMPLATE_TOO_LARGE, … */
export class TokenizerConfig {
  /** Role → text of its token. */
  readonly roles: ReadonlyMap<string, string>;
  readonly chatTemplates: ChatTemplates;
  private readonly path: string;

  constructor(files: ConfigFiles, json: TokenizerJson) {
    this.path = files.config?.path ?? files.specialTokensMap?.path ?? "tokenizer_config.json";
    const config = readObject(files.config);
    this.roles = readRoles(config, readObject(files.specialTokensMap));
    addTokens(config, json.addedTokens);
    this.chatTemplates = chatTemplates(files, config);
  }

  /** Id of the token of a role; undefined when no token has it. @throws LowrankError TOKENIZER_BAD_CONFIG */
  roleId(name: RoleName, tokens: TokenTable): number | undefined {
    const token = this.roles.get(name);
    if (token === undefined) return undefined;
    const id = tokens.idOf(token);
    if (id !== undefined) return id;
    const hint = "Name a token that exists, or null.";
    const problem = `${name}: the token ${quoted(token)} is not in the vocabulary. ${hint}`;
    throw fileError("TOKENIZER_BAD_CONFIG", this.path, problem, { place: name, actual: token, hint });
  }
}

function readObject(file: TextFile | undefined): Component | undefined {
  if (file === undefined) return undefined;
  const value = plainValue(parseJson(withoutByteOrderMark(file.bytes), tokenizerRules(file.path)));
  const component = new Component(file.path, "the file", value, "TOKENIZER_BAD_CONFIG");
  component.keys();
  return component;
}

function readRoles(...sources: (Component | undefined)[]): Map<string, string> {
  const roles = new Map<string, string>();
  for (const name of roleNames) {
    for (const source of sources) {
      const value = source?.field(name) ?? null;
      if (source === undefined || value === null || roles.has(name)) continue;
      roles.set(name, typeof value === "string" ? value : source.child(name).text("content"));
    }
  }
  return roles;
}

/** Adds those that only the configuration has. */
function addTokens(config: Component | undefined, tokens: AddedTokenList): void {
  if (config === undefined || (config.field("added_tokens_decoder") ?? null) === null) return;
  const decoder = config.child("added_tokens_decoder");
  for (const key of decoder.keys()) {
    const id = Number(key);
    if (!/^[0-9]+$/.test(key) || id >= idLimit) throw decoder.bad(key, `keys that are integers below ${idLimit}`, key);
    const token = decoder.child(key);
    if (!tokens.has(token.field("content"), id)) tokens.add(token, id);
  }
}

function chatTemplates(files: ConfigFiles, config: Component | undefined): ChatTemplates {
  const templates = new Map<string, ChatTemplate>();
  const value: JsonValue = config?.field("chat_template") ?? null;
  const path = files.config?.path ?? "";
  if (typeof value === "string") templates.set("default", new ChatTemplate(value, path));
  else if (value !== null && config !== undefined) {
    for (const item of config.list("chat_template")) templates.set(item.text("name"), new ChatTemplate(item.text("template"), path));
  }
  // The file wins, as in transformers.
  if (files.chatTemplate !== undefined)
    templates.set("default", new ChatTemplate(templateText(files.chatTemplate.bytes, files.chatTemplate.path), files.chatTemplate.path));
  return templates;
}
