/**
 * A run of fsck, watched: the metadata service checks, this asks it how far it is and what it has found.
 *
 * A run ends with the connection that began it. Then another one is begun, as soon as the service is there again, and what it
 * finds takes the place of what was left before.
 */
import type { CancelSignal } from "../base/cancellation.ts";
import type { Clock } from "../base/clock.ts";
import { DfsError, isDfsError } from "../base/errors.ts";
import type { InodeId } from "../base/ids.ts";
import type { ReplyOf, RequestDefinition, RequestOf } from "../protocol/message.ts";
import { fsckPoll, fsckStart, fsckStop, type FsckLevel } from "../protocol/messages/fsck.ts";
import { Deadline, isNoAnswer, pause } from "./retry.ts";
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

/** How often a run is begun again: what ends the service each time may be fsck itself. */
const MAX_BEGUN_AGAIN = 3;

/** After a loss, how long the service may still take the lost run for one that is under way. */
const LOCKED_MS = 10_000;

/** How far a run is, and what it has found since the last report. */
export interface FsckReport extends Omit<ReplyOf<typeof fsckPoll>, "finished"> {
  /** The connection was lost, and with it the run: this is the first report of another one, which begins at the beginning. */
  readonly begunAgain: boolean;
}

/** Yields reports until a run has ended by itself. @throws DfsError as `DfsClient.fsck`. */
export async function* runFsck(
  session: Session,
  clock: Clock,
  inode: InodeId | undefined,
  options: FsckOptions,
): AsyncGenerator<FsckReport, void> {
  for (let losses = 0; ; losses++) {
    try {
      return yield* oneRun(session, clock, inode, options, losses > 0);
    } catch (error) {
      if (!(error instanceof RunLost)) throw error;
      if (losses === MAX_BEGUN_AGAIN) throw error.lost();
    }
  }
}

/** @throws RunLost when the connection is lost; DfsError as `DfsClient.fsck`. */
async function* oneRun(
  session: Session,
  clock: Clock,
  inode: InodeId | undefined,
  { level, dryRun, patienceMs, signal }: FsckOptions,
  isAgain: boolean,
): AsyncGenerator<FsckReport, void> {
  const request = { level, inode: inode ?? null, dryRun, patienceMs };
  const run = await begun(session, clock, request, isAgain, signal);
  try {
    let begunAgain = isAgain;
    for (let after = 0; ;) {
      const { finished, ...report } = await asked(session, fsckPoll, { run, after });
      after += report.findings.length;
      yield { ...report, begunAgain };
      begunAgain = false;
      if (finished) return;
      if (report.findings.length === 0) await pause(clock, INTERVAL_MS, signal);
    }
  } finally {
    await asked(session, fsckStop, { run }).catch((error: unknown) => {
      const isOver = error instanceof RunLost || isDfsError(error);
      if (!isOver) throw error; // whoever has lost the connection has lost the run
    });
  }
}

/** Begins a run, on a new connection if need be; returns its number. */
async function begun(
  session: Session,
  clock: Clock,
  request: RequestOf<typeof fsckStart>,
  isAgain: boolean,
  signal: CancelSignal | undefined,
): Promise<bigint> {
  const deadline = new Deadline(clock, LOCKED_MS);
  for (;;) {
    try {
      // Sent again it begins anew: a run that was begun on a lost connection ends with that.
      return (await session.ask(fsckStart, request, { signal })).run;
    } catch (error) {
      if (!isAgain || !isDfsError(error, "locked") || deadline.passed) throw error;
      await pause(clock, INTERVAL_MS, signal);
    }
  }
}

/** The run has ended with its connection. */
class RunLost extends Error {
  /** What that is when it happens too often. */
  lost(): DfsError {
    return new DfsError(
      "unreachable",
      "the connection to the metadata service was lost again and again, and with it each run of fsck\n" +
        "what they have put on record for repair is repaired all the same; see the service's log, then start it again",
      { cause: this.cause },
    );
  }
}

/** Asks once. @throws DfsError its error; RunLost when there is no answer. */
async function asked<Request, Reply>(
  session: Session,
  definition: RequestDefinition<Request, Reply>,
  body: Request,
): Promise<Reply> {
  try {
    return await session.askOnce(definition, body, ANSWER_TIMEOUT_MS);
  } catch (error) {
    if (!isNoAnswer(error) && !isDfsError(error, "stale")) throw error;
    throw new RunLost("the run of fsck was lost", { cause: error });
  }
}
