/**
 * @file The parser of the stories, written by itself: it reads a text from left to right, keeps track of who holds what where, and accepts
 * exactly the texts that the grammar can make. It judges what the model writes.
 */
import {
  adjectives,
  type Character,
  characterNames,
  characters,
  greetings,
  moods,
  type Place,
  placeNames,
  places,
  type Spot,
  spotNames,
  spots,
  type Thing,
  thingNames,
  things,
  times,
  weathers,
} from "./words.js";

/** What a text tells, or where it stops to be a story. */
export type Reading =
  | { readonly accepted: true; readonly hero: string; readonly friend: string; readonly thing: string; readonly events: number }
  | { readonly accepted: false; readonly offset: number; readonly reason: string };

class NoStory extends Error {}

const oneOf = (words: readonly string[]): string => `(${words.join("|")})`;
const name = oneOf(characterNames);
const place = oneOf(placeNames);
const thing = oneOf(thingNames);
const adjective = oneOf(adjectives);
const spot = oneOf(spotNames);
const preposition = oneOf([...new Set(Object.values(spots))]);
const where = oneOf([...new Set(Object.values(places))]);

const sentences = {
  weather: `It is a ${oneOf(weathers)} ${oneOf(times)}\\.`,
  goes: `One ${oneOf(weathers)} ${oneOf(times)}, ${name} goes to the ${place}\\.`,
  is: `${name} is ${where} the ${place}\\.`,
  has: `(She|He) has a ${adjective} ${thing}\\.`,
  finds: `(She|He) finds a ${adjective} ${thing} ${preposition} a ${spot}\\.`,
  comes: `${name} comes to the ${place}\\.`,
  greets: `${name} says, "${oneOf(greetings)}"`,
  happy: `${name} is happy\\.`,
  gives: `${name} gives the ${adjective} ${thing} to ${name}\\.`,
  thanks: `${name} says, "Thank you!"`,
  asks: `${name} asks, "May I have the ${adjective} ${thing}\\?"`,
  yes: `${name} says, "Yes\\."`,
  no: `${name} says, "No\\."`,
  drops: `${name} drops the ${adjective} ${thing}\\.`,
  picks: `${name} picks it up\\.`,
  puts: `${name} puts the ${adjective} ${thing} ${preposition} a ${spot}\\.`,
  looks: `${name} looks for the ${adjective} ${thing}\\.`,
  findsIt: `${name} finds it ${preposition} the ${spot}\\.`,
  go: `They go to the ${place}\\.`,
  use: `They ${oneOf(Object.values(things))} the ${adjective} ${thing}\\.`,
  likes: `${name} likes the ${adjective} ${thing}\\.`,
  now: `Now ${name} has the ${adjective} ${thing}\\.`,
  are: `${name} and ${name} are ${oneOf(moods)}\\.`,
  end: "The end\\.",
};
type Sentence = keyof typeof sentences;

const patterns = Object.fromEntries(Object.entries(sentences).map(([key, source]) => [key, new RegExp(source, "y")])) as Record<Sentence, RegExp>;

/** Reads a whole text. */
export function readStory(text: string): Reading {
  const reader = new Reader(text);
  try {
    return reader.read();
  } catch (error) {
    if (error instanceof NoStory) return { accepted: false, offset: reader.offset, reason: error.message };
    throw error;
  }
}

class Reader {
  offset = 0;
  #hero = "";
  #friend = "";
  #thing = "";
  #adjective = "";
  #place = "";
  #holder = "";

  constructor(readonly text: string) {}

