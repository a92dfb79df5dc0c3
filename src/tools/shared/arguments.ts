/**
 * The command line, read as getopt_long(3) does: options anywhere, `--name value`, `--name=value`, `-n value`,
 * `-nvalue`, clusters `-rp`, `--` ends the options, `-` alone is an operand.
 *
 * cac (which keeps the list of commands and prints the help) has a parser too, but it turns `0755` into the number 755,
 * lets `-` swallow the next argument, drops what stands behind `--`, knows no command of two words, and takes any
 * value that begins with a dash for an option. So arguments are read here.
 *
 * Operands are bytes: a file's name need not be valid UTF-8.
 */
import { readFileSync } from "node:fs";
import { DfsError, messageOf } from "../../base/errors.ts";
import {
  environmentName,
  flagName,
  type FlagOption,
  type OptionSet,
  type OptionValues,
  type ValueOption,
} from "./command.ts";
import { nearest } from "./suggest.ts";
import { printable } from "./text.ts";

/** One argument: its text, and the exact bytes that were typed. */
export interface Argument {
  readonly text: string;
  readonly bytes: Uint8Array;
}

/** What a command line says. */
export interface Parsed<Options extends OptionSet> {
  readonly operands: readonly Argument[];
  readonly options: OptionValues<Options>;
  /** Keys of the options that were typed, as opposed to taken from the environment. */
  readonly typed: ReadonlySet<string>;
  readonly help: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;
type Option = FlagOption | ValueOption<unknown>;

const TRUE = new Set(["1", "true", "yes", "on"]);
const FALSE = new Set(["", "0", "false", "no", "off"]);

/** True for what switches a flag on when it stands in its environment variable. */
export function meansYes(text: string): boolean {
  return TRUE.has(text.toLowerCase());
}

/** An argument of well-formed text. */
export function argument(text: string): Argument {
  return { text, bytes: Buffer.from(text) };
}

/**
 * The arguments of this process. Bun decodes them as UTF-8; where that lost something, Linux still has the bytes.
 */
export function systemArguments(): Argument[] {
  const texts = process.argv.slice(2);
  if (!texts.some((text) => text.includes("\ufffd"))) return texts.map(argument);
  const all = splitAtNul(readFileSync("/proc/self/cmdline"));
  const tail = all.slice(all.length - texts.length);
  return texts.map((text, index) => ({ text, bytes: tail[index] ?? Buffer.from(text) }));
}

function splitAtNul(bytes: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let start = 0; start < bytes.length;) {
    const end = bytes.indexOf(0, start);
    parts.push(bytes.subarray(start, end < 0 ? bytes.length : end));
    start = end < 0 ? bytes.length : end + 1;
  }
  return parts;
}

/** How a command's options may be typed. */
export interface ParseStyle {
  /** Long options with one dash as well (`-name`); letters do not stand in clusters then. */
  readonly singleDash?: boolean | undefined;
  /** What begins with one dash and matches this is an operand. */
  readonly operandPattern?: RegExp | undefined;
}

/**
 * Reads `args` by the declarations `options`; what is not typed comes from the environment.
 * @throws DfsError `usage` for an unknown option, a missing or a wrong value.
 */
export function parseArguments<Options extends OptionSet>(
  args: readonly Argument[],
  options: Options,
  environment: Environment,
  style: ParseStyle = {},
): Parsed<Options> {
  const reader = new Reader(options, style);
  reader.read(args);
  for (const [key, option] of Object.entries(options)) {
    if (reader.typed.has(key)) continue;
    const name = environmentName(key, option);
    const text = environment[name];
    if (text !== undefined) reader.set(key, fromEnvironment(option, name, text));
    else if (option.kind === "flag") reader.set(key, false);
  }
  return {
    operands: reader.operands,
    options: reader.values as OptionValues<Options>,
    typed: reader.typed,
    help: reader.help,
  };
}

class Reader {
  readonly operands: Argument[] = [];
  readonly values: Record<string, unknown> = {};
  readonly typed = new Set<string>();
  help = false;
  readonly #options: OptionSet;
  readonly #style: ParseStyle;
  readonly #byFlag = new Map<string, string>();
  readonly #byLetter = new Map<string, string>();
  #rest: IterableIterator<Argument> = [].values();

