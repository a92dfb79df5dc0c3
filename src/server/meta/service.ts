/**
 * The service behind the metadata server's listener: which message goes to whom, and who may send it.
 *
 * Clients need a session for everything but opening or resuming one; data servers register before their heartbeats count.
 * A peer that sends what its role does not allow is told so (`protocol`).
 */
import { HandlerTable } from "../../protocol/endpoint.ts";
import {
  memberChain,
  memberHeartbeat,
  memberRegister,
  memberRotten,
} from "../../protocol/messages/member.ts";
import {
  sessionClose,
  sessionHeartbeat,
  sessionOpen,
  sessionResume,
  sessionWatch,
} from "../../protocol/messages/session.ts";
import { serveBackups } from "./backup/service.ts";
import type { ClientNotices } from "./client-notices.ts";
import { serveCluster, type ClusterServiceOptions } from "./cluster-service.ts";
import { serveFsck, type Fsck } from "./fsck/fsck.ts";
import type { Members } from "./members.ts";
import { serveNamespace } from "./namespace-service.ts";
import { requireRole } from "./roles.ts";
import { serveServerChanges } from "./server-change-service.ts";
import type { Sessions } from "./sessions.ts";

/** The handlers of everything that the metadata server answers. */
export function makeService(
  options: ClusterServiceOptions & { readonly fsck: Fsck; readonly clientNotices: ClientNotices },
): HandlerTable {
  const table = new HandlerTable();
  serveSessions(table, options.sessions, options.clientNotices);
  serveMembers(table, options.members);
  serveNamespace(table, options.engine, options.sessions, options.clientNotices);
  serveCluster(table, options);
  serveBackups(table, options);
  serveFsck(table, options.sessions, options.fsck);
  serveServerChanges(table, options);
  return table;
}

function serveSessions(table: HandlerTable, sessions: Sessions, notices: ClientNotices): void {
  table.onRequest(sessionWatch, ({ peer, body }) => {
    notices.watch(sessions.of(peer), body.cacheMs);
    return { body: {} };
  });
  table.onRequest(sessionOpen, async ({ peer, body }) => {
    requireRole(peer, "client");
    return { body: await sessions.open(peer, body) };
  });
  table.onRequest(sessionResume, async ({ peer, body }) => {
    requireRole(peer, "client");
    return { body: await sessions.resume(peer, body) };
  });
  table.onRequest(sessionHeartbeat, async ({ peer, body }) => ({
    body: await sessions.heartbeat(peer, body),
  }));
  table.onRequest(sessionClose, async ({ peer }) => {
    await sessions.close(peer);
    return { body: {} };
  });
}

function serveMembers(table: HandlerTable, members: Members): void {
  table.onRequest(memberChain, async ({ peer, body }) => {
    requireRole(peer, "data");
    return { body: await members.chain(peer, body) };
  });
  table.onRequest(memberRegister, async ({ peer, body }) => {
    requireRole(peer, "data");
    return { body: await members.register(peer, body) };
  });
  table.onRequest(memberHeartbeat, ({ peer, body }) => {
    requireRole(peer, "data");
    return { body: members.heartbeat(peer, body) };
  });
  table.onRequest(memberRotten, async ({ peer, body }) => {
    requireRole(peer, "data");
    return { body: await members.rotten(peer, body) };
  });
}
