/** @file Little stories from a grammar: two characters, one thing, who holds it where. A story is a pure function of its random numbers. */
import type { Random } from "../../examples/random.js";
import {
  adjectives,
  type Character,
  characterNames,
  characters,
  greetings,
  moods,
  othersThan,
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

/** What a story is asked to be about. */
export interface Wish {
  readonly hero?: Character;
  readonly friend?: Character;
  readonly thing?: Thing;
}

export const pick = <T>(random: Random, list: readonly T[]): T => list[random.below(list.length)] as T;

export const pickOther = <T>(random: Random, list: readonly T[], ...not: readonly T[]): T =>
  pick(
    random,
    list.filter((item) => !not.includes(item)),
  );

const chance = (random: Random, probability: number): boolean => random.between(0, 1) < probability;

export const at = (place: Place): string => `${places[place]} the ${place}`;

/** What can happen, and what comes after it never is the same again at once. */
const eventKinds = ["give", "ask", "drop", "hide", "move", "use", "like"] as const;
type EventKind = (typeof eventKinds)[number];

/** A story: an opening, a thing, a friend, two to four events, and how things stand in the end. */
export function story(random: Random, wish: Wish = {}): string {
  return new Teller(random, wish).tell();
}

class Teller {
  readonly #hero: Character;
  readonly #friend: Character;
  readonly #thing: Thing;
  readonly #adjective: string;
  #place: Place;
  #holder: Character;

  constructor(
    readonly random: Random,
    wish: Wish,
  ) {
    this.#hero = wish.hero ?? pick(random, characterNames);
    this.#friend = wish.friend ?? pick(random, othersThan(this.#hero));
    this.#thing = wish.thing ?? pick(random, thingNames);
    this.#adjective = pick(random, adjectives);
    this.#place = pick(random, placeNames);
    this.#holder = this.#hero;
  }

  tell(): string {
    const sentences = [...this.#opening(), this.#discovery(), ...this.#meeting()];
    let last: EventKind | undefined;
    for (let count = 2 + this.random.below(3); count > 0; count--) {
      const kind: EventKind = pickOther(this.random, eventKinds, last as EventKind);
      sentences.push(...this.#event(kind));
      last = kind;
    }
    sentences.push(`Now ${this.#holder} has the ${this.#adjective} ${this.#thing}.`);
    sentences.push(`${this.#hero} and ${this.#friend} are ${pick(this.random, moods)}.`, "The end.");
    return sentences.join(" ");
  }

  #opening(): string[] {
    const [weather, time] = [pick(this.random, weathers), pick(this.random, times)];
    switch (this.random.below(3)) {
      case 0:
        return [`It is a ${weather} ${time}.`, `${this.#hero} is ${at(this.#place)}.`];
      case 1:
        return [`One ${weather} ${time}, ${this.#hero} goes to the ${this.#place}.`];
      default:
        return [`${this.#hero} is ${at(this.#place)}.`];
    }
  }

  #discovery(): string {
    const what = `a ${this.#adjective} ${this.#thing}`;
    const she = characters[this.#hero];
    if (chance(this.random, 0.5)) return `${she} has ${what}.`;
    const spot = pick(this.random, spotNames);
    return `${she} finds ${what} ${spots[spot]} a ${spot}.`;
  }

  #meeting(): string[] {
    const greets = chance(this.random, 0.5) ? `says, "${pick(this.random, greetings)}"` : "is happy.";
    return [`${this.#friend} comes to the ${this.#place}.`, `${this.#hero} ${greets}`];
  }

  /** Whoever is named last in an event holds the thing then. */
  #event(kind: EventKind): string[] {
    const holder = this.#holder;
    const other = holder === this.#hero ? this.#friend : this.#hero;
    const it = `the ${this.#adjective} ${this.#thing}`;
    switch (kind) {
      case "give":
        return this.#give(holder, other);
      case "ask": {
        const question = `${other} asks, "May I have ${it}?"`;
        if (chance(this.random, 0.6)) return [question, `${holder} says, "Yes."`, ...this.#give(holder, other)];
        return [question, `${holder} says, "No."`];
      }
      case "drop": {
        this.#holder = chance(this.random, 0.6) ? other : holder;
        return [`${holder} drops ${it}.`, `${this.#holder} picks it up.`];
      }
      case "hide": {
        const spot: Spot = pick(this.random, spotNames);
        this.#holder = other;
        return [`${holder} puts ${it} ${spots[spot]} a ${spot}.`, `${other} looks for ${it}.`, `${other} finds it ${spots[spot]} the ${spot}.`];
      }
      case "move":
        this.#place = pickOther(this.random, placeNames, this.#place);
        return [`They go to the ${this.#place}.`];
      case "use":
        return [`They ${things[this.#thing]} ${it}.`];
      case "like":
        return [`${holder} likes ${it}.`];
    }
  }

  #give(holder: Character, other: Character): string[] {
    this.#holder = other;
    const gives = `${holder} gives the ${this.#adjective} ${this.#thing} to ${other}.`;
    return chance(this.random, 0.5) ? [gives, `${other} says, "Thank you!"`] : [gives];
  }
}
