/**
 * `dfs server stop`: end a data server from anywhere in the cluster.
 */
import { DfsError, isDfsError } from "../base/errors.ts";
import { serverId, type ServerId } from "../base/ids.ts";
import type { DfsClient } from "../client/api.ts";
import type { ServerInfo } from "../protocol/messages/cluster.ts";
import { defineCommand, flag } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { EXIT } from "./shared/exit-codes.ts";
import { sentence } from "./shared/outcome.ts";
import { printable } from "./shared/text.ts";
import { count } from "./shared/values.ts";

const MAX_SERVER_ID = 2 ** 32 - 1;

const parseId = count(1, MAX_SERVER_ID);

export const serverStop = defineCommand({
  usage: "server stop ID [--crash]",
  description: `
Asks a data server to end, over the network, and waits until it has: it finishes what was begun, seals its log and gives
its directory up. Nothing is lost; files stay readable from the other copies, and writes use stand-ins. It stays away
until it is started again: dfs up on its machine, or dfs data --dir DIR.
With --crash it kills itself on the spot, as a power cut would; only a server that was started with --allow-faults does
(those of dfs up do). Whoever reaches a cluster may stop its servers.`,
  options: {
    crash: flag("kill it at once, closing nothing: for tests"),
    ...clientOptions,
    ...jsonOption,
  },
  operands: { least: 1, most: 1 },
  examples: [
    "dfs server stop 2",
    "dfs server stop 2 --crash",
    "dfs up --detach    # start it again",
  ],
  json: ["server (id), address, how (stopped, crashed), pid or null when it did not say"],
  exits: [
    [0, "it has ended"],
    [1, "it was down already, does not answer, has not ended in time, or does not allow --crash"],
    [4, "no such server"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    const { crash, json } = context.options;
    const id = idOf(context.args[0]!.text);
    return withClient(context, async (client) => {
      const { address } = await runningServer(client, id);
      const { pid } = await end(client, id, crash);
      const { out } = context;
      if (json) {
        const how = crash ? "crashed" : "stopped";
        await out.row({ server: id, address, how, pid: pid ?? null });
      } else {
        const process = pid === undefined ? "" : ` (process ${pid})`;
        await out.line(
          `data server ${id} at ${printable(address)} ${crash ? "has crashed" : "has ended"}${process}`,
        );
      }
      return EXIT.done;
    });
  },
});

function idOf(text: string): ServerId {
  try {
    return serverId(parseId(text));
  } catch (error) {
    if (!isDfsError(error, "usage")) throw error;
    throw new DfsError("usage", `${printable(text)} is no server's id: dfs server list shows them`);
  }
}

/** @throws DfsError `notFound`, or `invalid` when there is nothing to stop. */
async function runningServer(client: DfsClient, id: ServerId): Promise<ServerInfo> {
  const found = (await client.servers()).find(({ server }) => server === id);
  if (found === undefined) {
    throw new DfsError(
      "notFound",
      `there is no data server ${id}\ndfs server list shows those that there are`,
    );
  }
  if (found.state === "down" || found.state === "out") {
    throw new DfsError("invalid", `cannot stop data server ${id}: it is ${found.state} already`);
  }
  return found;
}

async function end(
  client: DfsClient,
  id: ServerId,
  crash: boolean,
): Promise<{ pid: number | undefined }> {
  try {
    return await client.stopServer(id, crash ? "crash" : "inGoodOrder");
  } catch (error) {
    if (!(error instanceof DfsError)) throw error;
    // That one server does not answer does not make the cluster unreachable.
    const kind = error.kind === "unreachable" ? "io" : error.kind;
    throw new DfsError(
      kind,
      sentence(`cannot ${crash ? "crash" : "stop"} data server ${id}`, error),
      {
        cause: error,
      },
    );
  }
}
