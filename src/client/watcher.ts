/**
 * Hears from the metadata service what others have changed, on behalf of whoever keeps what this client has told.
 *
 * Invariant: on each new connection the service is asked for notices before the connection is used for anything else, and the
 * listener is told that everything may have changed meanwhile. So nothing is kept that the service does not know of.
 */
import type { HandlerTable } from "../protocol/endpoint.ts";
import { entryChanged, everythingChanged, inodeChanged } from "../protocol/messages/changes.ts";
import { sessionWatch } from "../protocol/messages/session.ts";
import type { Peer } from "../protocol/peer.ts";
import type { ChangeListener } from "./inode-api.ts";
import type { OpenFileTable } from "./open-files.ts";
import type { Session } from "./session.ts";

export class Watcher {
  listener: ChangeListener | undefined;
  private readonly session: Session;
  private readonly openFiles: OpenFileTable;
  /** 0: nobody wants to know. */
  private cacheMs = 0;

  constructor(session: Session, openFiles: OpenFileTable) {
    this.session = session;
    this.openFiles = openFiles;
  }

  async watch(cacheMs: number): Promise<void> {
    this.cacheMs = cacheMs;
    try {
      await this.session.ask(sessionWatch, { cacheMs });
    } catch (error) {
      this.cacheMs = 0; // a service that cannot do that is not asked on later connections
      throw error;
    }
  }

  /** Listens on a connection that is about to be made. */
  receive(handlers: HandlerTable): void {
    handlers.onNotice(inodeChanged, ({ inode, version }) => {
      const content = this.openFiles.heardOfChange(inode, version);
      if (content) this.listener?.contentChanged(inode);
      else this.listener?.attributesChanged(inode, version);
    });
    handlers.onNotice(entryChanged, ({ parent, name }) =>
      this.listener?.entryChanged(parent, name),
    );
    handlers.onNotice(everythingChanged, () => this.everything());
  }

  /** The session is in place on a new connection. */
  async bound(peer: Peer, timeoutMs: number): Promise<void> {
    if (this.cacheMs === 0) return;
    await peer.request(sessionWatch, { cacheMs: this.cacheMs }, { timeoutMs });
    this.everything();
  }

  private everything(): void {
    this.openFiles.forgetMaps();
    this.listener?.everythingChanged();
  }
}
