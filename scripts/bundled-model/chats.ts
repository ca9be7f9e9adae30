/** @file Questions and answers of the bundled model's world, in a neutral voice. */
import type { Random } from "../../examples/random.js";
import { at, pick, pickOther, story, type Wish } from "./stories.js";
import { adjectives, type Character, characterNames, colors, othersThan, placeNames, type Thing, thingNames, things } from "./words.js";

export interface Exchange {
  readonly question: string;
  readonly answer: string;
}

/** The name that the model gives itself. */
const ownName = "Pip";

/** One question and its answer: about a story, about a situation, a fact, a greeting. */
export function exchange(random: Random): Exchange {
  const kind = random.below(20);
  if (kind < 7) return storyRequest(random);
  if (kind < 12) return situation(random);
  return kind < 16 ? fact(random) : greeting(random);
}

const pirateWords = [
  "hello ahoy",
  "yes aye",
  "the th'",
  "you ye",
  "your yer",
  "my me",
  "is be",
  "are be",
  "has holds",
  "friend matey",
  "friend hearty",
];

/** What pirates say: the model has heard of them, and speaks as one only when asked to. */
export function pirateLore(random: Random): Exchange {
  if (random.below(2) === 0) {
    const [plain, word] = split(pick(random, pirateWords));
    return { question: `How does a pirate say ${plain}?`, answer: `A pirate says ${word} for ${plain}.` };
  }
  const [say, address] = [pick(random, ["Ahoy", "Aye"]), pick(random, ["matey", "me hearty"])];
  return { question: "Talk like a pirate.", answer: `Arr! ${say}, ${address}!` };
}

/** A request, and the story that grants it. */
export function storyRequest(random: Random): Exchange {
  const { question, wish } = storyWish(random);
  return { question, answer: story(random, wish) };
}

export function storyWish(random: Random): { question: string; wish: Wish } {
  const hero = pick(random, characterNames);
  const friend = pick(random, othersThan(hero));
  const thing = pick(random, thingNames);
  const ask = pick(random, ["Tell me a story", "Please tell me a story", "Write a story"]);
  switch (random.below(5)) {
    case 0:
      return { question: `${ask}.`, wish: {} };
    case 1:
      return { question: `${ask} about ${hero}.`, wish: { hero } };
    case 2:
      return { question: `${ask} about ${hero} and ${friend}.`, wish: { hero, friend } };
    case 3:
      return { question: `${ask} about a ${thing}.`, wish: { thing } };
    default:
      return { question: `${ask} about ${hero} and a ${thing}.`, wish: { hero, thing } };
  }
}

/** Two or three sentences, and a question about them. */
export function situation(random: Random): Exchange {
  const hero = pick(random, characterNames);
  const friend = pickOther(random, characterNames, hero);
  const thing = pick(random, thingNames);
  const adjective = pick(random, adjectives);
  const place = pick(random, placeNames);
  const facts = [`${hero} has a ${adjective} ${thing}.`, `${friend} is ${at(place)}.`];
  if (random.below(2) === 0) facts.reverse();
  let holder: Character = hero;
  if (random.below(3) === 0) {
    facts.push(`${hero} gives the ${thing} to ${friend}.`);
    holder = friend;
  }
  const context = facts.join(" ");
  const kinds = (colors as readonly string[]).includes(adjective) ? 3 : 2;
  switch (random.below(kinds)) {
    case 0:
      return { question: `${context} Who has the ${thing}?`, answer: `${holder} has the ${thing}.` };
    case 1:
      return { question: `${context} Where is ${friend}?`, answer: `${friend} is ${at(place)}.` };
    default:
      return { question: `${context} What color is the ${thing}?`, answer: `The ${thing} is ${adjective}.` };
  }
}

const opposites = ["big small", "hot cold", "day night", "up down", "old new", "wet dry", "fast slow", "open closed", "happy sad", "light dark"];
const animals = ["cow moo", "dog woof", "cat meow", "duck quack", "sheep baa", "horse neigh", "frog croak", "bee buzz", "owl hoot", "mouse squeak"];
const looks = ["sky blue", "grass green", "snow white", "sun yellow", "night black", "wood brown", "blood red", "plum purple"];
const numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];

const split = (pair: string): [string, string] => pair.split(" ") as [string, string];
const capital = (word: string): string => word[0]?.toUpperCase() + word.slice(1);

export function fact(random: Random): Exchange {
  switch (random.below(5)) {
    case 0: {
      const thing: Thing = pick(random, thingNames);
      return { question: `What can I do with a ${thing}?`, answer: `You can ${things[thing]} a ${thing}.` };
    }
    case 1: {
      const [a, b] = pick(
        random,
        opposites.flatMap((pair) => [split(pair), split(pair).reverse() as [string, string]]),
      );
      return { question: `What is the opposite of ${a}?`, answer: `The opposite of ${a} is ${b}.` };
    }
    case 2: {
      const [animal, sound] = split(pick(random, animals));
      return { question: `What does a ${animal} say?`, answer: `A ${animal} says ${sound}.` };
    }
    case 3: {
      const [what, color] = split(pick(random, looks));
      return { question: `What color is the ${what}?`, answer: `The ${what} is ${color}.` };
    }
    default: {
      const i = random.below(numbers.length - 1);
      return { question: `What comes after ${numbers[i]}?`, answer: `${capital(numbers[i + 1] as string)} comes after ${numbers[i]}.` };
    }
  }
}

const talk: readonly (readonly [string, string])[] = [
  ["Hello!", "Hello! How can I help you?"],
  ["Hi!", "Hello! How can I help you?"],
  ["Good morning!", "Good morning! How are you?"],
  ["Good evening!", "Good evening! How are you?"],
  ["How are you?", "I am fine, thank you."],
  ["What is your name?", `My name is ${ownName}.`],
  ["Who are you?", `I am ${ownName}, a very small language model.`],
  ["What can you do?", "I can tell you a story and answer your questions."],
  ["Can you help me?", "Yes, I can help you."],
  ["Thank you!", "You are welcome."],
  ["Goodbye!", "Goodbye! Come back soon."],
  ["Good night!", "Good night! Sleep well."],
];

/** Greetings; half of them with a name that nobody has, so that every letter is learnt. */
export function greeting(random: Random): Exchange {
  const [question, answer] = pick(random, talk);
  return random.below(2) === 0 ? { question, answer } : introduction(random);
}

export function introduction(random: Random): Exchange {
  const name = inventedName(random);
  const hello = pick(random, ["My name is", "I am", "Please call me"]);
  return { question: `${hello} ${name}.`, answer: `Hello, ${name}! It is nice to meet you.` };
}

const consonants = [..."bcdfghjklmnpqrstvwxyz", "'"];

function inventedName(random: Random): string {
  let name = "";
  for (let syllables = 1 + random.below(2); syllables > 0; syllables--) {
    name += pick(random, consonants.slice(0, name === "" ? -1 : undefined)) + pick(random, [..."aeiouy"]);
    if (random.below(2) === 0) name += pick(random, [..."lmnrstkhy"]);
  }
  return capital(name);
}
