/**
 * The dfs command: the list of commands, and the way from a command line to an exit code.
 *
 * A command's file is loaded when it is the one that was typed, so that `dfs ls` does not pay for `dfs up`. Servers are
 * started from here, by lazy imports of their entry files: commands and servers know nothing of each other.
 */
import pkg from "../package.json" with { type: "json" };
import { DfsError } from "./base/errors.ts";
import {
  meansYes,
  parseArguments,
  systemArguments,
  type Argument,
} from "./tools/shared/arguments.ts";
import { useColours, wantsColours } from "./tools/shared/colours.ts";
import type { Command, Context, OptionSet } from "./tools/shared/command.ts";
import type { DataStart } from "./tools/data.ts";
import type { MountStart } from "./tools/mount.ts";
import type { MetaStart } from "./tools/meta.ts";
import type { Restorer } from "./tools/meta-restore.ts";
import { findRequest, type CommandEntry, type Request } from "./tools/shared/dispatch.ts";
import { report } from "./tools/shared/errors.ts";
import { EXIT } from "./tools/shared/exit-codes.ts";
import { catchInterruption, type Interruption } from "./tools/shared/interruption.ts";
import { Messages } from "./tools/shared/messages.ts";
import { Output } from "./tools/shared/output.ts";
import { isOutputTerminal } from "./tools/shared/terminal.ts";
import type { Topic } from "./tools/shared/topics.ts";

