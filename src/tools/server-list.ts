/**
 * `dfs server list`: the data servers as the metadata service sees them.
 */
import type { ServerInfo } from "../protocol/messages/cluster.ts";
import { green, red, yellow } from "./shared/colours.ts";
import { defineCommand } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { EXIT } from "./shared/exit-codes.ts";
import { countText, durationText, isoTime, sizeText } from "./shared/format.ts";
import { tableLines, type Column } from "./shared/table.ts";
import { printable } from "./shared/text.ts";

const COLUMNS: readonly Column[] = [
  { title: "ID", align: "right" },
  { title: "ADDRESS" },
  { title: "STATE" },
  { title: "ZONE" },
  { title: "TAGS" },
  { title: "USED", align: "right" },
  { title: "CAPACITY", align: "right" },
  { title: "BLOCKS", align: "right" },
  { title: "REPLICAS", align: "right" },
  { title: "LAST HEARD" },
];

export const serverList = defineCommand({
  usage: "server list",
  description: `
Lists all data servers. States: up; suspect (silent for a moment); down (writes use stand-ins); out (its copies are to be
made elsewhere); draining. BLOCKS is what the server said it holds, REPLICAS what metadata expects on it.`,
  options: { ...clientOptions, ...jsonOption },
  operands: { least: 0, most: 0 },
  examples: ["dfs server list", "dfs server list --json"],
  json: [
    "server            id, a number",
    "address state zone tags full",
    "usedBytes capacityBytes blocks replicas    numbers",
    "heard             UTC, or null when not heard of since the metadata server started",
    "incarnation instance                       64-bit numbers as text",
  ],
  exits: [
    [0, "listed, whatever their states"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    return withClient(context, async (client) => {
      const servers = await client.servers();
      const { out } = context;
      if (context.options.json) {
        for (const server of servers) await out.row(jsonServer(server));
      } else if (servers.length === 0) {
        await out.line("no data server has registered yet; start one: dfs data --new --dir DIR");
      } else {
        for (const line of tableLines(COLUMNS, servers.map(row))) await out.line(line);
      }
      return EXIT.done;
    });
  },
});

function row(server: ServerInfo): string[] {
  return [
    String(server.server),
    printable(server.address),
    stateText(server),
    printable(server.zone) || "-",
    server.tags.map(printable).join(",") || "-",
    sizeText(server.usedBytes),
    sizeText(server.capacityBytes),
    countText(server.blocks),
    countText(server.replicas),
    heardText(server.heardNs),
  ];
}

function stateText(server: ServerInfo): string {
  const text = server.full ? `${server.state}, full` : server.state;
  if (server.state === "up" && !server.full) return green(text);
  return server.state === "down" || server.state === "out" ? red(text) : yellow(text);
}

function heardText(heardNs: bigint | null): string {
  if (heardNs === null) return "not yet";
  const ageMs = Date.now() - Number(heardNs / 1_000_000n);
  return ageMs < 0 ? isoTime(heardNs) : `${durationText(ageMs)} ago`;
}

function jsonServer(server: ServerInfo): object {
  return {
    server: server.server,
    address: server.address,
    state: server.state,
    zone: server.zone,
    tags: server.tags,
    full: server.full,
    usedBytes: server.usedBytes,
    capacityBytes: server.capacityBytes,
    blocks: server.blocks,
    replicas: server.replicas,
    heard: server.heardNs === null ? null : isoTime(server.heardNs),
    incarnation: server.incarnation.toString(),
    instance: server.instance.toString(),
  };
}
