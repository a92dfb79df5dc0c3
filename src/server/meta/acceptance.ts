/**
 * Accepting an older copy of the database as the right one, because the newer one is lost: `dfs meta --accept-older`, and
 * what `dfs meta restore` does to the copy that it brings back.
 *
 * An acceptance is one transaction, run before the database serves. What it must see to:
 *
 *     data servers have seen later states     each acceptance has a random number, told to them in `member.chain`; one
 *                                             that a server does not know yet makes it go along, once (data/join.ts)
 *     ids were given out since                inodes, blocks and sessions go on from a mark made of the clock, which is
 *                                             above everything that any earlier life of the database gave out
 *     blocks were stored since                nothing names them: they are left where they are (reconcile.ts)
 *     sessions went on since                  all are ended; clients begin anew and write again what was not finished
 *     reserved blocks were committed since    reservations are forgotten, so that the reaper never takes their blocks for
 *                                             orphans
 *     nameless files got a name since         they are forgotten with their extents; blocks that only they had become
 *                                             unknown ones, not dead ones
 *     copies were moved since                 copies on record as being made or removed are forgotten, so that no server
 *                                             is told to delete one that may be the last by now; what it holds is found
 *                                             when it registers
 *     servers joined since                    ids of servers go on further up; one that comes with an id in between is
 *                                             taken in as the server that it says it is (member-operations.ts)
 *
 * Nothing that is newer than the copy is deleted. What was dead in the copy is dead for good: a block never comes back
 * from that state.
 *
 * Acceptances are kept in the table `meta` under `acceptances`, as JSON.
 */
import { DfsError } from "../../base/errors.ts";
import { serverId, type ServerId } from "../../base/ids.ts";
import { MAX_ACCEPTANCES, MAX_SERVERS } from "../../base/limits.ts";
import type { Random } from "../../base/random.ts";
import type { IdKind } from "./id-ranges.ts";
import { SERVER_COUNTER } from "./server-ids.ts";
import { forgetUnsettled } from "./store/sqlite/acceptance.ts";
import type { SqliteStore } from "./store/sqlite/store.ts";
import { ask, runSync, type Operation } from "./store/store.ts";

const ACCEPTANCES_KEY = "acceptances";

const COUNTED: readonly IdKind[] = ["inode", "block", "session"];

/** The mark rises by at least this much, should the clock stand in the past. */
const LEAST_SKIP = 1n << 40n;

/** Ids for each millisecond of the clock: many more than could be given out in one. */
const IDS_PER_MS_BITS = 20n;

/**
 * Ids of servers that are left, at least, to those that joined in the time that is lost: as many as a cluster can have. New
 * servers go on at the next thousand, so that people see where another life began: 1, 2, 3, 4, 2000.
 */
const SERVERS_SKIPPED = BigInt(MAX_SERVERS);
const ROUND = 1_000n;

const NS_PER_MS = 1_000_000n;

export interface Acceptance {
  /** Random; not 0. */
  readonly acceptance: bigint;
  readonly acceptedNs: bigint;
  /** Servers with ids above the first and up to the second may have joined in the time that was lost. */
  readonly servers: { readonly above: ServerId; readonly upTo: ServerId };
}

/** All acceptances in the past of this database, the last one last. @throws DfsError `invalid` when they cannot be read. */
export function* acceptances(): Operation<readonly Acceptance[]> {
  return parse(yield* ask("meta.get", ACCEPTANCES_KEY));
}

/** Whether a server that the database does not know may have joined in a time that was lost. */
export function* mayHaveJoined(server: ServerId): Operation<boolean> {
  const known = yield* acceptances();
  return known.some(({ servers }) => server > servers.above && server <= servers.upTo);
}

/**
 * Accepts the database as it is, in a transaction of its own. To be called before ids are taken and before a reign begins;
 * the caller makes it durable.
 */
export function acceptOlder(store: SqliteStore, random: Random, nowNs: bigint): Acceptance {
  return store.transaction(() => {
    forgetUnsettled(store.database, nowNs);
    return runSync(store.primitives, accept(random, nowNs));
  });
}

function* accept(random: Random, nowNs: bigint): Operation<Acceptance> {
  for (const kind of COUNTED) {
    const mark = yield* ask("counter.get", kind);
    yield* ask("counter.put", kind, markAfterLoss(mark, nowNs));
  }
  const above = yield* ask("counter.get", SERVER_COUNTER);
  const upTo = lastServerSkipped(above);
  yield* ask("counter.put", SERVER_COUNTER, upTo);
  const acceptance: Acceptance = {
    acceptance: random.id64(),
    acceptedNs: nowNs,
    servers: { above: serverId(Number(above)), upTo: serverId(Number(upTo)) },
  };
  const all = [...(yield* acceptances()), acceptance].slice(-MAX_ACCEPTANCES);
  yield* ask("meta.put", ACCEPTANCES_KEY, format(all));
  return acceptance;
}

/**
 * Where ids go on when nobody knows which were given out since the mark was `mark`. Two lives of a database that begin
 * from the same copy must not meet either, hence the clock: the later one begins above all that the earlier one can have
 * given out.
 */
export function markAfterLoss(mark: bigint, nowNs: bigint): bigint {
  const byClock = (nowNs / NS_PER_MS) << IDS_PER_MS_BITS;
  const least = mark + LEAST_SKIP;
  return byClock > least ? byClock : least;
}

function lastServerSkipped(above: bigint): bigint {
  return ((above + SERVERS_SKIPPED) / ROUND + 1n) * ROUND - 1n;
}

type Stored = readonly [acceptance: string, acceptedNs: string, above: number, upTo: number];

function format(all: readonly Acceptance[]): string {
  const rows: Stored[] = all.map(({ acceptance, acceptedNs, servers }) => [
    String(acceptance),
    String(acceptedNs),
    servers.above,
    servers.upTo,
  ]);
  return JSON.stringify(rows);
}

function parse(text: string | undefined): Acceptance[] {
  if (text === undefined) return [];
  try {
    return (JSON.parse(text) as Stored[]).map(([acceptance, acceptedNs, above, upTo]) => ({
      acceptance: BigInt(acceptance),
      acceptedNs: BigInt(acceptedNs),
      servers: { above: serverId(above), upTo: serverId(upTo) },
    }));
  } catch (error) {
    throw new DfsError(
      "invalid",
      `the metadata database is damaged: its list of acceptances cannot be read: ${text.slice(0, 200)}`,
      { cause: error },
    );
  }
}
