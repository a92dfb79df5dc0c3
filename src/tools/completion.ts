/**
 * `dfs completion`: scripts for shells, and what these ask for when the tab key is pressed.
 */
import { DfsError } from "../base/errors.ts";
import type { DfsClient } from "../client/api.ts";
import { whatIsWanted, type Candidate, type Wanted } from "./completing/engine.ts";
import type { Kind } from "./completing/operands.ts";
import { completionScript, SHELLS } from "./completing/scripts.ts";
import { argument, type Argument } from "./shared/arguments.ts";
import { defineCommand, type Command, type Context, type OptionSet } from "./shared/command.ts";
import { connectionOptions, generalOptions, withClient } from "./shared/connect.ts";
import type { CommandEntry } from "./shared/dispatch.ts";
import { EXIT } from "./shared/exit-codes.ts";
import { Messages } from "./shared/messages.ts";
import { joined, remotePath, ROOT_PATH } from "./shared/paths.ts";
import { escaped, printable } from "./shared/text.ts";
import { address, directory } from "./shared/values.ts";

/** The one behind which the scripts put what was typed. */
const CANDIDATES = "candidates";

/** Longer than this nobody waits for a list of names. */
const PATIENCE_MS = 1000;
/** A directory's names beyond this are no choice any more. */
const MOST_NAMES = 2000;

const options = { ...connectionOptions, ...generalOptions };
type CompletionContext = Context<typeof options>;

export function completionCommand(commands: readonly CommandEntry[]): Command<OptionSet> {
  return defineCommand({
    usage: "completion bash|zsh|fish",
    description: `
Prints a script that makes the tab key complete dfs: commands, options and their values, paths of the cluster, ids of data
servers, files of this machine. dfs help completion tells where it goes.`,
    options,
    operands: { least: 1, most: Number.MAX_SAFE_INTEGER },
    examples: [
      'eval "$(dfs completion bash)"',
      "mkdir -p ~/.config/fish/completions && dfs completion fish > ~/.config/fish/completions/dfs.fish",
    ],
    exits: [
      [0, "printed"],
      [2, "no such shell"],
    ],
    async run(context) {
      const [first, ...words] = context.args;
      if (first?.text === CANDIDATES) {
        await tellCandidates(context, words, commands);
        return EXIT.done;
      }
      const shell = SHELLS.find((each) => each === first?.text);
      if (shell === undefined || words.length > 0) {
        const typed = printable(context.args.map(({ text }) => text).join(" "));
        throw new DfsError(
          "usage",
          `no script for "${typed}": there is one for ${SHELLS.join(", ")}`,
        );
      }
      await context.out.line(completionScript(shell));
      return EXIT.done;
    },
  });
}

async function tellCandidates(
  context: CompletionContext,
  words: readonly Argument[],
  commands: readonly CommandEntry[],
): Promise<void> {
  const { out } = context;
  const wanted = await whatIsWanted(
    words.map(({ text }) => text),
    commands,
  );
  const { begin, before } = wanted;
  const tell = async ({ text, summary }: Candidate): Promise<void> => {
    if (text.startsWith(begin)) await out.line(`${before}${text}\t${summary}`);
  };
  for (const candidate of wanted.candidates) await tell(candidate);
  for (const kind of wanted.kinds) {
    if (kind === "local") await out.line(":files");
    else if (kind === "localDirectory") await out.line(":directories");
    else for (const candidate of await found(context, kind, wanted)) await tell(candidate);
  }
}

/** What has to be asked for. Nobody to ask is no error: there is nothing to choose then. */
async function found(
  context: CompletionContext,
  kind: Exclude<Kind, "local" | "localDirectory">,
  wanted: Wanted,
): Promise<Candidate[]> {
  if (kind !== "remote" && kind !== "server") return kind.map((text) => ({ text, summary: "" }));
  try {
    return await withClient(asTyped(context, wanted.typed), (client) =>
      kind === "server" ? serverIds(client) : namesBelow(client, wanted.begin),
    );
  } catch (error) {
    if (error instanceof DfsError && error.kind !== "internal") return [];
    throw error;
  }
}

/** The cluster that the command on the line would use, and nothing said about it. */
function asTyped(context: CompletionContext, typed: Wanted["typed"]): CompletionContext {
  const meta = typed.get("meta");
  const dir = typed.get("dir");
  const keyFile = typed.get("keyFile");
  return {
    ...context,
    messages: new Messages("dfs", () => undefined),
    typed: new Set(typed.keys()),
    options: {
      ...context.options,
      ...(meta === undefined ? {} : { meta: address(meta) }),
      ...(dir === undefined ? {} : { dir: directory(dir) }),
      ...(keyFile === undefined ? {} : { keyFile }),
      timeout: PATIENCE_MS,
    },
  };
}

async function serverIds(client: DfsClient): Promise<Candidate[]> {
  const servers = await client.servers();
  return servers.map(({ server, state, address: at }) => ({
    text: String(server),
    summary: `${state}, ${at}`,
  }));
}

/** Names in the directory that `begin` leads to; those that cannot be typed are left out. */
async function namesBelow(client: DfsClient, begin: string): Promise<Candidate[]> {
  const shown = begin.slice(0, begin.lastIndexOf("/") + 1);
  const wanted = Buffer.from(begin.slice(shown.length));
  const at = shown === "" ? ROOT_PATH : remotePath(argument(shown));
  const names: Candidate[] = [];
  for await (const { name, type } of client.readdir(joined(at, Buffer.from(".")))) {
    if (!Buffer.from(name.subarray(0, wanted.length)).equals(wanted)) continue;
    const text = Buffer.from(name).toString();
    if (escaped(name).replaceAll("\\\\", "\\") !== text) continue;
    if (wanted.length === 0 && text.startsWith(".")) continue; // as shells have it
    names.push({ text: `${shown}${text}${type === "directory" ? "/" : ""}`, summary: type });
    if (names.length >= MOST_NAMES) break;
  }
  return names;
}
