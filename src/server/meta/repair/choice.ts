/**
 * What to do next for a block of the queue, and with which servers. Pure functions of what is on record and of how the
 * servers are.
 *
 *     lacks copies    a bad copy, or one whose making was interrupted, on a server that takes copies: made good there
 *                     else a new copy on a server that has none of the block in any state: those of the placement group
 *                     in their order, then stand-ins, those of zones that have no copy yet and of more free space first
 *                     (but with more than one good copy a server that is being compared with the record is waited for)
 *     too many        the copy that is worst placed goes, when enough others can be read right now and prove to be right
 *     bad, not needed the same, the bad one first
 *     misplaced       a copy on a server of the group, after which there is one too many; for a copy on a server that is
 *                     being drained another one will do, when none of the group is to be waited for
 */
import type { ServerId } from "../../../base/ids.ts";
import type { Batches } from "./batches.ts";
import type { Block, Replica, ReplicaState } from "../store/rows.ts";
import type { Eyes, Seen } from "./eyes.ts";
import type { Loads } from "./loads.ts";
import { MISPLACED, type Need } from "./need.ts";

/** A block that needs something, as it was on record when the queue was read. */
export interface Candidate {
  readonly block: Block;
  readonly replicas: readonly Replica[];
  /** The servers of its placement group, in order. */
  readonly row: readonly ServerId[];
  /** Urgency on record, and what the block needs as things are now. */
  readonly recorded: number;
  readonly need: Need;
}

/** Make a copy on `target`, from the first of `sources` that can give it. */
export interface CopyJob {
  readonly kind: "copy";
  readonly block: Block;
  readonly target: ServerId;
  /** The target has lost its disk and is being refilled: a bad copy there is one that it does not have. */
  readonly isEmptied: boolean;
  readonly sources: readonly Seen[];
  /** State of the copy that is on record there. */
  readonly present: ReplicaState | undefined;
  /** One good copy is within reach: rates do not apply. */
  readonly urgent: boolean;
  /** The block lacks none; this one is to take the place of another. */
  readonly move: boolean;
  /** The block lacks others besides. */
  readonly more: boolean;
}

/** Take the copy on `victim` away, after those on `keepers` have been read good. */
export interface PruneJob {
  readonly kind: "prune";
  readonly block: Block;
  readonly victim: ServerId;
  readonly victimIsBad: boolean;
  readonly keepers: readonly ServerId[];
}

/** Nothing can be copied; find out whether bad copies are as bad as that. */
export interface CheckJob {
  readonly kind: "check";
  readonly block: Block;
  readonly servers: readonly ServerId[];
}

/** What is on record is out of date: a server has come or gone since. */
export interface JudgeJob {
  readonly kind: "judge";
  readonly block: Block;
}

export type Job = CopyJob | PruneJob | CheckJob | JudgeJob;

/** `busy`: when others have ended. `impossible`: as long as servers are as they are. */
export type Choice = Job | "busy" | "impossible";

export interface ChoiceLimits {
  /** Copies that each block should have. */
  readonly replicas: number;
  /** Copies at a time to one server, and from one server. */
  readonly perServer: number;
  /** Those under way now. */
  readonly loads: Pick<Loads, "incoming" | "outgoing">;
  /** Servers that have failed to take a copy of this block lately: others are tried before them. */
  readonly failed: ReadonlySet<ServerId>;
  /** Whether misplaced blocks are moved back. */
  readonly moveMisplaced: boolean;
}

/** What to do for a block now. */
export function choose(candidate: Candidate, eyes: Eyes, limits: ChoiceLimits): Choice {
  const job = decide(candidate, eyes, limits);
  return job === "impossible" || job.kind !== "copy" ? job : whenFree(job, limits);
}

