/** Brings a backup onto as many data servers as should hold it; others take the place of those that fail. */
import { DfsError, messageOf } from "../../../base/errors.ts";
import type { ServerId } from "../../../base/ids.ts";
import type { Logger } from "../../../base/logger.ts";
import type { Commands } from "../commands.ts";
import type { Member } from "../members.ts";
import { sendBackup, type ReadyBackup } from "./send.ts";

const MAX_REASON = 500;

export interface Failure {
  readonly server: ServerId;
  readonly reason: string;
}

/** Where a backup went. */
export interface Distributed {
  /** In order of id. */
  readonly servers: readonly ServerId[];
  readonly failures: readonly Failure[];
}

export interface DistributeOptions {
  readonly commands: Commands;
  readonly logger: Logger;
  /** In the order in which they are to be asked. */
  readonly members: readonly Member[];
  readonly wanted: number;
  /** Servers have taken so many bytes more; less, when one of them did not take all. */
  readonly onSent?: ((bytes: number) => void) | undefined;
  /** The server holds it. */
  readonly onHeld: (member: Member) => Promise<void>;
}

/** @throws DfsError `quorum` when no server has taken it. */
export async function distribute(
  ready: ReadyBackup,
  { commands, logger, members, wanted, onSent, onHeld }: DistributeOptions,
): Promise<Distributed> {
  const servers: ServerId[] = [];
  const failures: Failure[] = [];
  const give = async (member: Member): Promise<void> => {
    let taken = 0;
    const onTaken = (bytes: number): void => {
      taken += bytes;
      onSent?.(bytes);
    };
    try {
      await sendBackup(commands, member, ready, onTaken);
    } catch (error) {
      onSent?.(-taken);
      const reason = messageOf(error);
      logger.warn(`data server ${member.server} did not take a backup of the metadata: ${reason}`);
      failures.push({ server: member.server, reason: reason.slice(0, MAX_REASON) });
      return;
    }
    servers.push(member.server);
    await onHeld(member);
  };
  for (let next = 0; next < members.length && servers.length < wanted;) {
    const missing = wanted - servers.length;
    await Promise.all(members.slice(next, next + missing).map(give));
    next += missing;
  }
  if (servers.length === 0) throw nobody(failures);
  return { servers: servers.toSorted((one, other) => one - other), failures };
}

function nobody(failures: readonly Failure[]): DfsError {
  if (failures.length === 0) {
    return new DfsError(
      "quorum",
      "cannot back up the metadata: no data server is connected\nstart the data servers: dfs server list shows them",
    );
  }
  const reasons = failures.map(({ server, reason }) => `server ${server}: ${reason}`);
  return new DfsError(
    "quorum",
    `cannot back up the metadata: no data server took the backup\n${reasons.join("\n")}`,
  );
}
