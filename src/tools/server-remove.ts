/**
 * `dfs server remove`: end a data server that is not needed, and strike it off the list for good.
 */
import { isDfsError, messageOf } from "../base/errors.ts";
import type { ServerId } from "../base/ids.ts";
import type { DfsClient } from "../client/api.ts";
import type { ServerChange } from "../protocol/messages/cluster.ts";
import { forgetServer } from "./cluster/forget-server.ts";
import { defineCommand, flag } from "./shared/command.ts";
import { clientOptions, findMeta, jsonOption, withClient } from "./shared/connect.ts";
import { EXIT } from "./shared/exit-codes.ts";
import { counted } from "./shared/format.ts";
import { LOSS_JSON, showLosses } from "./shared/losses.ts";
import type { Messages } from "./shared/messages.ts";
import type { Output } from "./shared/output.ts";
import { serverOperand } from "./shared/server-moves.ts";
import { printable } from "./shared/text.ts";

export const serverRemove = defineCommand({
  usage: "server remove ID [--dry-run] [--force]",
  description: `
Forgets a data server that holds nothing that is needed: one that was drained, or one that is out and whose copies have been
made elsewhere. Otherwise it says what is left. If it runs, it is ended first. Its id is never given to another server; a
server that comes back with it is refused, and may join as a new one with an empty directory and --new.
When blocks have no copy but on a server that is out, it says of which files, and refuses. With --force these blocks are given
up: they are on record as lost, reading them is an error, and dfs fsck lists the files. No copy that can be read is given up.`,
  options: {
    dryRun: flag("only say whether that can be done"),
    force: flag("although blocks have no other copy: they are lost"),
    ...clientOptions,
    ...jsonOption,
  },
  operands: { least: 1, most: 1 },
  examples: [
    "dfs server drain 3 && dfs server remove 3",
    "dfs rebuild 2 --replace && dfs server remove 2",
  ],
  json: [
    "server (id), removed (false with --dry-run), lost (blocks that were given up, or would be with --force)",
    "before it one row of kind lost for each file and block that is given up:",
    ...LOSS_JSON,
  ],
  exits: [
    [0, "removed, now or before (or, with --dry-run, it can be)"],
    [1, "copies on it are still needed; or, without --force, blocks have no other copy"],
    [4, "no such server"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    const { dryRun, force, json } = context.options;
    const change = force ? "abandon" : "remove";
    const server = serverOperand(context.args[0]!.text);
    const { out, messages, signal } = context;
    return withClient(context, async (client) => {
      const lost = await lostWith(client, server);
      if (dryRun) {
        await client.planServer(server, change);
        if (lost > 0) await tellLoss(context, client, server, lost);
        if (json) await out.row({ server, removed: false, lost });
        else await out.line(`data server ${server} can be removed`);
        return EXIT.done;
      }
      await endIfThere(client, server, change, messages);
      if (force && lost > 0) await tellLoss(context, client, server, lost);
      await client.changeServer(server, change);
      const { dir } = findMeta(context);
      const own = dir === undefined ? undefined : await forgetServer(dir, server, signal);
      if (json) await out.row({ server, removed: true, lost });
      else {
        await out.line(`data server ${server} is removed`);
        const where = own === undefined ? "is" : `is now ${printable(own)} and`;
        await out.line(`its directory ${where} not needed any more: delete it`);
      }
      return EXIT.done;
    });
  },
});

/** Blocks that have no copy but on this server, which is none that counts; 0 for one that is not on record. */
async function lostWith(client: DfsClient, server: ServerId): Promise<number> {
  const isKnown = (await client.servers()).some((each) => each.server === server);
  return isKnown ? ((await client.holdings(server)).lost?.copies ?? 0) : 0;
}

async function tellLoss(
  { out, options }: { readonly out: Output; readonly options: { readonly json: boolean } },
  client: DfsClient,
  server: ServerId,
  lost: number,
): Promise<void> {
  const { json } = options;
  if (!json) await out.line(`${counted(lost, "block")} without any other copy, given up for lost:`);
  await showLosses({ out, json }, client, server);
  await out.flush();
}

/**
 * Ends the server if it is on record and runs, once it is clear that it can be removed.
 * @throws DfsError `invalid` when it cannot.
 */
async function endIfThere(
  client: DfsClient,
  server: ServerId,
  change: ServerChange,
  messages: Messages,
): Promise<void> {
  const isKnown = (await client.servers()).some((each) => each.server === server);
  if (!isKnown) return; // removed before, or there never was one: the service knows
  await client.planServer(server, change);
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
