/**
 * Which data server holds which backups, as this process knows: asked when a server registers, kept up when one is sent or
 * deleted. The truth is on the servers.
 *
 * A backup is of this database's own past when its position lies in the chain of reigns. Others are of a life that was
 * given up when an older copy was accepted.
 */
import type { Lsn, ServerId } from "../../../base/ids.ts";
import type { BackupManifest } from "../../../protocol/messages/backup.ts";
import { endOfReign } from "../reign.ts";
import type { Operation } from "../store/store.ts";
import { byAge } from "./retention.ts";

export interface Held {
  readonly own: readonly BackupManifest[];
  readonly foreign: readonly BackupManifest[];
}

export interface NewestBackup {
  readonly manifest: BackupManifest;
  /** In order of id. */
  readonly servers: readonly ServerId[];
}

export class Holdings {
  private readonly held = new Map<ServerId, Held>();

  set(server: ServerId, held: Held): void {
    this.held.set(server, held);
  }

  of(server: ServerId): Held {
    return this.held.get(server) ?? { own: [], foreign: [] };
  }

  /** Whether it is known what the server holds. */
  isKnown(server: ServerId): boolean {
    return this.held.has(server);
  }

  /** The server has taken a backup of this life. */
  add(server: ServerId, manifest: BackupManifest): void {
    const { own, foreign } = this.of(server);
    const others = own.filter((each) => each.backup !== manifest.backup);
    this.held.set(server, { own: [manifest, ...others], foreign });
  }

  remove(server: ServerId, backups: readonly bigint[]): void {
    const { own, foreign } = this.of(server);
    const stays = ({ backup }: BackupManifest): boolean => !backups.includes(backup);
    this.held.set(server, { own: own.filter(stays), foreign: foreign.filter(stays) });
  }

  /** The server is not on record any more. */
  forget(server: ServerId): void {
    this.held.delete(server);
  }

  /** Forgets what servers other than these hold: they have been removed. */
  keep(servers: ReadonlySet<ServerId>): void {
    for (const server of this.held.keys()) if (!servers.has(server)) this.held.delete(server);
  }

  /** The newest backup of this life; `but` this one. */
  newest(but?: bigint): NewestBackup | undefined {
    const all = [...this.held.values()]
      .flatMap(({ own }) => own)
      .filter(({ backup }) => backup !== but);
    const [first, ...rest] = all;
    if (first === undefined) return undefined;
    const manifest = rest.reduce((one, other) => (byAge(other, one) < 0 ? other : one), first);
    const servers = [...this.held]
      .filter(([, { own }]) => own.some(({ backup }) => backup === manifest.backup))
      .map(([server]) => server)
      .toSorted((one, other) => one - other);
    return { manifest, servers };
  }
}

/** Tells backups of this database's past from others. `current` is its present position. */
export function* sorted(manifests: readonly BackupManifest[], current: Lsn): Operation<Held> {
  const own: BackupManifest[] = [];
  const foreign: BackupManifest[] = [];
  for (const manifest of manifests) {
    const end = yield* endOfReign(manifest.reign, current);
    (end !== undefined && manifest.lsn <= end ? own : foreign).push(manifest);
  }
  return { own, foreign };
}
