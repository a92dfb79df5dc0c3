/**
 * When a read changes the access time of a file. Reads that the kernel answers from its pages are not seen here, as with every
 * network file system; listings and symbolic links change none.
 */
import type { Clock } from "../../base/clock.ts";
import type { Inodes, OpenFile } from "../../client/api.ts";

export type AccessMode = "noatime" | "relatime" | "strictatime";

const DAY_NS = 86_400_000_000_000n;

export class AccessPolicy {
  private readonly mode: AccessMode;
  private readonly inodes: Inodes;
  private readonly clock: Clock;
  /** What was told last through each open file. */
  private readonly told = new WeakMap<OpenFile, bigint>();

  constructor(mode: AccessMode, inodes: Inodes, clock: Clock) {
    this.mode = mode;
    this.inodes = inodes;
    this.clock = clock;
  }

  /** The file has been read. */
  read(file: OpenFile): void {
    if (this.mode === "noatime") return;
    const nowNs = this.clock.nowNs();
    if (this.mode === "relatime" && !this.isDue(file, nowNs)) return;
    this.told.set(file, nowNs);
    this.inodes.accessed(file.inode, nowNs);
  }

  /** As the kernel does: when it was not read since its last change, or not for a day. */
  private isDue(file: OpenFile, nowNs: bigint): boolean {
    const { atimeNs, mtimeNs, ctimeNs } = file.attributes;
    const told = this.told.get(file) ?? 0n;
    const last = told > atimeNs ? told : atimeNs;
    return last <= mtimeNs || last <= ctimeNs || nowNs - last >= DAY_NS;
  }
}
