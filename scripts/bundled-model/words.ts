/** @file The words of the little world that the bundled model knows. Generator and parser share them, and nothing else. */

/** Who acts, and the pronoun at the start of a sentence. In a story a girl and a boy meet. */
export const characters = {
  Mia: "She",
  Tom: "He",
  Lily: "She",
  Ben: "He",
  Anna: "She",
  Max: "He",
  Rosa: "She",
  Sam: "He",
  Nora: "She",
  Leo: "He",
  Ella: "She",
  Finn: "He",
  Zoe: "She",
  Paul: "He",
  Kate: "She",
  Omar: "He",
} as const;

/** Places, and the preposition of who is there. */
export const places = {
  garden: "in",
  forest: "in",
  kitchen: "in",
  barn: "in",
  library: "in",
  park: "in",
  market: "at",
  school: "at",
  beach: "on",
  hill: "on",
  bridge: "on",
  river: "by",
  lake: "by",
} as const;

/** Things, and what is done with them. */
export const things = {
  ball: "throw",
  kite: "fly",
  book: "read",
  drum: "play",
  boat: "sail",
  map: "study",
  bell: "ring",
  lamp: "light",
  flower: "smell",
  shell: "wash",
  box: "open",
  key: "polish",
  coin: "spin",
  basket: "fill",
  rope: "pull",
  wagon: "push",
} as const;

export const colors = ["red", "blue", "green", "yellow", "white", "black", "brown", "purple"] as const;
export const adjectives = [...colors, "big", "small", "new", "shiny"] as const;

/** Where a thing can lie: a preposition and what it belongs to. */
export const spots = {
  tree: "under",
  rock: "behind",
  wall: "near",
  bench: "on",
  log: "beside",
} as const;

export const weathers = ["sunny", "rainy", "windy", "cold", "warm", "cloudy"] as const;
export const times = ["morning", "day", "afternoon", "evening"] as const;
export const greetings = ["Hello!", "Hi!", "There you are!"] as const;
export const moods = ["happy", "tired", "good friends"] as const;

export type Character = keyof typeof characters;
export type Place = keyof typeof places;
export type Thing = keyof typeof things;
export type Spot = keyof typeof spots;

const keysOf = <T extends object>(table: T): readonly (keyof T)[] => Object.keys(table) as (keyof T)[];

export const characterNames = keysOf(characters);
export const placeNames = keysOf(places);
export const thingNames = keysOf(things);
export const spotNames = keysOf(spots);

/** Those whom somebody meets in a story. */
export const othersThan = (character: Character): readonly Character[] =>
  characterNames.filter((other) => characters[other] !== characters[character]);