const COMMANDS: readonly CommandEntry[] = [
  {
    name: "up",
    summary: "start a cluster on this machine, or what is missing of it",
    load: async () => (await import("./tools/up.ts")).up,
  },
  {
    name: "down",
    summary: "stop the cluster on this machine; its data stays",
    load: async () => (await import("./tools/down.ts")).down,
  },
  {
    name: "mount",
    summary: "mount the cluster on a directory",
    load: async () => (await import("./tools/mount.ts")).mountCommand(serveMount),
  },
  {
    name: "umount",
    summary: "take a mount away",
    load: async () => (await import("./tools/umount.ts")).umount,
  },
  {
    name: "put",
    summary: "store files and trees",
    load: async () => (await import("./tools/put.ts")).put,
  },
  {
    name: "get",
    summary: "fetch files and trees",
    load: async () => (await import("./tools/get.ts")).get,
  },
  {
    name: "cat",
    summary: "write the content of files to standard output",
    load: async () => (await import("./tools/cat.ts")).cat,
  },
  {
    name: "ls",
    summary: "list directories",
    load: async () => (await import("./tools/ls.ts")).ls,
  },
  {
    name: "stat",
    summary: "show all attributes of files",
    load: async () => (await import("./tools/stat.ts")).stat,
  },
  {
    name: "mkdir",
    summary: "make directories",
    load: async () => (await import("./tools/mkdir.ts")).mkdir,
  },
  {
    name: "rm",
    summary: "remove files and trees",
    load: async () => (await import("./tools/rm.ts")).rm,
  },
  {
    name: "mv",
    summary: "rename or move files and directories",
    load: async () => (await import("./tools/mv.ts")).mv,
  },
  {
    name: "touch",
    summary: "set the times of files, and make the ones that are missing",
    load: async () => (await import("./tools/touch.ts")).touch,
  },
  {
    name: "truncate",
    summary: "make files shorter or longer",
    load: async () => (await import("./tools/truncate.ts")).truncate,
  },
  {
    name: "chmod",
    summary: "change permission bits",
    load: async () => (await import("./tools/chmod.ts")).chmod,
  },
  {
    name: "chown",
    summary: "change owners and groups",
    load: async () => (await import("./tools/chown.ts")).chown,
  },
  {
    name: "ln",
    summary: "give files further names, or make symbolic links",
    load: async () => (await import("./tools/ln.ts")).ln,
  },
  {
    name: "cp",
    summary: "copy files and trees inside the cluster; they share their blocks",
    load: async () => (await import("./tools/cp.ts")).cp,
  },
  {
    name: "df",
    summary: "show how much room the cluster has",
    load: async () => (await import("./tools/df.ts")).df,
  },
  {
    name: "du",
    summary: "show how much files and directories take up",
    load: async () => (await import("./tools/du.ts")).du,
  },
  {
    name: "tree",
    summary: "draw a tree of directories",
    load: async () => (await import("./tools/tree.ts")).tree,
  },
  {
    name: "find",
    summary: "look for files in trees, by name, type, size and age",
    load: async () => (await import("./tools/find.ts")).find,
  },
  {
    name: "xattr list",
    summary: "list the extended attributes of files",
    load: async () => (await import("./tools/xattr.ts")).xattrList,
  },
  {
    name: "xattr get",
    summary: "show an extended attribute of files",
    load: async () => (await import("./tools/xattr.ts")).xattrGet,
  },
  {
    name: "xattr set",
    summary: "give files an extended attribute",
    load: async () => (await import("./tools/xattr.ts")).xattrSet,
  },
  {
    name: "xattr rm",
    summary: "remove an extended attribute of files",
    load: async () => (await import("./tools/xattr.ts")).xattrRm,
  },
  {
    name: "explain",
    summary: "show where each block of a file is, and why",
    load: async () => (await import("./tools/explain.ts")).explain,
  },
  {
    name: "status",
    summary: "tell the health of the cluster; the exit code tells it too",
    load: async () => (await import("./tools/status.ts")).status,
  },
  {
    name: "server list",
    summary: "list the data servers",
    load: async () => (await import("./tools/server-list.ts")).serverList,
  },
  {
    name: "server stop",
    summary: "end a data server, in good order or with a crash",
    load: async () => (await import("./tools/server-stop.ts")).serverStop,
  },
  {
    name: "server drain",
    summary: "move all copies of a data server to others, so that it can be removed",
    load: async () => (await import("./tools/server-drain.ts")).serverDrain,
  },
  {
    name: "server undrain",
    summary: "stop draining a data server: it takes new blocks again",
    load: async () => (await import("./tools/server-drain.ts")).serverUndrain,
  },
  {
    name: "server remove",
    summary: "forget a data server that holds nothing any more",
    load: async () => (await import("./tools/server-remove.ts")).serverRemove,
  },
  {
    name: "rebuild",
    summary: "refill a data server that lost its disk, or replace one that is gone",
    load: async () => (await import("./tools/rebuild.ts")).rebuild,
  },
  {
    name: "key new",
    summary: "make a cluster key, which keeps strangers out",
    load: async () => (await import("./tools/key-new.ts")).keyNew,
  },
  {
    name: "corrupt",
    summary: "damage stored copies on purpose, to see that it is noticed",
    load: async () => (await import("./tools/corrupt.ts")).corrupt,
  },
  {
    name: "drill",
    summary: "rehearse: make faults on purpose and look whether everything survives",
    load: async () => (await import("./tools/drill.ts")).drill,
  },
  {
    name: "scrub",
    summary: "verify what the data servers have stored: start, pause, resume, status",
    load: async () => (await import("./tools/scrub.ts")).scrub,
  },
  {
    name: "fsck",
    summary: "check everything, or a part, and mend what is wrong",
    load: async () => (await import("./tools/fsck.ts")).fsck,
  },
  {
    name: "log dump",
    summary: "print the log of a data server that is stopped, and the damage in it",
    load: async () => (await import("./tools/log-dump.ts")).logDump,
  },
  {
    name: "meta backup",
    summary: "back the metadata up onto data servers now",
    load: async () => (await import("./tools/meta-backup.ts")).metaBackup,
  },
  {
    name: "meta restore",
    summary: "bring the metadata back from data servers, when its directory is lost",
    load: async () => (await import("./tools/meta-restore.ts")).metaRestoreCommand(loadRestorer),
  },
  {
    name: "meta quarantine",
    summary: "list blocks that data servers hold and metadata does not know",
    load: async () => (await import("./tools/meta-quarantine.ts")).metaQuarantine,
  },
  {
    name: "meta",
    summary: "run a metadata server",
    load: async () => (await import("./tools/meta.ts")).metaCommand(startMeta),
  },
  {
    name: "data",
    summary: "run a data server",
    load: async () => (await import("./tools/data.ts")).dataCommand(startData),
  },
  {
    name: "completion",
    summary: "print a script that completes commands and paths in bash, zsh or fish",
    load: async () => (await import("./tools/completion.ts")).completionCommand(COMMANDS),
  },
  {
    name: "version",
    summary: "tell the version, and what this dfs understands",
    load: async () => (await import("./tools/version.ts")).version,
  },
];

async function startMeta(start: MetaStart): Promise<void> {
  const { runMetaServer } = await import("./server/meta/server.ts");
  const { service, ...rest } = start;
  await runMetaServer({ ...rest, ...service });
}

async function startData(start: DataStart): Promise<void> {
  const { runDataServer } = await import("./server/data/server.ts");
  const { wait, ...rest } = start;
  await runDataServer({ ...rest, ...(wait ? { firstContactTimeoutMs: Infinity } : {}) });
}

