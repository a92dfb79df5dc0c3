/**
 * One run of fsck, from the record to the copies.
 *
 *     record.ts, store/sqlite/checks.ts    the whole record, in a thread: names, inodes, extents, blocks, missing copies
 *     servers.ts    all data servers at a time, and those that are away
 *     copies.ts     what one of them holds and what it is worth
 *     steps.ts      what seemed wrong is looked at again in one transaction, and put on record for repair
 *     mending.ts    watches the planner mend it
 *     backups.ts    the newest backup of the metadata
 *     findings.ts   what is decided, with the paths of the files, for the client to fetch
 *
 *     names.ts      wrong names and inodes without a path; name-steps.ts mends them, each in one transaction
 *
 * What is corrected: names that lead nowhere; what has no path gets one in /lost+found; parents, link counts and allocated
 * bytes of inodes that did not change since they were found wrong; copies, by way of the planner. Extents that contradict
 * each other, and directories with several names, are told and left: which of them is right no program can know, and each
 * of the ways to make them agree can lose a file that another keeps.
 */
import { DfsError, isDfsError, messageOf } from "../../../base/errors.ts";
import { blockId, inodeId, ROOT_INODE, type BlockId, type InodeId } from "../../../base/ids.ts";
import type { FsckLevel } from "../../../protocol/messages/fsck.ts";
import { clusterView, MISPLACED, SURPLUS } from "../repair/need.ts";
import type { RecordFinding } from "../store/sqlite/checks.ts";
import type { Operation } from "../store/store.ts";
import { BackupsCheck } from "./backups.ts";
import { blockOrNone, Findings, inodeOrNone, type Finding } from "./findings.ts";
import { Mending, type CopyFinding } from "./mending.ts";
import { mendParent } from "./name-steps.ts";
import { checkNames, tellIfMany } from "./names.ts";
import { mendNamespace, type Counts, type FsckSurroundings, type RunParts } from "./parts.ts";
import { WholeRecord } from "./record.ts";
import { ServersCheck } from "./servers.ts";
import { correctInode, lackOf } from "./steps.ts";

/** Blocks of one page of those that lack copies. */
const PAGE = 256;

/** Counts that can be corrected, and the fields of an inode that hold them. */
const COUNTS = { wrongLinkCount: "nlink", wrongAllocated: "allocated" } as const;

type CountFinding = RecordFinding & { readonly kind: keyof typeof COUNTS };

export interface RunRequest {
  readonly level: FsckLevel;
  readonly inode: InodeId | undefined;
  readonly dryRun: boolean;
  readonly patienceMs: number;
}

export class FsckRun {
  readonly counts: Counts = {
    phase: "record",
    doneCopies: 0,
    totalCopies: 0,
    doneBytes: 0,
    totalBytes: 0,
    found: 0,
  };
  private readonly surroundings: FsckSurroundings;
  private readonly request: RunRequest;
  private readonly record: WholeRecord;
  private readonly findings: Findings;
  private readonly abort = new AbortController();
  private readonly done: Promise<void>;
  private inodes: ReadonlySet<bigint> | undefined;
  private blocks: ReadonlySet<bigint> | undefined;
  private mending: Mending | undefined;
  private error: DfsError | undefined;

  constructor(surroundings: FsckSurroundings, request: RunRequest) {
    this.surroundings = surroundings;
    this.request = request;
    this.record = new WholeRecord(surroundings.engine.databasePath);
    this.findings = new Findings(this.record, (finding) => this.isInScope(finding));
    this.done = this.work()
      .catch((error: unknown) => {
        this.error = isDfsError(error) ? error : new DfsError("internal", messageOf(error));
      })
      .finally(() => {
        this.counts.phase = "done";
      });
  }

  /** Errors that wait to be mended. */
  get waiting(): number {
    return this.mending?.size ?? 0;
  }

  /** Findings behind the first `after`. @throws DfsError what the run failed of, when there are none left. */
  page(after: number): ReturnType<Findings["page"]> & { readonly finished: boolean } {
    const over = this.counts.phase === "done";
    const { findings, more } = this.findings.page(after);
    if (over && findings.length === 0 && this.error !== undefined) throw this.error;
    return { findings, more, finished: over && !more && this.error === undefined };
  }

  /** Ends the run; what is put on record for repair stays there. */
  async stop(): Promise<void> {
    this.abort.abort();
    this.findings.close();
    await this.done;
    await this.record.close();
  }

  private async work(): Promise<void> {
    const { level, inode } = this.request;
    const top = inode === ROOT_INODE ? undefined : inode;
    if (top !== undefined) {
      const below = await this.record.ask({ kind: "subtree", inode: top });
      this.inodes = new Set(below.inodes);
      this.blocks = new Set(below.blocks);
    }
    const parts: RunParts = {
      ...this.surroundings,
      ...this.request,
      level,
      record: this.record,
      findings: this.findings,
      counts: this.counts,
      signal: this.abort.signal,
      top,
      blocks: this.blocks === undefined ? undefined : [...this.blocks].map((id) => blockId(id)),
    };
    await checkNames(parts);
    await this.checkRecord(top);
    this.mending = new Mending(parts);
    try {
      await this.checkCounts(this.mending);
      if (level !== "meta") await new ServersCheck(parts, this.mending).run();
      if (level !== "meta" && this.blocks === undefined) await new BackupsCheck(parts).run();
    } catch (error) {
      this.abort.abort();
      throw error;
    } finally {
      this.counts.phase = "mending";
      await this.mending.finish();
    }
  }

