/**
 * `--help` texts. cac lays out usage, options and examples; what it has no place for (operands and behaviour, keys of
 * --json, exit statuses, environment variables) is put into its sections here.
 */
import { cac, type Command as CacCommand } from "cac";
import { environmentName, flagName, type Command, type OptionSet } from "./command.ts";
import { TOPICS } from "./topics.ts";

const OPTIONS_TITLE = "Options (in brackets: environment variables that do the same; options win)";

/** A command as the list shows it. */
export interface CommandSummary {
  readonly name: string;
  readonly summary: string;
}

/** What cac puts behind flags such as --no-replace, which it takes for "replace" switched off. */
const CAC_NEGATION = " (default: true)";

interface Section {
  title?: string;
  body: string;
}

/** The help of one command. */
export function commandHelp(name: string, summary: string, command: Command<OptionSet>): string {
  const cli = cac("dfs");
  const registered = cli.command(name, summary).usage(command.usage);
  for (const [key, option] of Object.entries(command.options)) {
    const short = option.short === undefined ? "" : `-${option.short}, `;
    const placeholder = option.kind === "value" ? ` ${option.placeholder}` : "";
    registered.option(
      `${short}${flagName(key)}${placeholder}`,
      `${option.summary} [${environmentName(key, option)}]`,
    );
  }
  for (const example of command.examples) registered.example(`  ${example}`);
  cli.help((sections) => arranged(sections, name, summary, command));
  return printed(registered);
}

/** What `dfs` alone shows. */
export function commandList(commands: readonly CommandSummary[]): string {
  const cli = cac("dfs");
  for (const { name, summary } of commands) cli.command(name, summary);
  cli.usage("COMMAND [OPTIONS]");
  cli.help((sections) => [
    { body: "dfs: a fault-tolerant distributed file system" },
    ...sections.filter((section) => section.title === "Usage" || section.title === "Commands"),
    {
      title: "A first minute",
      body: ["dfs up --detach", "dfs put FILE /", "dfs ls -l /", "dfs down"]
        .map((line) => `  $ ${line}`)
        .join("\n"),
    },
    {
      title: "Topics",
      body: rowsOf(TOPICS.map(({ name, summary }) => [`help ${name}`, summary])),
    },
    { body: "dfs COMMAND --help tells more of a command, dfs help TOPIC of a topic." },
  ]);
  return printed(cli.globalCommand);
}

/** Two columns, as cac has them. */
function rowsOf(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join("\n");
}

function arranged(
  sections: Section[],
  name: string,
  summary: string,
  command: Command<OptionSet>,
): Section[] {
  const find = (title: string): Section[] => sections.filter((section) => section.title === title);
  const exits = command.exits.map(([code, meaning]) => `  ${String(code).padStart(3)}  ${meaning}`);
  return [
    { body: `dfs ${name}: ${summary}` },
    ...find("Usage"),
    { body: command.description.trim() },
    ...find("Options").map(({ body }) => ({
      title: OPTIONS_TITLE,
      body: withoutTakenHelp(body.replaceAll(CAC_NEGATION, ""), command),
    })),
    ...(command.json === undefined
      ? []
      : [{ title: "Keys of --json", body: command.json.map((line) => `  ${line}`).join("\n") }]),
    ...find("Examples"),
    { title: "Exit status", body: exits.join("\n") },
  ];
}

/** -h is no help where a command has another use for it, as ls, du and df have: then --help alone is. */
function withoutTakenHelp(body: string, command: Command<OptionSet>): string {
  const isTaken = Object.values(command.options).some((option) => option.short === "h");
  return isTaken ? body.replace("-h, --help", "--help    ") : body;
}

/** cac prints help with console.info; this is what it would print. */
function printed(command: CacCommand): string {
  const lines: string[] = [];
  const info = console.info;
  console.info = (text: string) => void lines.push(text);
  try {
    command.outputHelp();
  } finally {
    console.info = info;
  }
  return lines
    .join("\n")
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}
