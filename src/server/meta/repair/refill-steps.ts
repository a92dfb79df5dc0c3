/**
 * The transactions of refilling a server that has lost its disk. Each is about hundreds of copies and has a few statements for all of
 * them; what is not as simple as that is left to the pages of page.ts.
 *
 *     present ── loseStretch ──► bad, on record with urgency REFILL ── finishRefills ──► present, off the record
 */
import { DfsError } from "../../../base/errors.ts";
import type { BlockId, InstanceId, ServerId } from "../../../base/ids.ts";
import type { Address } from "../../../protocol/transport.ts";
import type { RefillRow, Stretch } from "../store/primitives/refills.ts";
import { ask, type Operation } from "../store/store.ts";
import { judge } from "./steps.ts";
import { REFILL, type ClusterView } from "./need.ts";
import { onPage, type BlockPage } from "./page.ts";
import { RefillChooser, type RefillTarget } from "./refill-choice.ts";

/** The next rows of a server on record, at most `limit`: where they end, and how many they are. */
export interface RecordedStretch extends Stretch {
  readonly rows: number;
}

/** Bad copies looked at for one page: those of blocks that lack more may be any number, and are passed over. */
const LOOKED_AT = 2048;

/** What is on record of a server behind `after`; undefined: nothing. */
export function* nextStretch(
  server: ServerId,
  after: BlockId,
  limit: number,
): Operation<RecordedStretch | undefined> {
  const last = yield* ask("refill.last", server, after, limit);
  if (last === undefined) return undefined;
  return { after, last, rows: yield* ask("refill.count", server, { after, last }) };
}

/**
 * The server holds nothing of a stretch: its present copies become bad, and what their blocks need goes on record. Returns how many
 * became bad; undefined when that is to be settled copy by copy: copies were being made, or others have come since the stretch was
 * looked at.
 */
export function* loseStretch(
  view: ClusterView,
  server: ServerId,
  stretch: RecordedStretch,
): Operation<number | undefined> {
  const { after, last, rows } = stretch;
  if (view.servers.get(server)?.filling !== true) return undefined;
  const [adding] = yield* ask("replica.listUnsettled", server, "adding", after, 1);
  if (adding !== undefined && adding.block <= last) return undefined;
  if ((yield* ask("refill.count", server, stretch)) !== rows) return undefined;
  const lost = yield* ask("refill.lose", server, stretch);
  const rest = [...view.servers.values()].filter(({ id }) => id !== server);
  // Of another server that is refilled: such a block lacks two copies by now.
  const isOther = rest.some(({ filling }) => filling);
  const doubtful = isOther ? yield* ask("refill.recorded", server, stretch, REFILL) : [];
  const out = rest.filter(({ state }) => state === "out").map(({ id }) => id);
  const copies = view.replicas - 1;
  if (copies > 0) {
    const entry = {
      missing: 1,
      urgency: REFILL,
      reason: "badReplica",
      sinceNs: view.nowNs,
    } as const;
    yield* ask("refill.record", server, stretch, { copies, out }, entry);
  }
  const others = [...doubtful, ...(yield* ask("refill.unrecorded", server, stretch, REFILL))];
  if (others.length > 0) yield* judge(view, others, "badReplica");
  return lost;
}

/**
 * What decisions about copies rest on, in words: as long as they are the same, what was well placed is. Copies on servers that are down
 * count as those on servers that are up do.
 */
function* standingOf(view: ClusterView): Operation<string> {
  const version = yield* ask("placement.version");
  const servers = [...view.servers.values()].map(({ id, state, filling, instance }) => {
    const kind = state === "out" || state === "draining" ? state : "counts";
    return `${id} ${kind} ${filling} ${instance}`;
  });
  return `${version}: ${servers.join(", ")}`;
}

/** Blocks that the server is to get again, behind `after`. */
export interface RefillPage {
  /** Those that are to be ordered: they lack nothing but this copy. Their present holders are those that can give it. */
  readonly wanted: readonly RefillRow[];
  /** Those of them that are misplaced when they have it. */
  readonly misplaced: ReadonlySet<BlockId>;
  /** Blocks of the page that the planner is to look at. */
  readonly others: readonly BlockId[];
  /** How many blocks were looked at. */
  readonly looked: number;
  /** The last block looked at; undefined when there are no more. */
  readonly last: BlockId | undefined;
  /** Where servers listen. */
  readonly addresses: ReadonlyMap<ServerId, Address>;
  /** The cluster as it was, for `finishRefills`. */
  readonly mark: string;
  /** No more than `LOOKED_AT` bad copies lie behind this page up to here, but for those that have come since. */
  readonly window: BlockId;
  /** Rows of the placement table: those of this page and of the ones before it, while the table is the same. */
  readonly rows: ClusterView["rows"];
}

