/**
 * What a data server answers about backups of the metadata.
 *
 *     its own listener                  data.backupList, data.backupGet       whoever restores a lost metadata server
 *     its connection to the service     data.backupPut, data.backupCommit, data.backupDelete, data.backupList
 *
 * Listing and reading depend on nothing but the directory: they are answered while there is no metadata service at all,
 * and while the one that there is has an older database than this server has seen.
 */
import type { ServerId } from "../../base/ids.ts";
import { BACKUP_CHUNK_BYTES } from "../../base/limits.ts";
import type { HandlerTable } from "../../protocol/endpoint.ts";
import type { ReplyOf, RequestOf } from "../../protocol/message.ts";
import {
  backupCommit,
  backupDelete,
  backupGet,
  backupList,
  backupPut,
} from "../../protocol/messages/backup.ts";
import type { BackupStore, ListedBackup } from "./backups.ts";
import type { CommandOrder } from "./command-order.ts";
import type { DataHandlers, ServedLog } from "./handlers.ts";

export interface BackupHandlerOptions {
  readonly store: BackupStore;
  readonly served: ServedLog;
  readonly order: CommandOrder;
  /** This server's id, once it has one. */
  readonly server: () => ServerId | undefined;
}

/** Adds the handlers to both tables. */
export function addBackupHandlers(tables: DataHandlers, options: BackupHandlerOptions): void {
  answerQuestions(tables.forClients, options);
  answerQuestions(tables.forService, options);
  takeCommands(tables.forService, options);
}

function answerQuestions(table: HandlerTable, { store, server }: BackupHandlerOptions): void {
  let former: Promise<unknown> = Promise.resolve();
  // One at a time: a backup is read whole to be verified, and dozens that are being read would take much memory.
  const listInTurn = (body: RequestOf<typeof backupList>): ReturnType<typeof listed> => {
    const list = former.then(() => listed(store, body));
    former = list.catch(() => undefined); // who asked is told
    return list;
  };
  table.onRequest(
    backupList,
    async ({ body }) => ({
      body: { server: server() ?? null, ...(await listInTurn(body)) },
    }),
    { turns: "own" },
  );
  table.onRequest(
    backupGet,
    async ({ body: { backup, chunk } }) => {
      const { chunks, bytes } = await store.get(backup, chunk);
      return { body: { chunks }, bulk: bytes };
    },
    { replyBytes: () => BACKUP_CHUNK_BYTES },
  );
}

function takeCommands(table: HandlerTable, { store, served, order }: BackupHandlerOptions): void {
  table.onRequest(backupPut, async ({ body, bulk }) => {
    await served.registered();
    order.accept(body);
    await store.put({ ...body, bytes: bulk });
    return { body: {} };
  });
  table.onRequest(backupCommit, async ({ body }) => {
    await served.registered();
    order.accept(body);
    await store.commit(body.manifest, body.chunks);
    return { body: {} };
  });
  table.onRequest(backupDelete, async ({ body }) => {
    await served.registered();
    order.accept(body);
    return { body: { deleted: await store.delete(body.backups) } };
  });
}

async function listed(
  store: BackupStore,
  { verify, backup }: RequestOf<typeof backupList>,
): Promise<Pick<ReplyOf<typeof backupList>, "backups" | "damaged">> {
  const { held, damaged } = store.list();
  const backups: ListedBackup[] = [];
  for (const each of held) {
    if (backup !== null && each.manifest.backup !== backup) continue;
    backups.push({
      manifest: each.manifest,
      state: verify ? await store.verify(each) : "unchecked",
    });
  }
  return { backups, damaged };
}
