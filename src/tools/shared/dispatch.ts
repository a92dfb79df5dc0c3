/**
 * Which command a command line names, and which arguments are its own.
 */
import { DfsError } from "../../base/errors.ts";
import { argument, type Argument } from "./arguments.ts";
import { flagName, type Command, type OptionSet } from "./command.ts";
import { clientOptions } from "./connect.ts";
import { nearest } from "./suggest.ts";
import { printable } from "./text.ts";
import { TOPICS, type Topic } from "./topics.ts";

/** One line of the command list. */
export interface CommandEntry {
  /** One word or two: `ls`, `server list`. */
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<Command<OptionSet>>;
}

/** What a command line asks for. */
export type Request =
  | { readonly kind: "list" }
  | { readonly kind: "version" }
  | { readonly kind: "manual" }
  | { readonly kind: "topic"; readonly topic: Topic }
  | { readonly kind: "command"; readonly entry: CommandEntry; readonly args: readonly Argument[] };

const HELP = new Set(["-h", "--help", "help"]);
const VERSION = new Set(["-V", "--version"]);

/**
 * Finds the command. Options that many commands share may stand before it (`dfs --meta HOST:PORT ls`).
 * @throws DfsError `usage` for an unknown command, saying which one may have been meant.
 */
export function findRequest(args: readonly Argument[], commands: readonly CommandEntry[]): Request {
  const start = firstWord(args);
  const before = args.slice(0, start);
  const [first, second] = args.slice(start, start + 2).map((arg) => arg.text);
  if (before.some((arg) => VERSION.has(arg.text))) return { kind: "version" };
  const wantsHelp = before.some((arg) => arg.text === "-h" || arg.text === "--help");
  if (first === undefined) return onlyOptions(before, wantsHelp);
  if (HELP.has(first)) return helpOn(args.slice(start + 1), commands);
  const entry =
    commands.find((each) => each.name === `${first} ${second ?? ""}`) ??
    commands.find((each) => each.name === first);
  if (entry === undefined) throw unknownCommand(first, second, commands);
  const words = entry.name.split(" ").length;
  return { kind: "command", entry, args: [...before, ...args.slice(start + words)] };
}

/** Index of the first argument that is neither an option nor an option's value. */
function firstWord(args: readonly Argument[]): number {
  const withValue = new Set<string>();
  for (const [key, option] of Object.entries(clientOptions)) {
    if (option.kind === "value") withValue.add(flagName(key));
  }
  let at = 0;
  while (at < args.length && args[at]?.text.startsWith("-")) {
    at += withValue.has(args[at]?.text ?? "") ? 2 : 1;
  }
  return Math.min(at, args.length);
}

function onlyOptions(options: readonly Argument[], wantsHelp: boolean): Request {
  if (wantsHelp || options.length === 0) return { kind: "list" };
  throw new DfsError(
    "usage",
    `no command given, only ${printable(options.map((option) => option.text).join(" "))}\n` +
      "dfs alone lists the commands",
  );
}

/** `dfs help`, and what may stand behind it. */
function helpOn(words: readonly Argument[], commands: readonly CommandEntry[]): Request {
  const [first, second] = words.map(({ text }) => text);
  if (first === "--man") return { kind: "manual" };
  if (first === undefined || HELP.has(first)) return { kind: "list" };
  // Before the commands: `completion` is both, and of a command --help tells as well.
  const topic = TOPICS.find(({ name }) => name === first);
  if (topic !== undefined) return { kind: "topic", topic };
  const command =
    commands.find(({ name }) => name === `${first} ${second ?? ""}`) ??
    commands.find(({ name }) => name === first);
  if (command !== undefined) return { kind: "command", entry: command, args: [argument("--help")] };
  const near = nearest(
    first,
    [...TOPICS, ...commands].map(({ name }) => name),
  );
  if (near === undefined && commands.some(({ name }) => name.startsWith(`${first} `))) {
    throw unknownCommand(first, second, commands);
  }
  throw new DfsError(
    "usage",
    `there is no help on ${printable(first)}: neither a command nor a topic\n` +
      (near === undefined ? "dfs help lists both" : `did you mean dfs help ${near}?`),
  );
}

function unknownCommand(
  first: string,
  second: string | undefined,
  commands: readonly CommandEntry[],
): DfsError {
  const names = commands.map((each) => each.name);
  const family = names.filter((name) => name.startsWith(`${first} `));
  if (family.length > 0) {
    const got = second === undefined || second.startsWith("-") ? "" : ` ${second}`;
    return new DfsError(
      "usage",
      `unknown command ${printable(first + got)}\nthere is: ${family.map((name) => `dfs ${name}`).join(", ")}`,
    );
  }
  const near = nearest(first, names);
  return new DfsError(
    "usage",
    `unknown command ${printable(first)}\n` +
      (near === undefined ? "dfs alone lists the commands" : `did you mean dfs ${near}?`),
  );
}