/** What is to be done for a block, be its servers busy or not. Holds as long as these are as they are. */
export function decide(
  candidate: Candidate,
  eyes: Eyes,
  limits: Omit<ChoiceLimits, "loads" | "perServer">,
): Job | "impossible" {
  const { block, need, recorded } = candidate;
  if (need.urgency !== recorded) return { kind: "judge", block };
  if (need.missing > 0) return chooseCopy(candidate, eyes, limits);
  return need.urgency === MISPLACED
    ? chooseMove(candidate, eyes, limits)
    : choosePrune(candidate, eyes, limits.replicas);
}

/**
 * The same copy, from the source with the least to do first; `busy` when its target or all sources have enough to do. Small
 * blocks come in batches: the first of a batch waits until its target has room for a whole one beside those that are being put
 * together, and the others come from the source that the batch has. Small batches would cost as many messages and syncs as full
 * ones.
 */
export function whenFree(
  job: CopyJob,
  { loads, perServer }: Pick<ChoiceLimits, "loads" | "perServer">,
  batches?: Pick<Batches, "takes" | "fits" | "free">,
): CopyJob | "busy" {
  const { target } = job;
  const isBatched = batches?.takes(job) === true;
  const incoming = loads.incoming(target);
  // The best target is waited for: a stand-in that is free now would have to be moved later.
  if (incoming >= perServer) return "busy";
  const joins = ({ server }: Seen): boolean => isBatched && batches.fits(job, server);
  const outgoing = (seen: Seen): number =>
    loads.outgoing(seen.server) - Number(joins(seen)) * perServer;
  const sources = job.sources
    .filter(({ server }) => loads.outgoing(server) < perServer)
    .toSorted((one, other) => outgoing(one) - outgoing(other));
  const isFirst = isBatched && !sources.some(joins);
  if (isFirst && incoming + batches.free(target) > perServer - 1) return "busy";
  if (sources.length === 0) return "busy";
  const others = job.sources.filter((source) => !sources.includes(source));
  return { ...job, sources: [...sources, ...others] };
}

/** Good copies that can be read right now. */
export function withinReach({ need }: Candidate, eyes: Eyes): Seen[] {
  return need.counting
    .map((server) => eyes.of(server))
    .filter((seen): seen is Seen => seen?.usable === true);
}

function chooseCopy(
  candidate: Candidate,
  eyes: Eyes,
  { failed }: Pick<ChoiceLimits, "failed">,
): Job | "impossible" {
  const sources = withinReach(candidate, eyes);
  if (sources.length === 0) return chooseCheck(candidate, eyes);
  if (sources.length > 1 && isSoonMended(candidate, eyes)) return "impossible";
  return copyTo(untried(targetsFor(candidate, eyes), failed), sources, candidate);
}

/** Those that have not failed; all of them when each has: whoever could not take a copy once may be able to now. */
function untried(targets: readonly Seen[], failed: ReadonlySet<ServerId>): readonly Seen[] {
  const others = targets.filter(({ server }) => !failed.has(server));
  return others.length > 0 ? others : targets;
}

/**
 * A bad copy is on a server that is just being compared with the record, and can be made good there when that has come to its
 * end. Otherwise most of what a server has lost would be made on stand-ins while the comparison goes on, and moved back.
 */
function isSoonMended({ replicas }: Candidate, eyes: Eyes): boolean {
  return replicas.some(
    ({ server, state }) => state === "bad" && eyes.of(server)?.isComing === true,
  );
}

function copyTo(
  targets: readonly Seen[],
  sources: readonly Seen[],
  { block, replicas, need }: Candidate,
): CopyJob | "impossible" {
  const best = targets[0];
  if (best === undefined || sources.length === 0) return "impossible";
  return {
    kind: "copy",
    block,
    target: best.server,
    isEmptied: best.isFilling,
    sources,
    present: stateOn(replicas, best.server),
    urgent: sources.length === 1,
    move: need.missing === 0,
    more: need.missing > 1,
  };
}

