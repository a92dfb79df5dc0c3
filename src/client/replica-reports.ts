/**
 * Tells the metadata service, and once for each server the user, of replicas that could not be read or verified.
 * A report is a hint that starts a repair; one that is lost is made again by the next reader, or by a scrub.
 */
import { Cancellation } from "../base/cancellation.ts";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { BlockId } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";
import type { RequestOf } from "../protocol/message.ts";
import { reportReplica } from "../protocol/messages/cluster.ts";
import type { ReplicaProblem } from "./api.ts";
import type { ReplicaFailure } from "./block-reader.ts";
import { Deadline, pause } from "./retry.ts";
import type { Session } from "./session.ts";
import type { Warnings } from "./warnings.ts";

/** Reports remembered, so that they are not repeated. */
const MAX_REMEMBERED = 4096;

const MAX_DETAIL = 500;

const SAID: Readonly<Record<ReplicaProblem, string>> = {
  badChecksum: "has a corrupted copy of",
  missing: "lacks its copy of",
  unreadable: "cannot read its copy of",
};

export class ReplicaReports {
  private readonly session: Session;
  private readonly warnings: Warnings;
  private readonly logger: Logger;
  private readonly clock: Clock;
  private readonly reported = new Set<string>();
  /** Reports, and what may still become one, on their way. */
  private readonly pending = new Set<Promise<void>>();

  constructor(session: Session, warnings: Warnings, logger: Logger, clock: Clock) {
    this.session = session;
    this.warnings = warnings;
    this.logger = logger;
    this.clock = clock;
  }

  /** Reports one replica. */
  report(
    block: BlockId,
    { server, reason }: Pick<ReplicaFailure, "server" | "reason">,
    problem: ReplicaProblem,
  ): void {
    const key = `${block} ${server}`;
    if (this.reported.has(key)) return;
    if (this.reported.size >= MAX_REMEMBERED) this.reported.clear();
    this.reported.add(key);
    this.warnings.warn({
      kind: "badReplica",
      server,
      block,
      message: `data server ${server} ${SAID[problem]} block ${block}; it was reported for repair: ${reason}`,
    });
    const detail = reason.slice(0, MAX_DETAIL);
    this.expect(this.send({ block, server, problem, detail }, key));
  }

  /** Has {@link delivered} wait for `work` as well, which may end in a report; it must not fail. */
  expect(work: Promise<void>): void {
    this.pending.add(work);
    void work.finally(() => this.pending.delete(work));
  }

  /**
   * Resolves when all reports have arrived or failed, at the latest after `timeoutMs`. A client that reads one file and ends
   * is for many copies the only one that ever meets them.
   */
  async delivered(timeoutMs: number): Promise<void> {
    const deadline = new Deadline(this.clock, timeoutMs);
    const over = new Cancellation();
    const timeUp = pause(this.clock, timeoutMs, over).catch(() => undefined);
    while (this.pending.size > 0 && !deadline.passed) {
      await Promise.race([timeUp, Promise.all(this.pending)]);
    }
    over.abort();
    await timeUp;
  }

  private async send(report: RequestOf<typeof reportReplica>, key: string): Promise<void> {
    try {
      await this.session.ask(reportReplica, report);
    } catch (error) {
      this.reported.delete(key);
      const { block, server } = report;
      this.logger.debug(`could not report block ${block} on server ${server}: ${messageOf(error)}`);
    }
  }
}
