/**
 * Tells clients of changes that concern them. To be called when the changes are durable. A notice that gets lost, with its
 * connection or with this process, is made up for by clients: who waits for a lock asks again from time to time.
 */
import type { SessionId } from "../../base/ids.ts";
import { lockGranted } from "../../protocol/messages/locks.ts";
import type { Peer } from "../../protocol/peer.ts";
import type { Changes } from "./changes.ts";

export class ClientNotices {
  private readonly peerOf: (session: SessionId) => Peer | undefined;

  /** `peerOf` tells the connection of a session, if it has one. */
  constructor(peerOf: (session: SessionId) => Peer | undefined) {
    this.peerOf = peerOf;
  }

  /** Tells what `by` has changed; undefined when no session has. */
  publish({ locks }: Changes, by: SessionId | undefined): void {
    for (const { session, inode, kind, owner } of locks) {
      if (session !== by) this.peerOf(session)?.notify(lockGranted, { inode, kind, owner });
    }
  }
}
