/**
 * `dfs df`: how much room the cluster has.
 */
import type { DfsClient, ServerList } from "../client/api.ts";
import { defineCommand, flag, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { EXIT } from "./shared/exit-codes.ts";
import { kibibytes, shortSize } from "./shared/format.ts";
import { tableLines, type Column } from "./shared/table.ts";

const options = {
  kibibytes: flag("accepted for habit's sake: sizes are in KiB without -h", { short: "k" }),
  human: flag("sizes with units (1.5K, 214M), not in KiB", { short: "h" }),
  servers: flag("each data server as well"),
  ...clientOptions,
  ...jsonOption,
};

/** Room, in bytes. */
interface Space {
  readonly sizeBytes: number;
  readonly usedBytes: number;
  readonly availableBytes: number;
}

type Server = ServerList[number];

export const df = defineCommand({
  usage: "df [-h] [--servers]",
  description: `
Shows the room of the cluster as df does that of a file system, in KiB, rounded up: what is usable, every block being kept in
several copies, and what that is raw, on the disks of the data servers. Both are of the servers that are up or have only just
fallen silent, without what they keep back for themselves; a server that is full has nothing available. Servers on one disk
count its free room each.`,
  options,
  operands: { least: 0, most: 0 },
  examples: ["dfs df -h", "dfs df -h --servers"],
  json: [
    "room              usable, raw or server",
    "sizeBytes usedBytes availableBytes    numbers",
    "copies files      of usable: copies that are kept of each block; inodes in use",
    "server state full of a server: id, state, whether it takes no new blocks for want of room",
  ],
  exits: [
    [0, "shown, however little room there is"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    return withClient(context, async (client) => {
      await (context.options.json ? printRows(context, client) : printTable(context, client));
      return EXIT.done;
    });
  },
});

async function printTable(
  { out, options: chosen }: Context<typeof options>,
  client: DfsClient,
): Promise<void> {
  const { usable, raw, servers } = await rooms(client);
  const columns: Column[] = [
    { title: "ROOM" },
    ...[chosen.human ? "SIZE" : "1K-BLOCKS", "USED", "AVAIL", "USE%"].map((title): Column => ({
      title,
      align: "right",
    })),
    ...(chosen.servers ? [{ title: "STATE" }] : []),
  ];
  const row = (name: string, space: Space, state = ""): string[] => {
    const sizes = [space.sizeBytes, space.usedBytes, space.availableBytes];
    const figure = (bytes: number): string =>
      chosen.human ? shortSize(bytes) : String(kibibytes(bytes));
    return [name, ...sizes.map(figure), used(space), ...(chosen.servers ? [state] : [])];
  };
  const rows = [row("usable", usable), row("raw", raw)];
  if (chosen.servers) {
    for (const each of servers) rows.push(row(`server ${each.server}`, spaceOf(each), words(each)));
  }
  for (const line of tableLines(columns, rows)) await out.line(line);
}

async function printRows(
  { out, options: chosen }: Context<typeof options>,
  client: DfsClient,
): Promise<void> {
  const { usable, raw, servers, files } = await rooms(client);
  await out.row({ room: "usable", ...usable, copies: client.replicas, files });
  await out.row({ room: "raw", ...raw });
  if (!chosen.servers) return;
  for (const each of servers) {
    const { server, state, full } = each;
    await out.row({ room: "server", ...spaceOf(each), server, state, full });
  }
}

async function rooms(client: DfsClient): Promise<{
  readonly usable: Space;
  readonly raw: Space;
  readonly servers: ServerList;
  readonly files: number;
}> {
  const [space, servers] = await Promise.all([client.statfs(), client.servers()]);
  const counted = servers
    .filter(({ state }) => state === "up" || state === "suspect") // as the service counts
    .map(spaceOf);
  const sum = (key: keyof Space): number => counted.reduce((total, each) => total + each[key], 0);
  return {
    usable: {
      sizeBytes: space.capacityBytes,
      usedBytes: Math.max(0, space.capacityBytes - space.availableBytes),
      availableBytes: space.availableBytes,
    },
    raw: {
      sizeBytes: sum("sizeBytes"),
      usedBytes: sum("usedBytes"),
      availableBytes: sum("availableBytes"),
    },
    servers,
    files: space.inodes,
  };
}

function spaceOf({ capacityBytes, usedBytes, full }: Server): Space {
  const availableBytes = full ? 0 : Math.max(0, capacityBytes - usedBytes);
  return { sizeBytes: capacityBytes, usedBytes, availableBytes };
}

/** The part of what can be used that is used, rounded up as df does; `-` when there is nothing at all. */
function used({ usedBytes, availableBytes }: Space): string {
  const total = usedBytes + availableBytes;
  return total === 0 ? "-" : `${Math.ceil((usedBytes / total) * 100)}%`;
}

function words({ state, full }: Server): string {
  return full ? `${state}, full` : state;
}