/** Servers that may get a copy, the best first. */
export function targetsFor({ replicas, row, need }: Candidate, eyes: Eyes): Seen[] {
  const open = eyes.ring.filter(({ usable, hasRoom }) => usable && hasRoom);
  const state = (seen: Seen) => stateOn(replicas, seen.server);
  const begun = open.filter((seen) => state(seen) === "adding");
  const bad = open.filter((seen) => state(seen) === "bad");
  const free = open.filter((seen) => state(seen) === undefined);
  const wanted = row
    .map((server) => free.find((seen) => seen.server === server))
    .filter((seen): seen is Seen => seen !== undefined);
  const zones = new Set(need.counting.map((server) => eyes.of(server)?.zone));
  const standIns = free
    .filter((seen) => !wanted.includes(seen))
    .toSorted(
      (one, other) =>
        Number(zones.has(one.zone)) - Number(zones.has(other.zone)) ||
        other.freeShare - one.freeShare,
    );
  return [...bad, ...begun, ...wanted, ...standIns];
}

/** No good copy is within reach: the bad ones that are may have been taken for bad by mistake. */
function chooseCheck({ block, replicas }: Candidate, eyes: Eyes): Job | "impossible" {
  const servers = replicas
    .filter(({ server, state }) => state === "bad" && eyes.of(server)?.usable === true)
    .map(({ server }) => server);
  return servers.length === 0 ? "impossible" : { kind: "check", block, servers };
}

function chooseMove(
  candidate: Candidate,
  eyes: Eyes,
  limits: Pick<ChoiceLimits, "failed" | "moveMisplaced">,
): Job | "impossible" {
  const { row, replicas, need } = candidate;
  const isLeaving = need.counting.some((server) => eyes.of(server)?.isDraining === true);
  if (!limits.moveMisplaced && !isLeaving) return "impossible";
  const targets = targetsFor(candidate, eyes).filter(
    ({ server }) => (stateOn(replicas, server) ?? "adding") === "adding",
  );
  const homes = targets.filter(({ server }) => row.includes(server));
  const isHomeLeft = homes.some(({ server }) => !limits.failed.has(server));
  const isAwaited = row.some((server) => {
    const seen = eyes.of(server);
    return stateOn(replicas, server) === undefined && seen?.usable === false && !seen.isOut;
  });
  const elsewhere = isLeaving && !isHomeLeft && !isAwaited;
  const open = untried(elsewhere ? targets : homes, limits.failed);
  return copyTo(open, withinReach(candidate, eyes), candidate);
}

function choosePrune(candidate: Candidate, eyes: Eyes, wanted: number): Job | "impossible" {
  const { block, replicas, row, need } = candidate;
  const reachable = withinReach(candidate, eyes).map(({ server }) => server);
  const bad = replicas.find(
    ({ server, state }) => state === "bad" && eyes.of(server)?.usable === true,
  );
  const surplus = need.counting.length > wanted ? worstPlaced(candidate, eyes) : undefined;
  const victim = bad?.server ?? surplus;
  if (victim === undefined) return "impossible";
  const keepers = reachable
    .filter((server) => server !== victim)
    .toSorted((one, other) => rank(row, one) - rank(row, other))
    .slice(0, wanted);
  if (keepers.length < wanted) return "impossible";
  return { kind: "prune", block, victim, victimIsBad: bad !== undefined, keepers };
}

/**
 * Of the copies that can be reached: one on a server that is being drained, else a stand-in rather than one of the group's,
 * the fuller server rather than the other.
 */
function worstPlaced(candidate: Candidate, eyes: Eyes): ServerId | undefined {
  const { row } = candidate;
  return withinReach(candidate, eyes).toSorted(
    (one, other) =>
      Number(other.isDraining) - Number(one.isDraining) ||
      rank(row, other.server) - rank(row, one.server) ||
      one.freeShare - other.freeShare,
  )[0]?.server;
}

/** Place in the row; behind all of them when it is not in it. */
function rank(row: readonly ServerId[], server: ServerId): number {
  const at = row.indexOf(server);
  return at < 0 ? row.length : at;
}

function stateOn(replicas: readonly Replica[], server: ServerId): ReplicaState | undefined {
  return replicas.find((replica) => replica.server === server)?.state;
}
