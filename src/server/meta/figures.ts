/**
 * Figures of the whole store, counted in a thread of their own, because over millions of rows that takes seconds.
 *
 * They are figures of one moment, a moment ago: of what was committed when the count began. Callers that ask for the
 * same while it has not begun share the answer, so a crowd of them costs no more than two counts.
 */
import { DfsError, messageOf } from "../../base/errors.ts";
import type { ServerId } from "../../base/ids.ts";
import { DatabaseThread } from "./database-thread.ts";
import type { lossesBehind } from "./store/sqlite/losses.ts";
import type {
  CopyCount,
  GroupCount,
  Holding,
  RepairCount,
  ReplicaCount,
  StoreFigures,
} from "./store/primitives/cluster.ts";
import type { CopyFigures } from "./store/sqlite/risks.ts";

export interface BlockFigures extends StoreFigures, CopyFigures {
  /** What is on record for repair. */
  readonly repairs: readonly RepairCount[];
}

/** What is on record on one server. */
export interface ServerFigures {
  readonly holdings: readonly Holding[];
  /** Its copies of blocks that lack some. */
  readonly lacking: CopyCount;
  /** Those of which no copy counts anywhere. */
  readonly lost: CopyCount;
  /** Those that only have to go. */
  readonly surplus: CopyCount;
}

/** A page of files with lost blocks. */
export type LossFigures = ReturnType<typeof lossesBehind>;

/** What can be counted, and what the answer is. */
export interface FigureKinds {
  readonly blocks: BlockFigures;
  readonly replicas: readonly ReplicaCount[];
  readonly inodes: number;
  readonly server: ServerFigures;
  readonly groups: readonly GroupCount[];
  readonly losses: LossFigures;
}

export type FiguresOrder =
  | {
      readonly kind: "count";
      readonly path: string;
      readonly what: keyof FigureKinds;
      /**
       * For `blocks`: the servers whose copies count, and the number of copies from which on they are one class. For
       * `server`: that one. For `losses`: that one or all, and the block behind which they begin.
       */
      readonly servers: readonly ServerId[];
      readonly most: number;
      readonly after: bigint;
    }
  | { readonly kind: "close" };

export type FiguresAnswer =
  | { readonly kind: "counted"; readonly figures: unknown }
  | { readonly kind: "failed"; readonly message: string }
  | { readonly kind: "closed" };

/** Whoever counts: a thread, or a simulator's engine. */
export interface FiguresCounter {
  /** Everything that the store's rows tell, blocks by copies on `servers`; `most` copies or more are one class. */
  blocks(servers: readonly ServerId[], most: number): Promise<BlockFigures>;
  replicas(): Promise<readonly ReplicaCount[]>;
  inodes(): Promise<number>;
  server(server: ServerId): Promise<ServerFigures>;
  groups(): Promise<readonly GroupCount[]>;
  /** Files with blocks behind `after` of which no copy counts; of one server those that it has or had a copy of. */
  losses(server: ServerId | undefined, after: bigint): Promise<LossFigures>;
  close(): Promise<void>;
}

/** Counts in the database at `path`, in a thread of its own. */
export class FiguresThread implements FiguresCounter {
  private readonly path: string;
  private readonly thread = new DatabaseThread<FiguresOrder, FiguresAnswer>(
    new URL("./figures-worker.ts", import.meta.url),
  );
  /** Counts that have not begun, by what they count. */
  private readonly waiting = new Map<string, Promise<unknown>>();
  private last: Promise<unknown> = Promise.resolve();
  private closed = false;

  constructor(path: string) {
    this.path = path;
  }

  blocks(servers: readonly ServerId[], most: number): Promise<BlockFigures> {
    return this.count("blocks", servers, most);
  }

  replicas(): Promise<readonly ReplicaCount[]> {
    return this.count("replicas");
  }

  inodes(): Promise<number> {
    return this.count("inodes");
  }

  server(server: ServerId): Promise<ServerFigures> {
    return this.count("server", [server]);
  }

  groups(): Promise<readonly GroupCount[]> {
    return this.count("groups");
  }

  losses(server: ServerId | undefined, after: bigint): Promise<LossFigures> {
    return this.count("losses", server === undefined ? [] : [server], 0, after);
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.last;
    await this.thread.close({ kind: "close" });
  }

  private count<What extends keyof FigureKinds>(
    what: What,
    servers: readonly ServerId[] = [],
    most = 0,
    after = 0n,
  ): Promise<FigureKinds[What]> {
    const key = `${what} ${servers.join(",")} ${most} ${after}`;
    const shared = this.waiting.get(key);
    if (shared !== undefined) return shared as Promise<FigureKinds[What]>;
    const counted = this.last.then(() => {
      this.waiting.delete(key);
      return this.ask({ kind: "count", path: this.path, what, servers, most, after });
    });
    this.waiting.set(key, counted);
    this.last = counted.catch(() => undefined); // whoever asked is told; the next count goes on
    return counted as Promise<FigureKinds[What]>;
  }

  private async ask(order: FiguresOrder): Promise<unknown> {
    if (this.closed) throw failed("the service is shutting down");
    let answer: FiguresAnswer;
    try {
      answer = await this.thread.ask(order);
    } catch (error) {
      throw failed(messageOf(error));
    }
    if (answer.kind === "counted") return answer.figures;
    throw failed(answer.kind === "failed" ? answer.message : "the thread has ended");
  }
}

function failed(reason: string): DfsError {
  return new DfsError("internal", `cannot count what is in the metadata database: ${reason}`);
}
