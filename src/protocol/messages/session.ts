/**
 * Sessions: a client's registration with the metadata service. Client to metadata service, codes 0x01xx.
 *
 * A session is bound to the connection on which it was opened or resumed; all other requests of a client need one.
 * It lives as long as it is heard of at least every `leaseTimeoutMs`, across connections and restarts of the service.
 */
import { MAX_ENTRIES_PER_PAGE } from "../../base/limits.ts";
import { lsnField, nothing, request } from "../message.ts";
import { list, record, text, uint, uint63, uint64 } from "../schema.ts";
import { clusterSettings, inodeField, sessionField } from "./common.ts";

/** Opens a new session. */
export const sessionOpen = request(
  0x0101,
  "session.open",
  record({
    /** For people who look at the list of sessions: program, host, pid. */
    label: text(200),
  }),
  record({
    session: sessionField,
    /** Random; must be shown to resume, so that nobody takes over a session by mistake. */
    token: uint64,
    leaseTimeoutMs: uint(),
    settings: clusterSettings,
  }),
);

/** Binds an existing session to this connection, after it or the service was restarted. Answers `stale` when it has expired. */
export const sessionResume = request(
  0x0102,
  "session.resume",
  record({
    session: sessionField,
    token: uint64,
    /** Inodes that the client holds open, one page; more follow in further resumes. */
    open: list(inodeField, MAX_ENTRIES_PER_PAGE),
  }),
  record({ leaseTimeoutMs: uint(), settings: clusterSettings }),
);

/** Keeps the session alive and trims the stored replies. */
export const sessionHeartbeat = request(
  0x0103,
  "session.heartbeat",
  record({ acknowledged: uint63 }),
  record({ lsn: lsnField }),
);

/**
 * The client keeps for `cacheMs` what it is told of inodes and names, and wants to be told when that changes
 * (messages/changes.ts); 0: it does not. Holds for this connection: after another one is bound it is asked for again.
 */
export const sessionWatch = request(0x0105, "session.watch", record({ cacheMs: uint() }), nothing);

/** Ends the session: its open files are closed, its unused reservations are given up. */
export const sessionClose = request(0x0104, "session.close", nothing, nothing);
