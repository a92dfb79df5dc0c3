/**
 * Has the metadata service make a backup and waits until it is made. A backup that is lost with the service is made again when that
 * is back.
 */
import { sleep, type Clock } from "../base/clock.ts";
import { isDfsError } from "../base/errors.ts";
import { clusterBackup } from "../protocol/messages/backup.ts";
import { servers } from "../protocol/messages/cluster.ts";
import type { BackupOutcome } from "./api.ts";
import type { Session } from "./session.ts";

/** It is asked about so often when it is watched, and data servers are when they are waited for. */
const LOOK_MS = 250;

/** Resolves with what became of it. @throws DfsError `quorum` when no data server took it. */
export async function backUp(
  session: Session,
  clock: Clock,
  onProgress?: (outcome: BackupOutcome) => void,
): Promise<BackupOutcome> {
  const waitMs = onProgress === undefined ? null : LOOK_MS;
  const ask = (backup: bigint | null): Promise<BackupOutcome> =>
    session.ask(clusterBackup, { backup, waitMs });
  let outcome = await ask(null);
  while (!outcome.done) {
    onProgress?.(outcome);
    outcome = await ask(outcome.backup).catch(async (error: unknown) => {
      if (!isDfsError(error, "notFound")) throw error;
      await untilHeard(session, clock); // the service was started anew, and knows nothing of it
      return ask(null);
    });
  }
  return outcome;
}

/** After a start of the service its data servers come one by one; those that do not are down after a while. */
async function untilHeard(session: Session, clock: Clock): Promise<void> {
  for (;;) {
    const { servers: rows } = await session.ask(servers, {});
    if (rows.every(({ state }) => state !== "suspect")) return;
    await sleep(clock, LOOK_MS);
  }
}