  constructor(options: OptionSet, style: ParseStyle) {
    this.#options = options;
    this.#style = style;
    for (const [key, option] of Object.entries(options)) {
      this.#byFlag.set(flagName(key), key);
      if (option.short !== undefined) this.#byLetter.set(option.short, key);
    }
  }

  set(key: string, value: unknown): void {
    this.values[key] = value;
  }

  read(args: readonly Argument[]): void {
    this.#rest = args.values();
    for (const next of this.#rest) {
      if (next.text === "--") {
        for (const operand of this.#rest) this.operands.push(operand);
      } else if (next.text.startsWith("--")) this.#readLong(next.text);
      else if (this.#style.singleDash === true && /^-../.test(next.text))
        this.#readLong(`-${next.text}`);
      else if (this.#hasLetters(next.text)) this.#readLetters(next.text);
      else this.operands.push(next);
    }
  }

  #hasLetters(text: string): boolean {
    if (!text.startsWith("-") || text === "-") return false;
    return this.#style.operandPattern?.test(text) !== true;
  }

  #readLong(text: string): void {
    const equals = text.indexOf("=");
    const name = equals < 0 ? text : text.slice(0, equals);
    const attached = equals < 0 ? undefined : text.slice(equals + 1);
    if (name === "--help") {
      this.help = true;
      return;
    }
    const key = this.#byFlag.get(name) ?? this.#unknown(name);
    const option = this.#options[key] as Option;
    if (option.kind === "flag" && attached !== undefined) {
      throw new DfsError("usage", `${printable(name)} takes no value`);
    }
    this.#take(key, option, name, attached);
  }

  #readLetters(text: string): void {
    for (let at = 1; at < text.length; at++) {
      const letter = text.slice(at, at + 1);
      if (letter === "h" && !this.#byLetter.has("h")) {
        this.help = true;
        continue;
      }
      const key = this.#byLetter.get(letter) ?? this.#unknown(`-${letter}`, text);
      const option = this.#options[key] as Option;
      const rest = text.slice(at + 1);
      const attached = option.kind === "value" && rest !== "" ? rest : undefined;
      this.#take(key, option, `-${letter}`, attached);
      if (option.kind === "value") return;
    }
  }

  #take(key: string, option: Option, name: string, attached: string | undefined): void {
    const isFirst = !this.typed.has(key);
    this.typed.add(key);
    if (option.kind === "flag") {
      this.set(key, true);
      return;
    }
    const text = attached ?? this.#nextText();
    if (text === undefined) {
      throw new DfsError("usage", `${name} needs a value: ${name} ${option.placeholder}`);
    }
    const parsed = parseValue(option, name, text);
    this.set(
      key,
      isFirst || option.join === undefined ? parsed : option.join(this.values[key], parsed),
    );
  }

  #nextText(): string | undefined {
    const next = this.#rest.next();
    return next.done ? undefined : next.value.text;
  }

  #unknown(name: string, cluster?: string): never {
    const near = nearest(name, [...this.#byFlag.keys(), "--help"]);
    const where = cluster !== undefined && cluster.length > 2 ? ` (in ${printable(cluster)})` : "";
    const hint = near !== undefined && name.length > 2 ? `\ndid you mean ${near}?` : "";
    throw new DfsError("usage", `unknown option ${printable(name)}${where}${hint}`);
  }
}

function parseValue(option: ValueOption<unknown>, name: string, text: string): unknown {
  if (text.includes("\ufffd")) {
    throw new DfsError("usage", `the value of ${name} is not valid UTF-8`);
  }
  try {
    return option.parse(text);
  } catch (error) {
    const shown = text === "" ? "''" : printable(text);
    const gap = name.endsWith("=") ? "" : " ";
    throw new DfsError("usage", `${name}${gap}${shown}: ${messageOf(error)}`, { cause: error });
  }
}

function fromEnvironment(option: Option, name: string, text: string): unknown {
  if (option.kind === "value") {
    return text === "" ? undefined : parseValue(option, `${name}=`, text);
  }
  if (meansYes(text)) return true;
  if (FALSE.has(text.toLowerCase())) return false;
  throw new DfsError("usage", `${name}=${printable(text)}: give 1 or 0`);
}
