/**
 * A run of fsck, watched: the metadata service checks, this asks it how far it is and what it has found.
 *
 * Nothing is tried again: a run ends with the connection that began it.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import type { Clock } from "../base/clock.ts";
import { DfsError, isDfsError } from "../base/errors.ts";
import type { InodeId } from "../base/ids.ts";
import type { ReplyOf, RequestDefinition } from "../protocol/message.ts";
import { fsckPoll, fsckStart, fsckStop, type FsckLevel } from "../protocol/messages/fsck.ts";
import { isNoAnswer, pause } from "./retry.ts";
import type { Session } from "./session.ts";

/** For one answer: a run goes on while its service is slow. */
const ANSWER_TIMEOUT_MS = 30_000;

/** Between two questions while there is nothing to fetch. */
const INTERVAL_MS = 100;

export interface FsckOptions {
  readonly level: FsckLevel;
  /** Only look. */
  readonly dryRun: boolean;
  /** What is not mended is given up when for so long nothing was. */
  readonly patienceMs: number;
  /** Ends the run. */
  readonly signal?: CancelSignal;
}

/** How far a run is, and what it has found since the last report. */
export type FsckReport = Omit<ReplyOf<typeof fsckPoll>, "finished">;

/** Yields reports until the run has ended. @throws DfsError as `DfsClient.fsck`. */
export async function* runFsck(
  session: Session,
  clock: Clock,
  inode: InodeId | undefined,
  { level, dryRun, patienceMs, signal }: FsckOptions,
): AsyncGenerator<FsckReport, void> {
  const request = { level, inode: inode ?? null, dryRun, patienceMs };
  const { run } = await asked(session, fsckStart, request);
  try {
    for (let after = 0; ;) {
      const { finished, ...report } = await asked(session, fsckPoll, { run, after });
      after += report.findings.length;
      yield report;
      if (finished) return;
      if (report.findings.length === 0) await pause(clock, INTERVAL_MS, signal);
    }
  } finally {
    await asked(session, fsckStop, { run }).catch((error: unknown) => {
      if (!isDfsError(error)) throw error; // whoever has lost the connection has lost the run
    });
  }
}

/** Asks once. @throws DfsError its error; `unreachable` when there is no answer. */
async function asked<Request, Reply>(
  session: Session,
  definition: RequestDefinition<Request, Reply>,
  body: Request,
): Promise<Reply> {
  try {
    return await session.askOnce(definition, body, ANSWER_TIMEOUT_MS);
  } catch (error) {
    if (!isNoAnswer(error)) throw error;
    throw new DfsError(
      "unreachable",
      "the connection to the metadata service was lost, and with it this run of fsck\n" +
        "what it has put on record for repair is repaired all the same; start it again",
      { cause: error },
    );
  }
}
