/** What clients may ask about backups and about what is quarantined. */
import type { HandlerTable } from "../../../protocol/endpoint.ts";
import {
  clusterBackup,
  clusterQuarantine,
  MAX_BACKUP_WAIT_MS,
} from "../../../protocol/messages/backup.ts";
import type { Quarantine } from "../quarantine.ts";
import type { Sessions } from "../sessions.ts";
import type { Backups } from "./backups.ts";

export interface BackupServiceOptions {
  readonly sessions: Sessions;
  readonly backups: Backups;
  readonly quarantine: Quarantine;
}

export function serveBackups(table: HandlerTable, options: BackupServiceOptions): void {
  const { sessions, backups, quarantine } = options;
  table.onRequest(
    clusterBackup,
    async ({ peer, body }) => {
      sessions.of(peer);
      const waitMs = body.waitMs ?? MAX_BACKUP_WAIT_MS;
      return { body: await backups.outcome(body.backup ?? backups.begin(), waitMs) };
    },
    { turns: "none" },
  );
  table.onRequest(
    clusterQuarantine,
    async ({ peer, body }) => {
      sessions.of(peer);
      return { body: await quarantine.page(body.server, body.after) };
    },
    { turns: "own" },
  );
}
