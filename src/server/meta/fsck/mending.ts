/**
 * What fsck has found of copies and what is to be mended: repairs are the planner's; here is watched how it fares.
 *
 * Each finding ends as corrected, or as left: when no good copy exists, or when for the run's patience nothing at all was
 * mended, by the planner or in front of us.
 */
import { sleep } from "../../../base/clock.ts";
import type { BlockId, ServerId } from "../../../base/ids.ts";
import { clusterView } from "../repair/need.ts";
import type { Finding } from "./findings.ts";
import type { RunParts } from "./parts.ts";
import { orphanProgress, progressOf, type Progress } from "./steps.ts";

/** Between two looks. */
const INTERVAL_MS = 100;

/** Findings looked at in one transaction. */
const AT_ONCE = 256;

/** Findings that may wait; then those who find wait. */
const MOST_WAITING = 16_384;

/** A finding about a copy, or about a block that lacks copies (no server). */
export type CopyFinding = Finding & { readonly block: BlockId };

interface Waiting {
  readonly finding: CopyFinding;
  readonly server: ServerId | undefined;
}

export class Mending {
  private readonly parts: RunParts;
  private readonly waiting = new Set<Waiting>();
  private readonly done: Promise<void>;
  private closing = false;
  /** Nobody watches any more. */
  private over = false;
  private progressMs: number;
  private copied = -1;

  constructor(parts: RunParts) {
    this.parts = parts;
    this.progressMs = parts.clock.monotonicMs();
    this.done = this.watch().finally(() => {
      this.over = true;
    });
    this.done.catch(() => undefined); // whoever calls `finish` is told
  }

  get size(): number {
    return this.waiting.size;
  }

  /** Watches findings until they are decided; a run that only looks leaves them all. Resolves when there is room. */
  async add(findings: readonly CopyFinding[]): Promise<void> {
    const { dryRun, counts, clock } = this.parts;
    if (findings.length === 0) return;
    counts.found += findings.length;
    if (dryRun) return this.parts.findings.tell(findings, "left");
    for (const finding of findings) {
      this.waiting.add({ finding, server: isOfBlock(finding) ? undefined : finding.server });
    }
    this.progressMs = clock.monotonicMs();
    while (this.waiting.size > MOST_WAITING && !this.over) await sleep(clock, INTERVAL_MS);
  }

  /** Nothing will be added any more; resolves when everything is decided. */
  finish(): Promise<void> {
    this.closing = true;
    return this.done;
  }

  private async watch(): Promise<void> {
    const { clock, signal, patienceMs } = this.parts;
    const seconds = Math.round(patienceMs / 1000);
    const why = `it was not mended, nor anything else, for ${seconds} s; the cluster goes on trying`;
    while (!signal.aborted) {
      for (const page of pagesOf([...this.waiting])) await this.look(page);
      if (this.waiting.size === 0 && this.closing) return;
      const isIdle = clock.monotonicMs() - this.progressMs > patienceMs;
      if (isIdle) await this.decide([...this.waiting], "left", why);
      await sleep(clock, INTERVAL_MS);
    }
  }

  private async look(page: readonly Waiting[]): Promise<void> {
    const { engine, clock, repair } = this.parts;
    const states = await engine.question(function* () {
      const view = yield* clusterView(engine.settings.replicas, engine.nowNs);
      const found: Progress[] = [];
      for (const { finding, server } of page) {
        const isOrphan = finding.kind === "orphanCopy" && server !== undefined;
        found.push(
          isOrphan
            ? yield* orphanProgress(view, finding.block, server)
            : yield* progressOf(view, finding.block, server),
        );
      }
      return found;
    });
    const { copiedBlocks } = repair.progress();
    if (copiedBlocks !== this.copied) this.progressMs = clock.monotonicMs();
    this.copied = copiedBlocks;
    const those = (state: Progress): Waiting[] => page.filter((_, at) => states[at] === state);
    await this.decide(those("mended"), "corrected", "");
    await this.decide(those("hopeless"), "left", "no good copy of the block is left");
    const [orphans, away] = partition(
      those("away"),
      ({ finding }) => finding.kind === "orphanCopy",
    );
    await this.decide(away, "left", "the good copies are on servers that are down");
    await this.decide(orphans, "left", "its server is down; it is deleted when that is back");
  }

  private async decide(
    those: readonly Waiting[],
    outcome: "corrected" | "left",
    why: string,
  ): Promise<void> {
    if (those.length === 0) return;
    for (const each of those) this.waiting.delete(each);
    this.progressMs = this.parts.clock.monotonicMs();
    const told = those.map(({ finding }) =>
      why === "" ? finding : { ...finding, detail: `${finding.detail}; ${why}` },
    );
    await this.parts.findings.tell(told, outcome);
  }
}

function isOfBlock({ kind }: Finding): boolean {
  return kind === "missingCopies";
}

function partition<T>(all: readonly T[], isFirst: (each: T) => boolean): [T[], T[]] {
  return [all.filter(isFirst), all.filter((each) => !isFirst(each))];
}

function pagesOf<T>(all: readonly T[]): T[][] {
  const pages: T[][] = [];
  for (let at = 0; at < all.length; at += AT_ONCE) pages.push(all.slice(at, at + AT_ONCE));
  return pages;
}
