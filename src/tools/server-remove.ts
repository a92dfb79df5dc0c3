/**
 * `dfs server remove`: strike a data server off the list for good.
 */
import { defineCommand, flag } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { EXIT } from "./shared/exit-codes.ts";
import { serverOperand } from "./shared/server-moves.ts";

export const serverRemove = defineCommand({
  usage: "server remove ID [--dry-run]",
  description: `
Forgets a data server that holds nothing that is needed: one that was drained, or one that is out and whose copies have been
made elsewhere. Otherwise it says what is left. Its id is never given to another server; a server that comes back with it
is refused, and may join as a new one with an empty directory and --new.`,
  options: {
    dryRun: flag("only say whether that can be done"),
    ...clientOptions,
    ...jsonOption,
  },
  operands: { least: 1, most: 1 },
  examples: [
    "dfs server drain 3 && dfs server stop 3 && dfs server remove 3",
    "dfs rebuild 2 --replace && dfs server remove 2",
  ],
  json: ["server (id), removed (false with --dry-run)"],
  exits: [
    [0, "removed, now or before (or, with --dry-run, it can be)"],
    [1, "copies on it are still needed"],
    [4, "no such server"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    const { dryRun, json } = context.options;
    const server = serverOperand(context.args[0]!.text);
    const { out } = context;
    return withClient(context, async (client) => {
      if (dryRun) await client.planServer(server, "remove");
      else await client.changeServer(server, "remove");
      if (json) await out.row({ server, removed: !dryRun });
      else if (dryRun) await out.line(`data server ${server} can be removed`);
      else {
        await out.line(
          `data server ${server} is removed: its directory is not needed any more, and its process can be ended`,
        );
      }
      return EXIT.done;
    });
  },
});
