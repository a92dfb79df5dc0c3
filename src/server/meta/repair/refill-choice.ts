/**
 * Which blocks a pass orders, out of those that are on record with urgency REFILL and lack their copy on the server that is refilled.
 * Pure functions of what is on record and of how the servers are.
 *
 *     urgent     just one other copy is within reach, though two or more are wanted: they go first, and rates do not apply
 *     rest       all others of which a copy is within reach
 *     (none)     no copy is within reach: nobody can do anything until its servers are back
 *
 * A copy on a server that is out does not exist here, as for need.ts.
 */
import type { ServerId } from "../../../base/ids.ts";
import { MAX_BATCHABLE_BYTES } from "../../../base/limits.ts";
import type { Holders, RefillRow } from "../store/primitives/refills.ts";
import type { ClusterView } from "./need.ts";

/** What of a server's refill is looked for. */
export interface RefillTarget {
  readonly server: ServerId;
  /** Who can give copies: servers that are up or being drained, connected and compared with the record. */
  readonly sources: ReadonlySet<ServerId>;
  readonly which: "urgent" | "rest";
}

/** How the other copies of a block stand. */
interface Standing {
  /** They are all that it should have, and nothing else is amiss. */
  readonly isComplete: boolean;
  /** The servers whose copy counts. */
  readonly counting: readonly ServerId[];
  /** The same holders, of those that are present only the ones that can give the block. */
  readonly reachable: Holders;
}

/** `skipped`: it is another time's turn, or nobody's. `left`: the planner is to look at it. */
export type RefillChoice = RefillRow | "skipped" | "left";

/** Chooses among the rows of a page. */
export class RefillChooser {
  private readonly view: ClusterView;
  private readonly target: RefillTarget;
  /** Few combinations of servers are many. */
  private readonly standings = new Map<Holders, Standing>();

  /** `view` has the placement rows of all groups that it is asked about. */
  constructor(view: ClusterView, target: RefillTarget) {
    this.view = view;
    this.target = target;
  }

  /** What to do with the row; a row that is to be ordered has the servers that can give it as present holders. */
  choose(row: RefillRow): RefillChoice {
    const { isComplete, reachable } = this.standingOf(row.holders);
    if (!isComplete) return "left";
    const copies = reachable.present.length;
    if (copies === 0) return "skipped";
    const isUrgent = copies === 1 && this.view.replicas > 2;
    if (isUrgent !== (this.target.which === "urgent")) return isUrgent ? "left" : "skipped";
    if (row.length > MAX_BATCHABLE_BYTES) return "left";
    return reachable === row.holders ? row : { ...row, holders: reachable };
  }

  /** Whether the block needs nothing more when it has this copy: all are on servers of its group, none of which is being drained. */
  isAllItNeeds(row: RefillRow): boolean {
    const group = this.view.rows.get(row.group);
    if (group === undefined || !group.includes(this.target.server)) return false;
    return this.standingOf(row.holders).counting.every(
      (server) => group.includes(server) && this.view.servers.get(server)?.state !== "draining",
    );
  }

  private standingOf(holders: Holders): Standing {
    let standing = this.standings.get(holders);
    if (standing === undefined) {
      standing = this.lookAt(holders);
      this.standings.set(holders, standing);
    }
    return standing;
  }

  private lookAt(holders: Holders): Standing {
    const { view, target } = this;
    const isThere = (server: ServerId): boolean =>
      (view.servers.get(server)?.state ?? "out") !== "out";
    const counting = holders.present.filter(isThere);
    const others = holders.others.filter(isThere);
    const present = counting.filter((server) => target.sources.has(server));
    const isOnly = others.length === 1 && others[0] === target.server;
    return {
      isComplete: isOnly && counting.length === view.replicas - 1,
      counting,
      reachable: present.length === holders.present.length ? holders : { ...holders, present },
    };
  }
}
