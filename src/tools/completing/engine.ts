/**
 * What the word at the cursor may become: a command, an option, the value of an option, or an operand.
 */
import { flagName, type Command, type OptionSet } from "../shared/command.ts";
import type { CommandEntry } from "../shared/dispatch.ts";
import { TOPICS } from "../shared/topics.ts";
import { operandKinds, valueKinds, type Kind } from "./operands.ts";

/** Something to choose, with what it is. */
export interface Candidate {
  readonly text: string;
  readonly summary: string;
}

/** What is wanted: these, and whatever else is of these kinds. */
export interface Wanted {
  readonly candidates: readonly Candidate[];
  readonly kinds: readonly Kind[];
  /** The beginning of what is looked for; what stands before it in the word. */
  readonly begin: string;
  readonly before: string;
  /** Options that were typed and say where the cluster is. */
  readonly typed: ReadonlyMap<string, string>;
}

/** `words`: what was typed behind `dfs`; the last one, perhaps empty, is being completed. */
export async function whatIsWanted(
  words: readonly string[],
  commands: readonly CommandEntry[],
): Promise<Wanted> {
  const before = words.slice(0, -1);
  const current = words.at(-1) ?? "";
  const entry = namedBy(before, commands);
  if (entry === undefined) return commandNames(before, current, commands);
  const rest = before.slice(entry.name.split(" ").length);
  // "meta" alone is a command, and the first word of others.
  const further = rest.length === 0 ? secondWords(entry.name, commands) : [];
  const inside = within(entry.name, await entry.load(), rest, current);
  return { ...inside, candidates: [...inside.candidates, ...further] };
}

function namedBy(
  words: readonly string[],
  commands: readonly CommandEntry[],
): CommandEntry | undefined {
  const [first = "", second] = words;
  return (
    commands.find(({ name }) => name === `${first} ${second ?? ""}`) ??
    commands.find(({ name }) => name === first)
  );
}

function commandNames(
  before: readonly string[],
  current: string,
  commands: readonly CommandEntry[],
): Wanted {
  const nothing = { kinds: [], begin: current, before: "", typed: new Map<string, string>() };
  const [first] = before;
  if (first === undefined) return { ...nothing, candidates: firstWords(commands) };
  if (first === "help" && before.length === 1) {
    const topics = TOPICS.map(({ name, summary }) => ({ text: name, summary }));
    return { ...nothing, candidates: [...firstWords(commands), ...topics] };
  }
  if (before.length > 1) return { ...nothing, candidates: [] };
  return { ...nothing, candidates: secondWords(first, commands) };
}

function firstWords(commands: readonly CommandEntry[]): Candidate[] {
  const found = new Map<string, Candidate>([
    ["help", { text: "help", summary: "help on a command or a topic" }],
  ]);
  for (const { name, summary } of commands) {
    const [word = "", second] = name.split(" ");
    if (second === undefined) found.set(word, { text: word, summary });
    else if (!found.has(word)) found.set(word, { text: word, summary: `${word} ...` });
  }
  return [...found.values()];
}

function secondWords(first: string, commands: readonly CommandEntry[]): Candidate[] {
  return commands
    .filter(({ name }) => name.startsWith(`${first} `))
    .map(({ name, summary }) => ({ text: name.slice(first.length + 1), summary }));
}

/** Inside the arguments of a command. */
function within(
  name: string,
  command: Command<OptionSet>,
  rest: readonly string[],
  current: string,
): Wanted {
  const line = read(command, rest);
  const shared = { candidates: [], begin: current, before: "", typed: line.typed };
  if (line.open !== undefined) return { ...shared, kinds: kindsOf(command, line.open) };
  const equals = current.indexOf("=");
  if (!line.isEnded && current.startsWith("--") && equals > 0) {
    const key = keyOf(command, current.slice(0, equals));
    const cut = { begin: current.slice(equals + 1), before: current.slice(0, equals + 1) };
    return { ...shared, ...cut, kinds: key === undefined ? [] : kindsOf(command, key) };
  }
  if (!line.isEnded && current.startsWith("-") && current !== "-") {
    return { ...shared, kinds: [], candidates: optionsOf(command) };
  }
  if (current === "-" && !line.isEnded) {
    return { ...shared, kinds: [], candidates: optionsOf(command) };
  }
  return { ...shared, kinds: operandKinds(name, line.operands) };
}

interface Line {
  /** The option whose value is wanted next. */
  open: string | undefined;
  operands: number;
  /** `--` was typed. */
  isEnded: boolean;
  readonly typed: Map<string, string>;
}

/** Goes through the words of a command as far as completion has to know them; mistakes are for the command to tell. */
function read(command: Command<OptionSet>, words: readonly string[]): Line {
  const line: Line = { open: undefined, operands: 0, isEnded: false, typed: new Map() };
  for (const word of words) {
    if (line.open !== undefined) {
      line.typed.set(line.open, word);
      line.open = undefined;
    } else if (word === "--" && !line.isEnded) line.isEnded = true;
    else if (line.isEnded || !word.startsWith("-") || word === "-") line.operands++;
    else {
      const equals = word.indexOf("=");
      const key = keyOf(command, equals < 0 ? word : word.slice(0, equals));
      if (key === undefined || command.options[key]?.kind !== "value") continue;
      if (equals < 0) line.open = key;
      else line.typed.set(key, word.slice(equals + 1));
    }
  }
  return line;
}

/** The option that is typed so; of a cluster of letters the last one. */
function keyOf({ options, singleDash }: Command<OptionSet>, word: string): string | undefined {
  const isLong = word.startsWith("--");
  const name = singleDash === true && !isLong && word.length > 2 ? `-${word}` : word;
  return Object.entries(options).find(
    ([key, { short }]) =>
      flagName(key) === name || (!name.startsWith("--") && short === name.at(-1)),
  )?.[0];
}

function kindsOf({ options }: Command<OptionSet>, key: string): readonly Kind[] {
  const option = options[key];
  return option?.kind === "value" ? valueKinds(option.placeholder, option.choices ?? []) : [];
}

function optionsOf({ options, singleDash }: Command<OptionSet>): Candidate[] {
  const own = Object.entries(options).map(([key, { summary }]) => {
    const flag = flagName(key);
    return { text: singleDash === true ? flag.slice(1) : flag, summary };
  });
  const both = singleDash === true ? own.map((each) => ({ ...each, text: `-${each.text}` })) : [];
  return [...own, ...both, { text: "--help", summary: "help on the command" }];
}
