/**
 * What a command is: its help, its options, and what it does. Each file `tools/<command>.ts` exports one.
 *
 * Options are declared once, as an object; the key gives the flag (`blockSize`: `--block-size`) and the environment
 * variable (`DFS_BLOCK_SIZE`), the declaration gives the type of what the command finds under that key.
 */
import type { Argument } from "./arguments.ts";
import type { ExitCode } from "./exit-codes.ts";
import type { Messages } from "./messages.ts";
import type { Output } from "./output.ts";

/** An option without a value: true when given. */
export interface FlagOption {
  readonly kind: "flag";
  readonly short?: string;
  readonly summary: string;
  readonly env?: string;
}

/** An option with a value of type T; undefined when not given. */
export interface ValueOption<T> {
  readonly kind: "value";
  readonly short?: string;
  /** What stands for the value in the help: `<dir>`. */
  readonly placeholder: string;
  readonly summary: string;
  readonly env?: string;
  /** @throws DfsError `usage` whose message continues "--name TEXT ..." */
  readonly parse: (text: string) => T;
  /** What two of them mean together; left out: the last one counts. */
  readonly join?: (before: T, now: T) => T;
  /** Where there are few: all values that it can have, for completion. */
  readonly choices?: readonly string[];
}

// oxlint-disable-next-line typescript/no-explicit-any -- the type of any option's value; read back by OptionValues
export type OptionSet = Readonly<Record<string, FlagOption | ValueOption<any>>>;

/** What a command finds in `context.options`. */
export type OptionValues<Options extends OptionSet> = {
  readonly [Key in keyof Options]: Options[Key] extends ValueOption<infer T>
    ? T | undefined
    : boolean;
};

/** Everything that a command gets. */
export interface Context<Options extends OptionSet> {
  /** The name that was typed: `ls`, `server list`. */
  readonly name: string;
  readonly args: readonly Argument[];
  readonly options: OptionValues<Options>;
  /** Which options came from the command line and not from the environment. */
  readonly typed: ReadonlySet<string>;
  /** Standard output: results. */
  readonly out: Output;
  /** Standard error: warnings, errors, progress. */
  readonly messages: Messages;
  /** Aborted by Ctrl-C (SIGINT), SIGTERM or SIGHUP. */
  readonly signal: AbortSignal;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface Command<Options extends OptionSet = OptionSet> {
  /** Name and operands, as in the help: `put [-r] [-p] LOCAL... REMOTE`. */
  readonly usage: string;
  /** One or more paragraphs for `--help`. */
  readonly description: string;
  readonly options: Options;
  /** Whether long options may be typed with one dash (`-name`), as find has them; there are no clusters of letters then. */
  readonly singleDash?: boolean;
  /** Fewest and most operands. */
  readonly operands: { readonly least: number; readonly most: number };
  /** Operands that begin with a dash and are no options all the same: modes such as `-x`. */
  readonly operandPattern?: RegExp;
  /** Lines to paste. At least one. */
  readonly examples: readonly string[];
  /** Keys of the rows of `--json`, one line each; absent when the command has no `--json`. */
  readonly json?: readonly string[];
  /** Exit statuses with their meaning for this command. */
  readonly exits: readonly (readonly [code: number, meaning: string])[];
  /** How long Ctrl-C waits for this command to put things in order; a few seconds when left out. */
  readonly cleanUpMs?: number;
  run(context: Context<Options>): Promise<ExitCode>;
}

/** Gives a command's definition its exact option types. */
export function defineCommand<const Options extends OptionSet>(
  command: Command<Options>,
): Command<Options> {
  return command;
}

/** A flag. */
export function flag(summary: string, more: { short?: string; env?: string } = {}): FlagOption {
  return { kind: "flag", summary, ...more };
}

/** An option with a value. */
export function value<T>(
  placeholder: string,
  parse: (text: string) => T,
  summary: string,
  more: Pick<ValueOption<T>, "short" | "env" | "join" | "choices"> = {},
): ValueOption<T> {
  return { kind: "value", placeholder, parse, summary, ...more };
}

/** `blockSize` as it is typed: `--block-size`. */
export function flagName(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** `blockSize` in the environment: `DFS_BLOCK_SIZE`. */
export function environmentName(key: string, option: { readonly env?: string }): string {
  return option.env ?? `DFS_${key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}
