/**
 * `dfs data`: run a data server in this process.
 */
import { DfsError } from "../base/errors.ts";
import { defineCommand, flag, value, type Command, type OptionSet } from "./shared/command.ts";
import { readKey } from "./shared/cluster-key.ts";
import { generalOptions, jsonOption, keyOption } from "./shared/connect.ts";
import { endWithInput, endWithInputOption } from "./shared/end-with-input.ts";
import { EXIT } from "./shared/exit-codes.ts";
import { SERVER_CLEAN_UP_MS } from "./meta.ts";
import { jsonRow } from "./shared/text.ts";
import { address, addresses, count, directory, text, words } from "./shared/values.ts";

/** Which server a directory holds: the one that is in it, a new one, or server `recover` with nothing left. */
export type DataIdentity = "present" | "new" | { readonly recover: number };

/** What the server is started with. */
export interface DataStart {
  readonly dir: string;
  /** One or more addresses of metadata servers, separated by commas. */
  readonly meta: string;
  readonly identity: DataIdentity;
  readonly listen: string | undefined;
  readonly zone: string | undefined;
  readonly tags: readonly string[] | undefined;
  readonly allowFaults: boolean;
  /** Wait for the metadata server, however long it takes to come. */
  readonly wait: boolean;
  readonly key: Uint8Array | undefined;
  readonly debug: boolean;
  /** Asks it to end in good order. */
  readonly signal: AbortSignal;
  readonly onReady: (ready: { readonly address: string; readonly server: number }) => void;
  /** It serves nothing until the metadata server has a newer database; called again at every attempt. */
  readonly onOlder: (error: DfsError) => void;
}

/** Runs a data server until it is asked to end. @throws DfsError when it cannot start or go on. */
export type DataRunner = (start: DataStart) => Promise<void>;

const MAX_SERVER_ID = 2 ** 32 - 1;

const options = {
  dir: value("<dir>", directory, "the server's directory", { env: "DFS_DATA_DIR" }),
  meta: value("<address>", addresses, "metadata server, HOST:PORT"),
  new: flag("the directory is empty or missing: make it that of a new server"),
  recover: value(
    "<id>",
    count(1, MAX_SERVER_ID),
    "the directory is empty or missing because server ID lost its disk: be that server again",
  ),
  listen: value("<address>", address, "HOST:PORT to listen on (default: a free port of 127.0.0.1)"),
  zone: value("<zone>", text, "failure domain: copies of a block go to different ones"),
  tags: value("<a,b>", words, "tags, separated by commas"),
  allowFaults: flag(
    "let dfs corrupt damage copies here and dfs server stop --crash kill it: for tests",
  ),
  wait: flag(
    "wait for the metadata server for ever, and give backups of the metadata out meanwhile",
  ),
  ...endWithInputOption,
  ...keyOption,
  ...jsonOption,
  ...generalOptions,
};

export function dataCommand(run: DataRunner): Command<OptionSet> {
  return defineCommand({
    usage: "data --dir DIR --meta HOST:PORT [--new | --recover ID] [--listen HOST:PORT] ...",
    description: `
Runs a data server until it is asked to end (Ctrl-C, SIGTERM). Its identity is in its directory. An empty or missing
directory needs --new (a new server) or --recover ID (server ID, whose disk is lost), because a disk that is just not
mounted looks the same. It prints one line when it is ready; its log goes to standard error.`,
    options,
    operands: { least: 0, most: 0 },
    examples: [
      "dfs data --new --dir /srv/dfs/data-5 --meta 127.0.0.1:7000",
      "dfs data --dir /srv/dfs/data-5 --meta 127.0.0.1:7000",
    ],
    json: [
      "one row when ready: ready (data), server (its id), address, pid, dir; and before that, when the metadata server's",
      "database is too old to be served from, one row: waiting (data), reason, pid, dir",
    ],
    exits: [
      [1, "could not start (port or directory in use, wrong cluster), or could not go on"],
      [2, "usage, also an empty directory without --new or --recover"],
      [5, "no metadata server at that address"],
      [130, "ended by Ctrl-C, in good order"],
      [143, "ended by SIGTERM, in good order"],
    ],
    cleanUpMs: SERVER_CLEAN_UP_MS,
    async run(context) {
      const { options: chosen, out } = context;
      const { dir, meta } = chosen;
      if (dir === undefined || meta === undefined)
        throw missing(dir === undefined, meta === undefined);
      if (chosen.new && chosen.recover !== undefined) {
        throw new DfsError("usage", "--new and --recover exclude each other: see dfs data --help");
      }
      if (chosen.endWithInput) endWithInput();
      let hasTold = !chosen.json; // the log tells people
      await run({
        dir,
        meta,
        identity:
          chosen.recover === undefined
            ? chosen.new
              ? "new"
              : "present"
            : { recover: chosen.recover },
        listen: chosen.listen,
        zone: chosen.zone,
        tags: chosen.tags,
        allowFaults: chosen.allowFaults,
        wait: chosen.wait,
        key: readKey(chosen.keyFile),
        debug: chosen.debug,
        signal: context.signal,
        onOlder: ({ message: reason }) => {
          if (hasTold) return;
          hasTold = true;
          void out.announce(jsonRow({ waiting: "data", reason, pid: process.pid, dir }));
        },
        onReady: ({ address: at, server }) => {
          const { pid } = process;
          hasTold = true;
          void out.announce(
            chosen.json
              ? jsonRow({ ready: "data", server, address: at, pid, dir })
              : `data server ${server} ready at ${at} (process ${pid}, ${dir})`,
          );
        },
      });
      return EXIT.done;
    },
  });
}

function missing(dir: boolean, meta: boolean): DfsError {
  const what = [
    ...(dir ? ["its directory (--dir)"] : []),
    ...(meta ? ["the metadata server's address (--meta)"] : []),
  ];
  return new DfsError(
    "usage",
    `cannot start a data server: ${what.join(" and ")} ${what.length > 1 ? "are" : "is"} missing\n` +
      "for example: dfs data --new --dir /srv/dfs/data-1 --meta 127.0.0.1:7000",
  );
}
