/** @file Which token has which id, both ways; built once while a tokenizer is read. */

export class TokenTable {
  /** Tokens of the model, without added ones. */
  readonly vocabulary = new Map<string, number>();
  /** Id → token, added ones too; one more than the largest id long. */
  readonly tokens: (string | undefined)[] = [];
  private readonly added = new Map<string, number>();

  /** A token of the model. */
  set(token: string, id: number): void {
    this.vocabulary.set(token, id);
    this.tokens[id] = token;
  }

  /** An added token, which may be one of the model too. */
  add(token: string, id: number): void {
    this.added.set(token, id);
    this.tokens[id] = token;
  }

  idOf(token: string): number | undefined {
    return this.added.get(token) ?? this.vocabulary.get(token);
  }
}
