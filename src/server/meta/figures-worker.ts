/**
 * The thread that counts what is in the database, with a connection of its own: over millions of rows that takes seconds,
 * which no client should wait for. `figures.ts` is the other side.
 */
import { Database } from "bun:sqlite";
import { messageOf } from "../../base/errors.ts";
import type { FigureKinds, FiguresAnswer, FiguresOrder } from "./figures.ts";
import { SURPLUS } from "./repair/need.ts";
import type { ClusterPrimitives } from "./store/primitives/cluster.ts";
import { clusterPrimitives } from "./store/sqlite/cluster.ts";
import { lossesBehind } from "./store/sqlite/losses.ts";
import { copyFigures } from "./store/sqlite/risks.ts";
import { finalizeOnClose } from "./store/sqlite/store.ts";

/** How long to wait for a checkpoint that holds the log for itself. */
const BUSY_TIMEOUT_MS = 10_000;

declare const self: Worker;

let opened: { readonly database: Database; readonly primitives: ClusterPrimitives } | undefined;

self.addEventListener("message", ({ data }: MessageEvent<FiguresOrder>) => {
  if (data.kind === "close") {
    opened?.database.close();
    self.postMessage({ kind: "closed" } satisfies FiguresAnswer);
    return;
  }
  self.postMessage(count(data));
});

function count(order: Extract<FiguresOrder, { kind: "count" }>): FiguresAnswer {
  try {
    opened ??= open(order.path);
    const current = opened;
    // One transaction, so that all figures are of one moment.
    const figures = current.database.transaction(() => countIn(current, order))();
    return { kind: "counted", figures };
  } catch (error) {
    return { kind: "failed", message: messageOf(error) };
  }
}

function countIn(
  { database, primitives }: NonNullable<typeof opened>,
  { what, servers, most, after }: Extract<FiguresOrder, { kind: "count" }>,
): FigureKinds[keyof FigureKinds] {
  if (what === "inodes") return primitives["figures.inodes"]();
  if (what === "groups") return primitives["figures.groups"]();
  if (what === "server") {
    const server = servers[0]!;
    return {
      holdings: primitives["figures.holdings"](server),
      lacking: primitives["figures.lacking"](server),
      lost: primitives["figures.lost"](server),
      surplus: primitives["figures.surplus"](server, SURPLUS),
    };
  }
  if (what === "losses") return lossesBehind(database, after, servers[0]);
  if (what === "replicas") return primitives["figures.replicasByServer"]();
  return {
    ...primitives["figures.store"](),
    ...copyFigures(database, servers, most),
    repairs: primitives["figures.repairs"](),
  };
}

function open(path: string): NonNullable<typeof opened> {
  const database = new Database(path, { create: false, readwrite: true, safeIntegers: true });
  finalizeOnClose(database);
  database.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
  database.run("PRAGMA query_only = ON");
  return { database, primitives: clusterPrimitives(database) };
}
