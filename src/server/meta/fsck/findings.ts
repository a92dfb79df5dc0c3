/**
 * The findings of a run, from those who find to the client that asks for them.
 *
 * A finding is told once it is decided: as corrected, as left, or as a note. It gets the path of its file here. The client
 * takes findings in pages and acknowledges them with the next poll; when it is slow, those who find wait.
 */
import { blockId, inodeId, type BlockId, type InodeId, type ServerId } from "../../../base/ids.ts";
import { MAX_FSCK_DETAIL, MAX_FSCK_FINDINGS, MAX_PATH_BYTES } from "../../../base/limits.ts";
import type { FsckFinding, FsckKind } from "../../../protocol/messages/fsck.ts";
import type { WholeRecord } from "./record.ts";

/** Findings that wait for the client; then those who find wait for it. */
const MOST_WAITING = 8 * MAX_FSCK_FINDINGS;

const SLASH = 0x2f;

/** A finding as the checks make it. */
export interface Finding {
  readonly kind: FsckKind;
  readonly inode?: InodeId | undefined;
  readonly block?: BlockId | undefined;
  readonly server?: ServerId | undefined;
  readonly offset?: number | undefined;
  /** A name in the directory `inode`, which is what the finding is about. */
  readonly name?: Uint8Array | undefined;
  readonly detail: string;
}

export type Outcome = FsckFinding["outcome"];

export class Findings {
  private readonly record: WholeRecord;
  private readonly isInScope: (finding: Finding) => boolean;
  private readonly waiting: FsckFinding[] = [];
  /** Number of the first one that waits. */
  private first = 0;
  private closed = false;
  private taken = Promise.withResolvers<void>();

  constructor(record: WholeRecord, isInScope: (finding: Finding) => boolean) {
    this.record = record;
    this.isInScope = isInScope;
  }

  /** Those behind the first `after`, which are forgotten; at most a page of them. */
  page(after: number): { readonly findings: FsckFinding[]; readonly more: boolean } {
    const known = Math.min(Math.max(0, after - this.first), this.waiting.length);
    this.waiting.splice(0, known);
    this.first += known;
    this.release();
    const findings = this.waiting.slice(0, MAX_FSCK_FINDINGS);
    return { findings, more: this.waiting.length > findings.length };
  }

  /** Lets everybody go on who waits: nobody takes findings any more. */
  close(): void {
    this.closed = true;
    this.waiting.length = 0;
    this.release();
  }

  /** The findings that are in the scope of the run. */
  inScope<F extends Finding>(findings: readonly F[]): F[] {
    return findings.filter(this.isInScope);
  }

  /** Hands findings over; resolves when there is room for more. */
  async tell(findings: readonly Finding[], outcome: Outcome): Promise<void> {
    for (let at = 0; at < findings.length; at += MAX_FSCK_FINDINGS) {
      if (this.closed) return;
      const page = findings.slice(at, at + MAX_FSCK_FINDINGS);
      this.waiting.push(...(await this.located(page, outcome)));
      while (this.waiting.length > MOST_WAITING && !this.closed) await this.taken.promise;
    }
  }

  private release(): void {
    this.taken.resolve();
    this.taken = Promise.withResolvers<void>();
  }

  private async located(findings: readonly Finding[], outcome: Outcome): Promise<FsckFinding[]> {
    const inodes = findings.flatMap(({ inode }) => inode ?? []);
    const blocks = findings.flatMap(({ inode, block }) =>
      inode === undefined && block !== undefined ? [block] : [],
    );
    const located =
      inodes.length + blocks.length === 0
        ? { places: [], paths: new Map<bigint, Uint8Array>() }
        : await this.record.ask({ kind: "locate", inodes, blocks });
    const places = new Map(located.places.map((place) => [place.block, place]));
    return findings.map((finding) => {
      const place = finding.block === undefined ? undefined : places.get(finding.block);
      const inode = finding.inode ?? (place === undefined ? undefined : inodeId(place.inode));
      const path = inode === undefined ? undefined : located.paths.get(inode);
      return {
        kind: finding.kind,
        outcome,
        inode: inode ?? null,
        block: finding.block ?? null,
        server: finding.server ?? null,
        offset: finding.offset ?? place?.offset ?? null,
        path: pathIn(path, finding.name) ?? null,
        detail: finding.detail.slice(0, MAX_FSCK_DETAIL),
      };
    });
  }
}

/** Ids of the record, 0 for none. */
export function inodeOrNone(id: bigint): InodeId | undefined {
  return id === 0n ? undefined : inodeId(id);
}

/** Ids of the record, 0 for none. */
export function blockOrNone(id: bigint): BlockId | undefined {
  return id === 0n ? undefined : blockId(id);
}

function pathIn(
  path: Uint8Array | undefined,
  name: Uint8Array | undefined,
): Uint8Array | undefined {
  if (path === undefined || name === undefined) return path;
  const separator = path.at(-1) === SLASH ? [] : [Uint8Array.of(SLASH)];
  const whole = Buffer.concat([path, ...separator, name]);
  return whole.length <= MAX_PATH_BYTES ? whole : undefined;
}
