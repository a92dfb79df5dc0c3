/**
 * The blocks of the queue that wait in memory, and what is to be done for each: decided once, when a block comes in, and
 * anew for all when a server is in another state.
 *
 * They are kept in groups that are begun in order: by the copies within reach, then by those that count; and, because
 * blocks for one server wait for that server together, by where the copy is to be made. So what is looked at when a job
 * has ended does not grow with the number of blocks that wait.
 */
import type { BlockId } from "../../../base/ids.ts";
import { decide, withinReach, type Candidate, type ChoiceLimits, type Job } from "./choice.ts";
import { isSameView, type Eyes } from "./eyes.ts";

/** What decisions depend on besides the servers. */
export type DecisionLimits = (block: BlockId) => Omit<ChoiceLimits, "loads" | "perServer">;

interface Waiting {
  readonly candidate: Candidate;
  readonly job: Job;
}

interface Group {
  readonly copies: number;
  readonly counting: number;
  readonly waiting: Map<BlockId, Waiting>;
}

/** So many blocks of a group are tried that cannot begin now, before the rest of the group is left for later. */
const MOST_MISSES = 16;

export class Room {
  private readonly limits: DecisionLimits;
  private readonly groups = new Map<string, Group>();
  private readonly groupOf = new Map<BlockId, string>();
  private eyes: Eyes | undefined;

  constructor(limits: DecisionLimits) {
    this.limits = limits;
  }

  get size(): number {
    return this.groupOf.size;
  }

  /** The servers as they are now. Returns whether that is news: then everything is decided anew. */
  see(eyes: Eyes): boolean {
    const isNews = this.eyes === undefined || !isSameView(this.eyes, eyes);
    this.eyes = eyes;
    if (!isNews) return false;
    const waiting = [...this.groups.values()].flatMap((group) => [...group.waiting.values()]);
    this.groups.clear();
    this.groupOf.clear();
    for (const { candidate } of waiting) this.add(candidate);
    return true;
  }

  /**
   * Takes a block in, in the place of what was known of it before. It is left out when nothing can be done for it: returns
   * false then.
   */
  add(candidate: Candidate): boolean {
    const { id } = candidate.block;
    this.remove(id);
    if (this.eyes === undefined) return false;
    const job = decide(candidate, this.eyes, this.limits(id));
    if (job === "impossible") return false;
    const copies = withinReach(candidate, this.eyes).length;
    const counting = candidate.need.counting.length;
    const key = `${copies} ${counting} ${job.kind} ${job.kind === "copy" ? job.target : ""}`;
    let group = this.groups.get(key);
    if (group === undefined) {
      group = { copies, counting, waiting: new Map() };
      this.groups.set(key, group);
    }
    group.waiting.set(id, { candidate, job });
    this.groupOf.set(id, key);
    return true;
  }

  /**
   * Offers jobs, the most urgent first. `begin` says whether it has begun the job, which is then forgotten here; "stop" ends
   * it.
   */
  offer(begin: (job: Job) => boolean | "stop"): void {
    const groups = [...this.groups.values()].toSorted(
      (one, other) => one.copies - other.copies || one.counting - other.counting,
    );
    for (const { waiting } of groups) {
      let misses = 0;
      for (const { job } of waiting.values()) {
        const begun = begin(job);
        if (begun === "stop") return;
        if (begun) this.remove(job.block.id);
        else if (++misses >= MOST_MISSES) break;
      }
    }
  }

  private remove(block: BlockId): void {
    const key = this.groupOf.get(block);
    if (key === undefined) return;
    this.groupOf.delete(block);
    const { waiting } = this.groups.get(key)!;
    waiting.delete(block);
    if (waiting.size === 0) this.groups.delete(key);
  }
}