/**
 * The next blocks of a server's refill in a stretch: at most so many `rows` are looked at, and those that are to be ordered have at most so
 * many `bytes`, but for a single one. `before` is the page before this one.
 */
export function* readRefills(
  view: ClusterView,
  target: RefillTarget,
  stretch: Stretch,
  most: { readonly rows: number; readonly bytes: number },
  before?: RefillPage,
): Operation<RefillPage> {
  const mark = yield* standingOf(view);
  // In a page there are blocks of hundreds of groups.
  if (before?.mark === mark) view = { ...view, rows: before.rows };
  const { after } = stretch;
  const { server } = target;
  const known = before !== undefined && before.window > after ? before.window : undefined;
  const window = known ?? (yield* ask("refill.window", server, stretch, LOOKED_AT)) ?? after;
  const rows = yield* ask("refill.list", server, { after, last: window }, REFILL, most.rows);
  yield* readPlacement(view, rows);
  const chooser = new RefillChooser(view, target);
  const wanted: RefillRow[] = [];
  const misplaced = new Set<BlockId>();
  const others: BlockId[] = [];
  let looked = 0;
  let bytes = 0;
  for (const row of rows) {
    const choice = chooser.choose(row);
    if (typeof choice !== "string") {
      bytes += row.length;
      if (bytes > most.bytes && wanted.length > 0) break;
      wanted.push(choice);
      if (!chooser.isAllItNeeds(row)) misplaced.add(row.id);
    } else if (choice === "left") others.push(row.id);
    looked++;
  }
  const addresses = new Map([...view.servers.values()].map(({ id, address }) => [id, address]));
  // Fewer rows than were asked for: nothing is left of the window.
  const isToItsEnd = looked === rows.length && looked < most.rows;
  const end = isToItsEnd ? window : rows[looked - 1]?.id;
  const last = end === after ? undefined : end;
  return { wanted, misplaced, others, looked, last, addresses, mark, window, rows: view.rows };
}

function* readPlacement(view: ClusterView, rows: readonly RefillRow[]): Operation<void> {
  const groups = new Set<number>();
  for (const { group } of rows) if (!view.rows.has(group)) groups.add(group);
  if (groups.size === 0) return;
  for (const { group, servers } of yield* ask("placement.rows", [...groups])) {
    view.rows.set(group, servers);
  }
}

/** Copies that a run of a server has made, and the `mark` of the page that they were chosen from. */
export interface Refilled {
  readonly server: ServerId;
  readonly instance: InstanceId;
  readonly blocks: readonly BlockId[];
  readonly mark: string;
}

/**
 * The copies are durable: they are present from now on, and their blocks, none of which is misplaced then, need nothing more.
 * @throws DfsError `conflict` when something has changed since they were chosen: `finishEach` is to judge them one by one then.
 */
export function* finishRefills(view: ClusterView, refilled: Refilled): Operation<void> {
  const { server, blocks } = refilled;
  const isAsChosen =
    (yield* standingOf(view)) === refilled.mark &&
    (yield* ask("refill.finish", server, blocks, REFILL)) === blocks.length &&
    (yield* ask("refill.settle", blocks, REFILL)) === blocks.length;
  if (!isAsChosen) throw new DfsError("conflict", `blocks of data server ${server} have changed`);
}

/** The same, block by block. Returns how many copies became present. */
export function* finishEach(view: ClusterView, refilled: Refilled): Operation<number> {
  const { server, instance, blocks } = refilled;
  // Another run of the server may be one that has lost its disk once more.
  if (view.servers.get(server)?.instance !== instance) return 0;
  return yield* onPage(
    view,
    blocks,
    (page) => blocks.filter((block) => finishOne(page, server, block)).length,
  );
}

function finishOne(page: BlockPage, server: ServerId, block: BlockId): boolean {
  const live = page.live(block);
  if (live === undefined || page.copyOn(block, server) !== "bad") return false;
  page.setCopy(block, server, "present");
  page.judge(live, "badReplica");
  return true;
}
