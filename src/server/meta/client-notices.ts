/**
 * Tells clients of changes that concern them: locks that they wait for, and what they may have cached. To be called when the
 * changes are durable.
 *
 * Notices are hints. One that gets lost, with its connection or with this process, is made up for by clients: who waits for a
 * lock asks again from time to time, and what was cached is asked for anew after its time. Nothing waits for a notice.
 */
import type { Clock } from "../../base/clock.ts";
import type { SessionId } from "../../base/ids.ts";
import { entryChanged, everythingChanged, inodeChanged } from "../../protocol/messages/changes.ts";
import { lockGranted } from "../../protocol/messages/locks.ts";
import type { Peer } from "../../protocol/peer.ts";
import { Changes } from "./changes.ts";
import { Interests } from "./interests.ts";

export class ClientNotices {
  private readonly interests: Interests;
  private readonly peerOf: (session: SessionId) => Peer | undefined;

  /** `peerOf` tells the connection of a session, if it has one. */
  constructor(clock: Clock, peerOf: (session: SessionId) => Peer | undefined) {
    this.interests = new Interests(clock);
    this.peerOf = peerOf;
  }

  /** The session keeps for `cacheMs` what it is told, and wants to know of changes; 0: it does not. */
  watch(session: SessionId, cacheMs: number): void {
    this.interests.watch(session, cacheMs, () =>
      this.peerOf(session)?.notify(everythingChanged, {}),
    );
  }

  /** The session has ended, or lost its connection: a client asks for notices anew on each. */
  forget(session: SessionId): void {
    this.interests.forget(session);
  }

  /** True when it matters what this session is told. */
  watches(session: SessionId): boolean {
    return this.interests.of(session) !== undefined;
  }

  /** For what an operation of this session does. */
  changesOf(session: SessionId): Changes {
    const interest = this.interests.of(session);
    return new Changes(interest === undefined ? undefined : (inode) => interest.told(inode));
  }

  /** Tells what `by` has changed; undefined when no session has. */
  publish(changes: Changes, by: SessionId | undefined): void {
    for (const { session, inode, kind, owner } of changes.locks) {
      if (session !== by) this.peerOf(session)?.notify(lockGranted, { inode, kind, owner });
    }
    if (changes.inodes.size === 0 && changes.entries.length === 0) return;
    for (const [session, interest] of this.interests.others(by)) {
      const peer = this.peerOf(session);
      if (peer === undefined) continue;
      for (const entry of changes.entries) {
        if (interest.hasNamesOf(entry.parent)) peer.notify(entryChanged, entry);
      }
      for (const [inode, version] of changes.inodes) {
        if (interest.takeInode(inode)) peer.notify(inodeChanged, { inode, version });
      }
    }
  }
}