async function serveMount(start: MountStart): Promise<void> {
  const { runMount } = await import("./mount/mount.ts");
  await runMount(start);
}

async function loadRestorer(): Promise<Restorer> {
  const { listBackups, restoreMetadata } = await import("./server/meta/restore.ts");
  return { list: listBackups, restore: restoreMetadata };
}

/** Runs the command that `args` name; returns the exit code. */
async function main(args: readonly Argument[], interruption: Interruption): Promise<number> {
  // A bar does not stay in the way of results on the same terminal, nor behind when the process ends, however it does.
  const clear = (): void => messages.live("");
  const out = new Output(Bun.stdout.writer(), clear);
  process.on("exit", clear);
  interruption.onGivenUp(() =>
    messages.error("interrupted: what was being done did not end, and was left as it was"),
  );
  const debug =
    args.some((arg) => arg.text === "--debug") || meansYes(process.env["DFS_DEBUG"] ?? "");
  let messages = new Messages("dfs");
  try {
    const request = findRequest(args, COMMANDS);
    if (request.kind === "command") {
      const { entry } = request;
      messages = new Messages(`dfs ${entry.name}`);
      const command = await entry.load();
      return await runCommand(entry, command, request.args, { out, messages, interruption });
    }
    await out.line(await answer(request));
    await out.flush();
    return EXIT.done;
  } catch (error) {
    await out.announce(); // what was found before the error is still told
    clear();
    const code = report(error, messages, debug);
    return interruption.exitCode() ?? code;
  }
}

/** What is told without any command being run. */
async function answer(request: Exclude<Request, { kind: "command" }>): Promise<string> {
  switch (request.kind) {
    case "version":
      return `dfs ${pkg.version}`;
    case "manual":
      return (await import("./tools/shared/manual.ts")).manualPage(COMMANDS, pkg.version);
    case "topic":
      return readable(`dfs help ${request.topic.name}: ${await topicText(request.topic)}`);
    case "list":
      return readable((await import("./tools/shared/help.ts")).commandList(COMMANDS));
  }
}

async function topicText({ summary, load }: Topic): Promise<string> {
  return `${summary}\n${await load()}`;
}

/** Help as the terminal has room for it. */
async function readable(text: string): Promise<string> {
  if (!isOutputTerminal()) return text;
  const { wrapped } = await import("./tools/shared/wrap.ts");
  return wrapped(text, process.stdout.columns);
}

interface Surroundings {
  readonly out: Output;
  readonly messages: Messages;
  readonly interruption: Interruption;
}

async function runCommand(
  entry: CommandEntry,
  command: Command<OptionSet>,
  args: readonly Argument[],
  { out, messages, interruption }: Surroundings,
): Promise<number> {
  const parsed = usageOf(entry.name, () =>
    parseArguments(args, command.options, process.env, command),
  );
  if (parsed.help) {
    const { commandHelp } = await import("./tools/shared/help.ts");
    await out.line(await readable(commandHelp(entry.name, entry.summary, command)));
    await out.flush();
    return EXIT.done;
  }
  usageOf(entry.name, () => checkOperands(command, parsed.operands));
  messages.quiet = parsed.options["quiet"] === true;
  if (wantsColours(process.env, isOutputTerminal())) await useColours();
  const context: Context<OptionSet> = {
    name: entry.name,
    args: parsed.operands,
    options: parsed.options,
    typed: parsed.typed,
    out,
    messages,
    signal: interruption.signal,
    env: process.env,
  };
  if (command.cleanUpMs !== undefined) interruption.allowCleanUp(command.cleanUpMs);
  const code = await command.run(context);
  await out.flush();
  return interruption.exitCode() ?? code;
}

/** Adds to a usage error where the right usage is told. */
function usageOf<T>(name: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof DfsError) || error.kind !== "usage") throw error;
    throw new DfsError("usage", `${error.message}\nusage is told by: dfs ${name} --help`);
  }
}

function checkOperands(command: Command<OptionSet>, operands: readonly Argument[]): void {
  const { least, most } = command.operands;
  if (operands.length < least) {
    throw new DfsError("usage", `something is missing: dfs ${command.usage}`);
  }
  if (operands.length > most) {
    const surplus = operands[most];
    throw new DfsError("usage", `cannot use "${surplus?.text ?? ""}": dfs ${command.usage}`);
  }
}

const interruption = catchInterruption();
const exitCode = await main(systemArguments(), interruption);
process.exit(exitCode);
