// Invalidations that are remembered instead of being passed to a kernel.

import type { InodeId } from "../../../src/base/ids.ts";
import type { Invalidations } from "../../../src/mount/file-system.ts";

export interface RecordedInvalidations extends Invalidations {
  readonly inodes: { inode: InodeId; content: boolean }[];
  readonly entries: { parent: InodeId; name: string }[];
  /** How often everything was. */
  everything: number;
  /** What the kernel still waits for before it drops pages. */
  beforeDropped: Promise<void> | undefined;
  clear(): void;
}

export function recordedInvalidations(): RecordedInvalidations {
  const recorded: RecordedInvalidations = {
    inodes: [],
    entries: [],
    everything: 0,
    beforeDropped: undefined,
    inode: (inode, content) => {
      recorded.inodes.push({ inode, content });
      return recorded.beforeDropped;
    },
    entry: (parent, name) =>
      void recorded.entries.push({ parent, name: new TextDecoder().decode(name) }),
    all: () => void recorded.everything++,
    clear: () => {
      recorded.inodes.length = 0;
      recorded.entries.length = 0;
      recorded.everything = 0;
    },
  };
  return recorded;
}
