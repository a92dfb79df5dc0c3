/** Where each block of a file is, and where it should be. */
import { DfsError } from "../../../../base/errors.ts";
import type { ServerId } from "../../../../base/ids.ts";
import type * as messages from "../../../../protocol/messages/cluster.ts";
import type { ServerState } from "../../../../protocol/messages/cluster.ts";
import type { ExtentWithBlock } from "../../store/rows.ts";
import { ask, type Operation } from "../../store/store.ts";
import type { Body, Done, OperationContext } from "../context.ts";
import { liveInode, requireFile } from "../inodes.ts";
import { inRowOrder, RowOrder } from "./map.ts";

type Row = Done<typeof messages.explain>["rows"][number];

/** How a server is doing; what is known of it beyond its row. Undefined: as the row says. */
export type StateOf = (server: ServerId) => ServerState | undefined;

/**
 * Rows from `offset` on. `stateOf` may know more than the table of servers does, such as missed heartbeats; a server
 * that is in neither has been removed and counts as out.
 * @throws DfsError `stale`, `isDirectory`, `invalid`.
 */
export function* explain(
  context: OperationContext,
  body: Body<typeof messages.explain>,
  stateOf: StateOf = () => undefined,
): Operation<Done<typeof messages.explain>> {
  if (body.limit < 1) throw new DfsError("invalid", "a page of blocks needs room for one");
  const inode = requireFile(yield* liveInode(body.inode));
  const { id, size } = inode; // what is behind has been cut off
  const found = yield* ask("extent.listWithBlocks", id, body.offset, size, body.limit + 1);
  const order = new RowOrder();
  const servers = new Map((yield* ask("server.list")).map((server) => [server.id, server.state]));
  const known: StateOf = (server) => stateOf(server) ?? servers.get(server);
  const rows: Row[] = [];
  for (const extent of found.slice(0, body.limit)) {
    rows.push(yield* rowOf(context, extent, order, known));
  }
  return { rows, more: found.length > body.limit };
}

function* rowOf(
  context: OperationContext,
  extent: ExtentWithBlock,
  order: RowOrder,
  stateOf: StateOf,
): Operation<Row> {
  const wanted = yield* order.row(extent.group);
  const replicas = yield* ask("replica.list", extent.block);
  return {
    index: Math.floor(extent.offset / context.settings.blockSize),
    offset: extent.offset,
    length: extent.length,
    block: extent.block,
    blockOffset: extent.blockOffset,
    checksum: extent.checksum,
    group: extent.group,
    wanted: [...wanted],
    replicas: inRowOrder(wanted, replicas, (replica) => replica.server).map((replica) => ({
      server: replica.server,
      state: replica.state,
      serverState: stateOf(replica.server) ?? "out",
    })),
  };
}