  private async checkRecord(top: InodeId | undefined): Promise<void> {
    const { findings, counts } = this;
    const found = await this.record.ask({ kind: "checks", inode: top });
    const scoped = findings.inScope(found.map((raw) => ({ ...findingOf(raw), raw })));
    counts.found += scoped.length;
    const corrected = this.request.dryRun
      ? new Set()
      : await this.correct(scoped.map(({ raw }) => raw));
    for (const { raw, ...finding } of scoped) {
      if (this.abort.signal.aborted) return;
      await findings.tell([finding], corrected.has(raw) ? "corrected" : "left");
    }
    await tellIfMany(findings, found.length);
  }

  /** Corrects counts of inodes, those of one inode together, and parents; returns the findings that are mended by that. */
  private async correct(found: readonly RecordFinding[]): Promise<ReadonlySet<RecordFinding>> {
    const { engine } = this.surroundings;
    const corrected = new Set<RecordFinding>();
    /** What the corrections made of ctimes. */
    const ctimes = new Map<bigint, bigint>();
    for (const each of Map.groupBy(found.filter(isCount), ({ inode }) => inode).values()) {
      const [first] = each;
      const seen = { id: inodeId(first!.inode), ctimeNs: first!.ctimeNs };
      const right = Object.fromEntries(each.map(({ kind, right }) => [COUNTS[kind], right]));
      if (each.some(({ ctimeNs }) => ctimeNs !== seen.ctimeNs) || this.abort.signal.aborted)
        continue;
      const ctimeNs = await this.mend(() => correctInode(engine.nowNs, seen, right));
      if (ctimeNs === undefined) continue;
      ctimes.set(seen.id, ctimeNs);
      for (const finding of each) corrected.add(finding);
    }
    for (const each of found) {
      if (each.place === undefined || this.abort.signal.aborted) continue;
      const seen = { id: inodeId(each.inode), ctimeNs: ctimes.get(each.inode) ?? each.ctimeNs };
      const place = { ...each.place, parent: inodeId(each.place.parent) };
      const moment = { nowNs: engine.nowNs };
      if (await this.mend(() => mendParent(moment, seen, place))) corrected.add(each);
    }
    return corrected;
  }

  private mend<T>(operation: () => Operation<T>): Promise<T> {
    return mendNamespace(this.surroundings, operation);
  }

  /** Blocks that lack copies on record, and notes of those that have too many or misplaced ones. */
  private async checkCounts(mending: Mending): Promise<void> {
    const { repair } = this.surroundings;
    const { dryRun } = this.request;
    for await (const ids of this.blockPages()) {
      if (this.abort.signal.aborted) return;
      const lacks = await this.lacks(ids, !dryRun);
      if (!dryRun && lacks.length > 0) repair.recorded();
      await mending.add(lacks);
    }
    if (this.blocks === undefined) await this.tellNotes();
  }

  /** Blocks that may lack copies: those of the run, or all that lacked some a moment ago. */
  private async *blockPages(): AsyncGenerator<readonly BlockId[], void> {
    const { replicas } = this.surroundings.engine.settings;
    if (this.blocks !== undefined) {
      const all = [...this.blocks];
      for (let at = 0; at < all.length; at += PAGE) {
        yield all.slice(at, at + PAGE).map((id) => blockId(id));
      }
      return;
    }
    for (let after = 0n, more = true; more;) {
      const page = await this.record.ask({ kind: "lacking", after, replicas, limit: PAGE });
      yield page.map((id) => blockId(id));
      more = page.length === PAGE;
      after = page.at(-1) ?? after;
    }
  }

  private lacks(ids: readonly BlockId[], mend: boolean): Promise<CopyFinding[]> {
    const { engine } = this.surroundings;
    const { replicas } = engine.settings;
    if (ids.length === 0) return Promise.resolve([]);
    const look = function* () {
      const view = yield* clusterView(replicas, engine.nowNs);
      const found: CopyFinding[] = [];
      for (const id of ids) {
        const lack = yield* lackOf(view, id, mend);
        if (lack === undefined) continue;
        const detail =
          lack.missing < replicas
            ? `it lacks ${lack.missing} of ${replicas} copies`
            : "no copy of it counts: its bytes are lost, unless a server that has one comes back";
        found.push({ kind: "missingCopies", block: id, detail });
      }
      return found;
    };
    return mend ? engine.change(look) : engine.question(look);
  }

  private async tellNotes(): Promise<void> {
    for (const { urgency, blocks } of await this.record.ask({ kind: "repairs" })) {
      if (urgency === MISPLACED) {
        const detail = `blocks with a copy on a stand-in: ${blocks}; the planner moves them`;
        await this.findings.tell([{ kind: "misplaced", detail }], "note");
      } else if (urgency === SURPLUS) {
        const detail = `blocks with more copies than needed: ${blocks}; the planner removes them`;
        await this.findings.tell([{ kind: "surplus", detail }], "note");
      }
    }
  }

  private isInScope({ inode, block }: Finding): boolean {
    if (this.inodes === undefined || this.blocks === undefined) return true;
    if (inode !== undefined) return this.inodes.has(inode);
    return block !== undefined && this.blocks.has(block);
  }
}

function isCount(finding: RecordFinding): finding is CountFinding {
  return finding.kind in COUNTS;
}

function findingOf({ kind, inode, block, offset, detail }: RecordFinding): Finding {
  return { kind, inode: inodeOrNone(inode), block: blockOrNone(block), offset, detail };
}
