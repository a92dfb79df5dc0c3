/**
 * Tells clients that servers or the placement table have changed. However many changes one turn of the event loop brings,
 * each client gets one notice; it then fetches what it needs.
 */
import type { Peer } from "../../protocol/peer.ts";
import { clusterChanged } from "../../protocol/messages/cluster.ts";

export interface ClusterNoticesOptions {
  /** Whom to tell. */
  readonly clients: () => Iterable<Peer>;
  readonly placementVersion: () => Promise<bigint>;
  readonly defer: (callback: () => void) => void;
  readonly onError: (error: unknown) => void;
}

export class ClusterNotices {
  private readonly options: ClusterNoticesOptions;
  private planned = false;

  constructor(options: ClusterNoticesOptions) {
    this.options = options;
  }

  /** Something that clients know has changed, durably. */
  changed(): void {
    if (this.planned) return;
    this.planned = true;
    this.options.defer(() => {
      this.planned = false;
      this.send().catch(this.options.onError);
    });
  }

  private async send(): Promise<void> {
    const placementVersion = await this.options.placementVersion();
    for (const peer of this.options.clients()) peer.notify(clusterChanged, { placementVersion });
  }
}