  read(): Reading {
    this.#opening();
    this.#discovery();
    this.#meeting();
    let events = 0;
    let last = "";
    while (this.#peek("now") === undefined) {
      const kind = this.#event();
      this.#demand(kind !== last, `two times ${kind} in a row`);
      last = kind;
      events++;
    }
    this.#demand(events >= 2 && events <= 4, `${events} events`);
    this.#exactly("now", this.#holder, this.#adjective, this.#thing);
    this.#exactly("are", this.#hero, this.#friend);
    this.#take("end");
    this.#demand(this.offset === this.text.length, "the text goes on");
    return { accepted: true, hero: this.#hero, friend: this.#friend, thing: this.#thing, events };
  }

  #opening(): void {
    const goes = this.#try("goes");
    if (goes !== undefined) [, , this.#hero, this.#place] = goes as [string, string, string, string];
    else {
      this.#try("weather");
      const [hero, preposition, place] = this.#take("is") as [string, string, Place];
      this.#demand(places[place] === preposition, `${preposition} the ${place}`);
      [this.#hero, this.#place] = [hero, place];
    }
    this.#holder = this.#hero;
  }

  #discovery(): void {
    const has = this.#try("has");
    const [she, adjective, thing, preposition, spot] = (has ?? this.#take("finds")) as [string, string, string, string?, string?];
    this.#pronoun(she);
    if (spot !== undefined) this.#demand(spots[spot as Spot] === preposition, `${preposition} a ${spot}`);
    [this.#adjective, this.#thing] = [adjective, thing];
  }

  #meeting(): void {
    const [friend, place] = this.#take("comes") as [string, string];
    this.#demand(place === this.#place, "another place");
    this.#demand(characters[friend as Character] !== characters[this.#hero as Character], "a girl meets a boy, and a boy a girl");
    this.#friend = friend;
    this.#exactly(this.#peek("happy") === undefined ? "greets" : "happy", this.#hero);
  }

  #event(): string {
    const holder = this.#holder;
    const other = holder === this.#hero ? this.#friend : this.#hero;
    const it = [this.#adjective, this.#thing] as const;
    if (this.#peek("gives") !== undefined) {
      this.#give(holder, other);
      return "give";
    }
    if (this.#peek("asks") !== undefined) {
      this.#exactly("asks", other, ...it);
      if (this.#peek("yes") !== undefined) {
        this.#exactly("yes", holder);
        this.#give(holder, other);
      } else this.#exactly("no", holder);
      return "ask";
    }
    if (this.#peek("drops") !== undefined) {
      this.#exactly("drops", holder, ...it);
      [this.#holder] = this.#take("picks") as [string];
      this.#demand(this.#holder === holder || this.#holder === other, `${this.#holder} is not there`);
      return "drop";
    }
    if (this.#peek("puts") !== undefined) {
      const [, , , preposition, spot] = this.#exactly("puts", holder, ...it) as [string, string, string, string, Spot];
      this.#demand(spots[spot] === preposition, `${preposition} a ${spot}`);
      this.#exactly("looks", other, ...it);
      this.#exactly("findsIt", other, preposition, spot);
      this.#holder = other;
      return "hide";
    }
    if (this.#peek("go") !== undefined) {
      const [place] = this.#take("go") as [string];
      this.#demand(place !== this.#place, "they are there already");
      this.#place = place;
      return "move";
    }
    if (this.#peek("use") !== undefined) {
      this.#exactly("use", things[this.#thing as Thing], ...it);
      return "use";
    }
    this.#exactly("likes", holder, ...it);
    return "like";
  }

  #give(holder: string, other: string): void {
    this.#exactly("gives", holder, this.#adjective, this.#thing, other);
    if (this.#peek("thanks") !== undefined) this.#exactly("thanks", other);
    this.#holder = other;
  }

  #pronoun(she: string): void {
    this.#demand(characters[this.#hero as Character] === she, `${this.#hero} is not "${she}"`);
  }

  /** The words of the sentence that stands here. Between two sentences there is one space. */
  #peek(sentence: Sentence): readonly string[] | undefined {
    const pattern = patterns[sentence];
    pattern.lastIndex = this.offset === 0 ? 0 : this.offset + 1;
    if (this.offset > 0 && this.text[this.offset] !== " ") return undefined;
    return pattern.exec(this.text)?.slice(1);
  }

  #try(sentence: Sentence): readonly string[] | undefined {
    const words = this.#peek(sentence);
    if (words !== undefined) this.offset = patterns[sentence].lastIndex;
    return words;
  }

  #take(sentence: Sentence): readonly string[] {
    const words = this.#peek(sentence);
    this.#demand(words !== undefined, `expected a sentence like ${sentences[sentence].replace(/\([^)]*\)/g, "…")}`);
    this.offset = patterns[sentence].lastIndex;
    return words as readonly string[];
  }

  /** A sentence whose first words are these. */
  #exactly(sentence: Sentence, ...expected: readonly string[]): readonly string[] {
    const words = this.#peek(sentence) ?? this.#take(sentence);
    expected.forEach((word, i) => {
      this.#demand(words[i] === word, `expected ${word}, found ${words[i]}`);
    });
    this.offset = patterns[sentence].lastIndex;
    return words;
  }

  #demand(holds: boolean, reason: string): void {
    if (!holds) throw new NoStory(reason);
  }
}
