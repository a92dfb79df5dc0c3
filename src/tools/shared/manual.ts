/**
 * The manual page dfs(1), made of what --help tells: man(7) macros, which groff and mandoc understand.
 */
import { environmentName, flagName, type Command, type OptionSet } from "./command.ts";
import type { CommandEntry } from "./dispatch.ts";
import { TOPICS, type Topic } from "./topics.ts";
import { wrapped } from "./wrap.ts";

const SOURCE_COLUMNS = 72;

/** The whole page. */
export async function manualPage(
  commands: readonly CommandEntry[],
  version: string,
): Promise<string> {
  const described = await Promise.all(
    commands.map(async (entry) => commandSection(entry, await entry.load())),
  );
  const topics = await Promise.all(TOPICS.map(topicSection));
  return [
    `.TH DFS 1 ${today()} "dfs ${version}" "User Commands"`,
    ".SH NAME",
    "dfs \\- a fault-tolerant distributed file system",
    ".SH SYNOPSIS",
    ".B dfs",
    ".I COMMAND",
    "[\\fIOPTIONS\\fR] [\\fIOPERANDS\\fR]",
    ".br",
    ".B dfs help",
    "[\\fICOMMAND\\fR|\\fITOPIC\\fR]",
    ".SH DESCRIPTION",
    ...prose(
      "One metadata service, a few data servers, every block of every file on three of them, checksummed. Servers may " +
        "crash, restart, lose their disk or return rotten bytes: readers get the right bytes or a clear error.",
    ),
    ".PP",
    "A first minute:",
    ...literal(["dfs up --detach", "dfs put FILE /", "dfs ls -l /", "dfs down"]),
    ".SH COMMANDS",
    ...described.flat(),
    ...topics.flat(),
    ".SH SEE ALSO",
    "The folder docs of the project: protocol, log format, consistency, faults, operations, mounting.",
  ].join("\n");
}

/** The day on which the page was made, or what stands for it where builds are to be repeatable. */
function today(): string {
  const epoch = process.env["SOURCE_DATE_EPOCH"];
  const date = epoch === undefined ? new Date() : new Date(Number(epoch) * 1000);
  return date.toISOString().slice(0, 10);
}

function commandSection({ name, summary }: CommandEntry, command: Command<OptionSet>): string[] {
  const options = Object.entries(command.options).flatMap(([key, option]) => {
    const short = option.short === undefined ? "" : `\\fB\\-${option.short}\\fR, `;
    const value = option.kind === "value" ? ` \\fI${inline(option.placeholder)}\\fR` : "";
    return [
      ".TP",
      `${short}\\fB${inline(flagName(key))}\\fR${value}`,
      ...prose(`${option.summary} [${environmentName(key, option)}]`),
    ];
  });
  const exits = command.exits.flatMap(([code, meaning]) => [
    ".TP",
    String(code),
    ...prose(meaning),
  ]);
  return [
    `.SS "dfs ${inline(name)}"`,
    ...prose(`${summary}.`),
    ".PP",
    `\\fBdfs ${inline(command.usage)}\\fR`,
    ...description(command.description.trim()),
    ...options,
    ...(command.json === undefined ? [] : [".PP", "Keys of \\-\\-json:", ...literal(command.json)]),
    ".PP",
    "Examples:",
    ...literal(command.examples),
    ".PP",
    "Exit status:",
    ...exits,
  ];
}

async function topicSection({ name, summary, load }: Topic): Promise<string[]> {
  const text = await load();
  return [
    `.SH "${name.toUpperCase()}"`,
    ...prose(`${summary}.`),
    ...literal(text.trim().split("\n")),
  ];
}

/** Prose, and lines that have a form of their own: those that are indented or have columns. */
function description(text: string): string[] {
  const groups: { isProse: boolean; lines: string[] }[] = [];
  for (const line of text.split("\n")) {
    const isProse = !/^\s|\S {3,}\S/.test(line);
    const last = groups.at(-1);
    if (line !== "" && last?.isProse === isProse) last.lines.push(line);
    else if (line !== "") groups.push({ isProse, lines: [line] });
    else groups.push({ isProse: true, lines: [] });
  }
  return groups
    .filter(({ lines }) => lines.length > 0)
    .flatMap(({ isProse, lines }) =>
      isProse ? [".PP", ...prose(lines.join("\n"))] : literal(lines),
    );
}

/** Text that is filled by whoever shows the page; the source has lines of a common length. */
function prose(text: string): string[] {
  return wrapped(text.replaceAll("\n", " "), SOURCE_COLUMNS).split("\n").map(guarded);
}

/** Lines as they are. */
function literal(lines: readonly string[]): string[] {
  return [".PP", ".nf", ...lines.map(guarded), ".fi"];
}

/** A dot or an apostrophe at the beginning of a line would be a request. */
function guarded(line: string): string {
  const text = inline(line);
  return /^[.']/.test(text) ? `\\&${text}` : text;
}

/** Characters that mean something to troff. Hyphens are for pasting, so they are minus signs. */
function inline(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("'", "\\(aq")
    .replaceAll("`", "\\(ga")
    .replaceAll("^", "\\(ha")
    .replaceAll("~", "\\(ti");
}
