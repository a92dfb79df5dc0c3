/**
 * Tells the metadata service, and once for each server the user, of replicas that could not be read or verified.
 * A report is a hint that starts a repair; one that is lost is made again by the next reader, or by a scrub.
 */
import { messageOf } from "../base/errors.ts";
import type { BlockId } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";
import { reportReplica } from "../protocol/messages/cluster.ts";
import type { ReplicaProblem } from "./api.ts";
import type { ReplicaFailure } from "./block-reader.ts";
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
  private readonly reported = new Set<string>();

  constructor(session: Session, warnings: Warnings, logger: Logger) {
    this.session = session;
    this.warnings = warnings;
    this.logger = logger;
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
    this.session
      .ask(reportReplica, { block, server, problem, detail: reason.slice(0, MAX_DETAIL) })
      .catch((error: unknown) => {
        this.reported.delete(key);
        this.logger.debug(
          `could not report block ${block} on server ${server}: ${messageOf(error)}`,
        );
      });
  }
}
