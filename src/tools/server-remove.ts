/**
 * `dfs server remove`: end a data server that is not needed, and strike it off the list for good.
 */
import { isDfsError, messageOf } from "../base/errors.ts";
import type { ServerId } from "../base/ids.ts";
import type { DfsClient } from "../client/api.ts";
import { forgetServer } from "./cluster/forget-server.ts";
import { defineCommand, flag } from "./shared/command.ts";
import { clientOptions, findMeta, jsonOption, withClient } from "./shared/connect.ts";
import { EXIT } from "./shared/exit-codes.ts";
import type { Messages } from "./shared/messages.ts";
import { serverOperand } from "./shared/server-moves.ts";
import { printable } from "./shared/text.ts";

export const serverRemove = defineCommand({
  usage: "server remove ID [--dry-run]",
  description: `
Forgets a data server that holds nothing that is needed: one that was drained, or one that is out and whose copies have been
made elsewhere. Otherwise it says what is left. If it runs, it is ended first. Its id is never given to another server; a
server that comes back with it is refused, and may join as a new one with an empty directory and --new.`,
  options: {
    dryRun: flag("only say whether that can be done"),
    ...clientOptions,
    ...jsonOption,
  },
  operands: { least: 1, most: 1 },
  examples: [
    "dfs server drain 3 && dfs server remove 3",
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
    const { out, messages, signal } = context;
    return withClient(context, async (client) => {
      if (dryRun) {
        await client.planServer(server, "remove");
        if (json) await out.row({ server, removed: false });
        else await out.line(`data server ${server} can be removed`);
        return EXIT.done;
      }
      await endIfThere(client, server, messages);
      await client.changeServer(server, "remove");
      const { dir } = findMeta(context);
      const own = dir === undefined ? undefined : await forgetServer(dir, server, signal);
      if (json) await out.row({ server, removed: true });
      else {
        await out.line(`data server ${server} is removed`);
        const where = own === undefined ? "is" : `is now ${printable(own)} and`;
        await out.line(`its directory ${where} not needed any more: delete it`);
      }
      return EXIT.done;
    });
  },
});

/**
 * Ends the server if it is on record and runs, once it is clear that it can be removed.
 * @throws DfsError `invalid` when it cannot.
 */
async function endIfThere(client: DfsClient, server: ServerId, messages: Messages): Promise<void> {
  const isKnown = (await client.servers()).some((each) => each.server === server);
  if (!isKnown) return; // removed before, or there never was one: the service knows
  await client.planServer(server, "remove");
  if (!(await client.holdings(server)).connected) return;
  try {
    await client.stopServer(server, "inGoodOrder");
  } catch (error) {
    if (!isDfsError(error) || error.kind === "cancelled") throw error;
    messages.warning(
      `data server ${server} could not be ended: ${messageOf(error)}\nend its process by hand`,
    );
  }
}
