/**
 * Blocks that data servers hold and the database knows nothing of. After an older copy of the database was accepted these
 * are the blocks that were stored later. They are quarantined by being left alone: nothing in dfs deletes a block that
 * metadata does not know as dead. Here they are counted and listed.
 */
import { DfsError } from "../../base/errors.ts";
import type { BlockId, ServerId } from "../../base/ids.ts";
import { MAX_BLOCKS_PER_PAGE } from "../../base/limits.ts";
import type { QuarantinePage } from "../../protocol/messages/backup.ts";
import { blockList } from "../../protocol/messages/data.ts";
import type { Engine } from "./engine.ts";
import type { Members } from "./members.ts";
import { isForgotten } from "./namespace/operations.ts";
import { ask, type Operation } from "./store/store.ts";

const LIST_TIMEOUT_MS = 30_000;

/** Blocks looked at for one page: few enough that the event loop is never held long. */
const PAGE = Math.min(2048, MAX_BLOCKS_PER_PAGE);

type Held = QuarantinePage["blocks"][number];

export class Quarantine {
  private readonly engine: Engine;
  private readonly members: Members;
  private readonly counts = new Map<ServerId, number>();

  constructor(engine: Engine, members: Members) {
    this.engine = engine;
    this.members = members;
  }

  /** A server was compared with the record, and so many of its copies are unknown. */
  compared(server: ServerId, unknown: number): void {
    this.counts.set(server, unknown);
  }

  /** A server was removed from the cluster, with what it holds. */
  dismiss(server: ServerId): void {
    this.counts.delete(server);
  }

  /** Copies that were unknown when their servers registered last. */
  get copies(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0);
  }

  /**
   * Looks at the blocks on a server behind `after`, as many as one page has.
   * @throws DfsError `notFound`, `unreachable`, and what the server answers.
   */
  async page(server: ServerId, after: BlockId): Promise<QuarantinePage> {
    const member = this.members.all().find((each) => each.server === server);
    if (member === undefined) throw await this.absent(server);
    const request = { after, limit: PAGE };
    const { body } = await member.peer.request(blockList, request, { timeoutMs: LIST_TIMEOUT_MS });
    const blocks = await this.engine.question(() => unknownOf(server, body.blocks));
    return { blocks, next: body.more ? (body.blocks.at(-1)?.block ?? null) : null };
  }

  private async absent(server: ServerId): Promise<DfsError> {
    const known = await this.engine.question(() => ask("server.get", server));
    return known === undefined
      ? new DfsError("notFound", `there is no data server ${server}`)
      : new DfsError("io", `data server ${server} is not connected: its blocks cannot be listed`);
  }
}

function* unknownOf(server: ServerId, page: readonly Held[]): Operation<Held[]> {
  const unknown: Held[] = [];
  for (const held of page) if (yield* isUnknown(server, held)) unknown.push(held);
  return unknown;
}

/** As reconcile.ts decides: no block of this id, or the id is that of other bytes, and no copy is on record here. */
function* isUnknown(server: ServerId, held: Held): Operation<boolean> {
  if ((yield* ask("replica.get", held.block, server)) !== undefined) return false;
  const block = yield* ask("block.get", held.block);
  if (block === undefined) {
    if (yield* isForgotten(held.block)) return false;
    return (yield* ask("reservation.find", held.block)) === undefined;
  }
  if (block.state === "dead") return false;
  return block.length !== held.length || block.checksum !== held.checksum;
}
