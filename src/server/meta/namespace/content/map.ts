/** What a reader needs: extents with their blocks' checksums and the servers that hold copies. */
import { DfsError } from "../../../../base/errors.ts";
import type { InodeId, ServerId } from "../../../../base/ids.ts";
import type { MappedExtent } from "../../../../protocol/messages/common.ts";
import type * as messages from "../../../../protocol/messages/namespace.ts";
import type { ExtentWithBlock } from "../../store/rows.ts";
import { ask, type Operation } from "../../store/store.ts";
import type { Body, Done, OperationContext } from "../context.ts";
import { liveInode, requireFile } from "../inodes.ts";

/** @throws DfsError `stale`, `isDirectory`, `invalid`. */
export function* map(
  _context: OperationContext,
  body: Body<typeof messages.map>,
): Operation<Done<typeof messages.map>> {
  if (body.limit < 1) throw new DfsError("invalid", "a page of extents needs room for one");
  const inode = requireFile(yield* liveInode(body.inode));
  const end = Math.min(body.offset + body.length, inode.size); // what is behind has been cut off
  const page = yield* mappedPage(inode.id, body.offset, end, body.limit);
  return { version: inode.version, size: inode.size, ...page };
}

/** The first `limit` extents that overlap [from, to). */
export function* mappedPage(
  inode: InodeId,
  from: number,
  to: number,
  limit: number,
): Operation<{ extents: MappedExtent[]; more: boolean }> {
  const found = yield* ask("extent.listWithBlocks", inode, from, to, limit + 1);
  const rows = new RowOrder();
  const extents: MappedExtent[] = [];
  for (const extent of found.slice(0, limit)) {
    extents.push(mappedExtent(extent, yield* rows.present(extent)));
  }
  return { extents, more: found.length > limit };
}

/** Orders servers as the placement table does, asking for each group's row and each server's state once. */
export class RowOrder {
  readonly #rows = new Map<number, readonly ServerId[]>();
  readonly #out = new Map<ServerId, boolean>();

  /** The servers that the table names for a group. */
  *row(group: number): Operation<readonly ServerId[]> {
    const known = this.#rows.get(group);
    if (known !== undefined) return known;
    const row = yield* ask("placement.row", group);
    this.#rows.set(group, row);
    return row;
  }

  /**
   * Servers with a present copy: those of the group's row in its order, then stand-ins by id. Servers that are out come
   * last: readers have others to ask. When no copy is present, the bad ones are named: a reader verifies what it gets, and
   * can say which servers it has asked in vain.
   */
  *present(extent: ExtentWithBlock): Operation<ServerId[]> {
    const row = yield* this.row(extent.group);
    const present = yield* this.#readable(extent);
    const ordered = inRowOrder(row, present, (server) => server);
    const out: ServerId[] = [];
    for (const server of ordered) if (yield* this.#isOut(server)) out.push(server);
    if (out.length === 0) return ordered;
    return [...ordered.filter((server) => !out.includes(server)), ...out];
  }

  *#readable({ block }: ExtentWithBlock): Operation<ServerId[]> {
    const present = yield* ask("replica.present", block);
    if (present.length > 0) return present;
    const replicas = yield* ask("replica.list", block);
    return replicas.filter(({ state }) => state === "bad").map(({ server }) => server);
  }

  *#isOut(server: ServerId): Operation<boolean> {
    const known = this.#out.get(server);
    if (known !== undefined) return known;
    const isOut = (yield* ask("server.standing", server))?.state === "out";
    this.#out.set(server, isOut);
    return isOut;
  }
}

/** `items` in the order of their servers in `row`; the others behind them, in their own order. */
export function inRowOrder<Item>(
  row: readonly ServerId[],
  items: readonly Item[],
  serverOf: (item: Item) => ServerId,
): Item[] {
  const rank = (item: Item): number => {
    const at = row.indexOf(serverOf(item));
    return at < 0 ? row.length : at;
  };
  return items.toSorted((left, right) => rank(left) - rank(right));
}

function mappedExtent(extent: ExtentWithBlock, servers: ServerId[]): MappedExtent {
  return {
    offset: extent.offset,
    length: extent.length,
    block: extent.block,
    blockOffset: extent.blockOffset,
    blockLength: extent.blockLength,
    checksum: extent.checksum,
    servers,
  };
}
