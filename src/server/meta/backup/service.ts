/** What clients may ask about backups and about what is quarantined. */
import type { HandlerTable } from "../../../protocol/endpoint.ts";
import { clusterBackup, clusterQuarantine } from "../../../protocol/messages/backup.ts";
import type { Quarantine } from "../quarantine.ts";
import type { Sessions } from "../sessions.ts";
import type { Backups } from "./backups.ts";

/** A backup that takes longer is asked about again. */
const ANSWER_MS = 5_000;

export interface BackupServiceOptions {
  readonly sessions: Sessions;
  readonly backups: Backups;
  readonly quarantine: Quarantine;
}

export function serveBackups(table: HandlerTable, options: BackupServiceOptions): void {
  const { sessions, backups, quarantine } = options;
  table.onRequest(clusterBackup, async ({ peer, body }) => {
    sessions.of(peer);
    return { body: await backups.outcome(body.backup ?? backups.begin(), ANSWER_MS) };
  });
  table.onRequest(clusterQuarantine, async ({ peer, body }) => {
    sessions.of(peer);
    return { body: await quarantine.page(body.server, body.after) };
  });
}
