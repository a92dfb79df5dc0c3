/**
 * The service of fsck: one run at a time, for the connection that asked for it.
 *
 * A run lives in memory: it ends with its connection or with this process, and the next one begins anew. Nothing depends
 * on its end: what it found of copies is on record for the planner as soon as it is found.
 */
import { DfsError } from "../../../base/errors.ts";
import { LimitedLines } from "../../../base/limited-lines.ts";
import type { HandlerTable } from "../../../protocol/endpoint.ts";
import type { ReplyOf, RequestOf } from "../../../protocol/message.ts";
import { fsckPoll, fsckStart, fsckStop } from "../../../protocol/messages/fsck.ts";
import type { Peer } from "../../../protocol/peer.ts";
import { ask } from "../store/store.ts";
import type { Sessions } from "../sessions.ts";
import type { FsckSurroundings } from "./parts.ts";
import { FsckRun } from "./run.ts";

/** A run that was ended goes on for a moment, with a thread of its own: so many may, before none is begun. */
const MAX_ENDING = 2;

interface Running {
  readonly id: bigint;
  readonly peer: Peer;
  readonly run: FsckRun;
}

export class Fsck {
  private readonly surroundings: FsckSurroundings;
  private running: Running | undefined;
  private last = 0n;
  /** The runs that are ending. */
  private readonly ending = new Set<Promise<void>>();
  /** Connections whose end is waited for. */
  private readonly watched = new WeakSet<Peer>();
  private readonly lines: LimitedLines;
  private stopped = false;

  constructor(surroundings: FsckSurroundings) {
    this.surroundings = surroundings;
    const { logger, clock } = surroundings;
    this.lines = new LimitedLines(logger, clock, ["runs of fsck", "began or ended"]);
  }

  /**
   * Begins a run.
   * @throws DfsError `locked` while another connection has one, or too many are ending; `notFound` when there is no such inode.
   */
  async start(
    peer: Peer,
    { inode, level, dryRun, patienceMs }: RequestOf<typeof fsckStart>,
  ): Promise<ReplyOf<typeof fsckStart>> {
    const { engine } = this.surroundings;
    if (inode !== null) {
      const found = await engine.question(() => ask("inode.get", inode));
      if (found === undefined) throw new DfsError("notFound", `there is no inode ${inode}`);
    }
    if (this.stopped) throw new DfsError("unreachable", "the metadata service is shutting down");
    if (this.running !== undefined && this.running.peer !== peer) {
      throw new DfsError(
        "locked",
        `fsck is running already, for ${this.running.peer.identity.label}\nwait until it has ended, or end it there`,
      );
    }
    const former = this.ending.size + (this.running === undefined ? 0 : 1);
    if (former > MAX_ENDING) {
      throw new DfsError(
        "locked",
        "fsck cannot begin: former runs of it have not ended yet\ntry again in a moment",
      );
    }
    this.end(this.running);
    const request = { level, inode: inode ?? undefined, dryRun, patienceMs };
    const run = new FsckRun(this.surroundings, request);
    const running = { id: ++this.last, peer, run };
    this.running = running;
    this.lines.tell({
      level: "info",
      message: "fsck begins",
      why: `asked for by ${peer.identity.label}`,
      fields: { level, dryRun, inode: inode ?? "all" },
    });
    this.watch(peer);
    return { run: running.id };
  }

  /** @throws DfsError `stale`, and what the run failed of. */
  poll(peer: Peer, body: RequestOf<typeof fsckPoll>): ReplyOf<typeof fsckPoll> {
    const { run } = this.of(peer, body.run);
    const { findings, finished } = run.page(body.after);
    const { found, ...counts } = run.counts;
    return { findings, ...counts, found, waiting: run.waiting, finished };
  }

  /** Ends a run; one that has ended is no error. */
  end(running: Running | undefined): void {
    if (running === undefined || this.running !== running) return;
    this.running = undefined;
    const { found, doneCopies } = running.run.counts;
    const why = `looked at ${doneCopies} copies, found ${found} errors`;
    this.lines.tell({ level: "info", message: "fsck ends", why });
    const ended = running.run.stop().finally(() => this.ending.delete(ended));
    this.ending.add(ended);
  }

  /** Ends the run of this connection, if it is this one. */
  endOf(peer: Peer, id: bigint): void {
    if (this.running?.peer === peer && this.running.id === id) this.end(this.running);
  }

  /** Once for each connection, however many runs it begins. */
  private watch(peer: Peer): void {
    if (this.watched.has(peer)) return;
    this.watched.add(peer);
    void peer.closed.then(() => {
      if (this.running?.peer === peer) this.end(this.running);
    });
  }

  /** Begins nothing any more and waits for what is under way: the connections to data servers must be closed first. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.end(this.running);
    await Promise.all(this.ending);
    this.lines.close();
  }

  private of(peer: Peer, id: bigint): Running {
    if (this.running?.peer === peer && this.running.id === id) return this.running;
    throw new DfsError(
      "stale",
      "this run of fsck has ended: the connection to the metadata service was lost\nstart it again",
    );
  }
}

/** Registers the handlers of the messages of fsck. */
export function serveFsck(table: HandlerTable, sessions: Sessions, fsck: Fsck): void {
  table.onRequest(fsckStart, async ({ peer, body }) => {
    sessions.of(peer);
    return { body: await fsck.start(peer, body) };
  });
  table.onRequest(fsckPoll, ({ peer, body }) => {
    sessions.of(peer);
    return { body: fsck.poll(peer, body) };
  });
  table.onRequest(fsckStop, ({ peer, body }) => {
    sessions.of(peer);
    fsck.endOf(peer, body.run);
    return { body: {} };
  });
}
