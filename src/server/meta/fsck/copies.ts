/**
 * The copies on one data server: does it hold what the record counts there, with the right bytes?
 *
 * The record goes first: what it counted then was durable on the server, unless it has been lost or was given up since.
 * So a copy that the server's list lacks, or that it finds rotten, is read once more by it alone, and then looked up again
 * in one transaction. Only what is wrong both times, and still on record, is told.
 */
import { blockId, type BlockId } from "../../../base/ids.ts";
import { MAX_VERIFIED_BLOCKS } from "../../../base/limits.ts";
import type { ReplyOf } from "../../../protocol/message.ts";
import { blockList, type ReplicaVerdict } from "../../../protocol/messages/data.ts";
import type { FsckKind } from "../../../protocol/messages/fsck.ts";
import type { Member } from "../members.ts";
import { clusterView } from "../repair/need.ts";
import type { CopyFinding, Mending } from "./mending.ts";
import type { RunParts } from "./parts.ts";
import {
  copiesBehind,
  copiesOn,
  giveUpOrphan,
  isBeingMade,
  settleBadCopy,
  strayOn,
  type Stray,
  type Suspect,
} from "./steps.ts";

/** Rows of the record looked at together. */
const PAGE = 512;

/** So many ids between two blocks are listed rather than asked around. */
const LISTED_BETWEEN = 32n;

/** Bytes and copies verified with one request: it must be answered in time by a slow disk, too. */
const BYTES_AT_ONCE = 8 * 1024 * 1024;
const COPIES_AT_ONCE = Math.min(256, MAX_VERIFIED_BLOCKS);

/** Blocks that nobody seemed to know which are kept for a second look. */
const MOST_UNKNOWN = 16_384;

/** Of those that nobody knows, so many are told of by their ids. */
const STRANGERS_NAMED = 5;

/** Requests under way to one server, so that it always has something to read. */
const REQUESTS_AT_ONCE = 2;

const LIST_TIMEOUT_MS = 30_000;

type Held = ReplyOf<typeof blockList>["blocks"][number];

/** Rows of the record up to `end`, which undefined is the last block of all. */
interface Page {
  readonly copies: readonly Suspect[];
  /** Everything on record there, whatever its state. */
  readonly known: ReadonlySet<BlockId>;
  readonly end: BlockId | undefined;
}

const KINDS: Readonly<Record<Exclude<ReplicaVerdict, "right">, FsckKind>> = {
  rotten: "rottenCopy",
  missing: "lostCopy",
  unreadable: "unreadableCopy",
};

const WORDS: Readonly<Record<Exclude<ReplicaVerdict, "right">, string>> = {
  rotten: "its bytes are not those that were written",
  missing: "the server does not hold it",
  unreadable: "the server cannot read it",
};

/** The check of one server's copies. It keeps its place, so that it can go on when the server was away for a moment. */
export class CopyCheck {
  private readonly parts: RunParts;
  private readonly mending: Mending;
  private member: Member;
  /** Up to here everything has been checked; undefined: all of it. */
  private after: BlockId | undefined = blockId(0n);
  /** Of the page that is being checked: what was counted, and the bad copies that were told of. */
  private counted = { copies: 0, bytes: 0 };
  private readonly told = new Set<BlockId>();
  /** Blocks that the server holds and nobody seemed to know; looked at again at the end. */
  private readonly seemed: Held[] = [];
  /** Those that nobody knows. */
  private readonly strangers = { blocks: 0, bytes: 0, some: [] as BlockId[] };

  constructor(parts: RunParts, mending: Mending, member: Member) {
    this.parts = parts;
    this.mending = mending;
    this.member = member;
  }

  /**
   * Checks what is left of everything that the server should hold; `member` is its connection.
   * @throws DfsError when the server cannot be asked; after that this may be called again, with another connection.
   */
  async run(member: Member): Promise<void> {
    const { signal, blocks, counts } = this.parts;
    this.member = member;
    counts.doneCopies -= this.counted.copies;
    counts.doneBytes -= this.counted.bytes;
    while (this.after !== undefined && !signal.aborted) {
      this.counted = { copies: 0, bytes: 0 };
      const page = await this.page(this.after);
      await this.check(page, this.after, blocks === undefined);
      this.after = page.end;
      this.told.clear();
    }
    this.counted = { copies: 0, bytes: 0 };
    await this.sortOut();
    await this.tellStrangers();
  }

  private async page(after: BlockId): Promise<Page> {
    const { engine, blocks } = this.parts;
    const { server } = this.member;
    if (blocks !== undefined) {
      const part = idsBehind(blocks, after, PAGE);
      const copies = await engine.question(() => copiesOn(server, part));
      return { copies, known: new Set(part), end: part.length < PAGE ? undefined : part.at(-1) };
    }
    const { copies, known } = await engine.question(() => copiesBehind(server, after, PAGE));
    return { copies, known: new Set(known), end: known.length < PAGE ? undefined : known.at(-1) };
  }

  private async check(page: Page, after: BlockId, withOrphans: boolean): Promise<void> {
    const { copies, known } = page;
    if (!withOrphans && copies.length === 0) return;
    const full = this.parts.level === "full";
    const held = withOrphans
      ? await this.held(after, page.end)
      : full
        ? new Map<BlockId, Held>() // they are read in any case
        : await this.heldOf(copies);
    if (withOrphans) await this.keep([...held.values()].filter(({ block }) => !known.has(block)));
    const isThere = ({ block }: Suspect): boolean => {
      const found = held.get(block.id);
      return found?.length === block.length && found.checksum === block.checksum;
    };
    const toRead = full ? copies : copies.filter((copy) => !isThere(copy));
    if (!full) this.count(copies.filter(isThere));
    const batches = batchesOf(toRead);
    const work = async (): Promise<void> => {
      for (let batch = batches.shift(); batch !== undefined; batch = batches.shift()) {
        if (this.parts.signal.aborted) return;
        await this.verify(batch);
      }
    };
    await Promise.all(Array.from({ length: REQUESTS_AT_ONCE }, work));
  }

  /** What the server holds behind `after`, up to `end`. */
  private async held(after: BlockId, end: BlockId | undefined): Promise<Map<BlockId, Held>> {
    const { peer } = this.member;
    const held = new Map<BlockId, Held>();
    for (let from = after, more = true; more;) {
      const limit = end === undefined ? PAGE : Math.min(PAGE, Number(end - from));
      const request = { after: from, limit };
      const { body } = await peer.request(blockList, request, { timeoutMs: LIST_TIMEOUT_MS });
      for (const each of body.blocks) {
        if (end === undefined || each.block <= end) held.set(each.block, each);
      }
      const last = body.blocks.at(-1)?.block;
      more = body.more && last !== undefined && (end === undefined || last < end);
      if (last !== undefined) from = last;
    }
    return held;
  }

  /** Of these copies those that the server holds; what lies between them is not listed, unless it is little. */
  private async heldOf(copies: readonly Suspect[]): Promise<Map<BlockId, Held>> {
    const held = new Map<BlockId, Held>();
    const ids = copies.map(({ block }) => block.id);
    for (let at = 0; at < ids.length;) {
      let last = at;
      while (last + 1 < ids.length && ids[last + 1]! - ids[last]! <= LISTED_BETWEEN) last++;
      const run = await this.held(blockId(ids[at]! - 1n), ids[last]);
      for (const [id, each] of run) held.set(id, each);
      at = last + 1;
    }
    return held;
  }

  private async verify(batch: readonly Suspect[]): Promise<void> {
    const verdicts = await this.ask(batch);
    const isBad = (_: unknown, at: number): boolean => verdicts[at] !== "right";
    const rotten = batch.filter((_, at) => verdicts[at] === "rotten");
    this.count(batch);
    const bad = batch.filter(isBad).map(({ block }) => block.id);
    if (bad.length > 0) await this.confirm(bad, new Set(rotten.map(({ block }) => block.id)));
  }

  /**
   * Reads copies once more that seemed wrong, and tells of those that are. One that was `rotten` and is being made again
   * by now, because somebody else met it, is told of as well: right bytes do not rot by being moved.
   */
  private async confirm(ids: readonly BlockId[], rotten: ReadonlySet<BlockId>): Promise<void> {
    const { engine, dryRun, repair, logger } = this.parts;
    const { server } = this.member;
    const suspects = await engine.question(() => copiesOn(server, ids));
    const verdicts = suspects.length === 0 ? [] : await this.ask(suspects);
    const others = ids.filter(
      (id) => rotten.has(id) && !suspects.some(({ block }) => block.id === id),
    );
    const found = await engine.change(function* () {
      const view = yield* clusterView(engine.settings.replicas, engine.nowNs);
      const findings: CopyFinding[] = [];
      for (const [at, suspect] of suspects.entries()) {
        const verdict = verdicts[at]!;
        if (verdict === "right") continue;
        if (!(yield* settleBadCopy(view, suspect, server, verdict, !dryRun))) continue;
        const detail = WORDS[verdict];
        findings.push({ kind: KINDS[verdict], block: suspect.block.id, server, detail });
      }
      for (const block of others) {
        if (!(yield* isBeingMade(block, server))) continue;
        findings.push({ kind: "rottenCopy", block, server, detail: WORDS.rotten });
      }
      return findings;
    });
    const told = found.filter(({ block }) => !this.told.has(block));
    for (const { block } of told) this.told.add(block);
    for (const { kind, block } of told)
      logger.warn("fsck found a bad copy", { kind, block, server });
    if (!dryRun && found.length > 0) repair.recorded();
    await this.mending.add(told);
  }

  private ask(suspects: readonly Suspect[]): Promise<readonly ReplicaVerdict[]> {
    const blocks = suspects.map(({ block: { id, length, checksum } }) => ({
      block: id,
      length,
      checksum,
    }));
    return this.parts.commands.verify(this.member, blocks);
  }

  private async keep(unknown: readonly Held[]): Promise<void> {
    this.seemed.push(...unknown);
    if (this.seemed.length > MOST_UNKNOWN) await this.sortOut();
  }

  private count(copies: readonly Suspect[]): void {
    const { counts } = this.parts;
    const bytes = copies.reduce((sum, { block }) => sum + block.length, 0);
    counts.doneCopies += copies.length;
    counts.doneBytes += bytes;
    this.counted.copies += copies.length;
    this.counted.bytes += bytes;
  }

  /** Looks again at blocks that nobody seemed to know: one that was being written is known by now, a deleted one gone. */
  private async sortOut(): Promise<void> {
    const { commands, signal } = this.parts;
    while (this.seemed.length > 0 && !signal.aborted) {
      const strays = await this.strays(this.seemed.splice(0, COPIES_AT_ONCE));
      const asked = strays.map(({ held }) => held);
      if (asked.length === 0) continue;
      const verdicts = await commands.verify(this.member, asked);
      const there = await this.strays(asked.filter((_, at) => verdicts[at] !== "missing"));
      const those = (stray: Stray): Held[] =>
        there.filter((each) => each.stray === stray).map(({ held }) => held);
      await this.settleOrphans(those("orphan"));
      for (const { block, length } of those("unknown")) {
        this.strangers.blocks++;
        this.strangers.bytes += length;
        if (this.strangers.some.length < STRANGERS_NAMED) this.strangers.some.push(block);
      }
    }
  }

  private strays(held: readonly Held[]): Promise<{ readonly held: Held; readonly stray: Stray }[]> {
    const { server } = this.member;
    return this.parts.engine.question(function* () {
      const found: { readonly held: Held; readonly stray: Stray }[] = [];
      for (const each of held) {
        const stray = yield* strayOn(each.block, server);
        if (stray !== undefined) found.push({ held: each, stray });
      }
      return found;
    });
  }

  /** Copies of blocks that are dead for good go on record for the reaper, which has them deleted. */
  private async settleOrphans(orphans: readonly Held[]): Promise<void> {
    const { engine, dryRun, logger } = this.parts;
    const { server } = this.member;
    if (orphans.length === 0) return;
    const isGivenUp = dryRun
      ? orphans.map(() => true)
      : await engine.change(function* () {
          const given: boolean[] = [];
          for (const { block } of orphans) given.push(yield* giveUpOrphan(block, server));
          return given;
        });
    const found = orphans.filter((_, at) => isGivenUp[at]);
    const findings = found.map(({ block, length }): CopyFinding => {
      const detail = `no file can name it any more, and the record did not know of it: ${length} bytes`;
      return { kind: "orphanCopy", block, server, detail };
    });
    if (found.length === 0) return;
    logger.warn("fsck found copies of blocks that are dead for good", {
      server,
      copies: found.length,
    });
    await this.mending.add(findings);
  }

  /**
   * A note: metadata is older than they are, and then they may be all that is left of files; so nobody may delete them. Or
   * they were given up before metadata kept on record which ids are dead for good.
   */
  private async tellStrangers(): Promise<void> {
    const { blocks, bytes, some } = this.strangers;
    if (blocks === 0) return;
    const names = `${some.join(", ")}${blocks > some.length ? ", ..." : ""}`;
    const detail =
      `blocks that metadata knows nothing of: ${blocks}, ${bytes} bytes (ids ${names}); ` +
      "they are left alone, nothing is deleted on suspicion";
    const { server } = this.member;
    await this.parts.findings.tell([{ kind: "orphans", server, detail }], "note");
  }
}

/** At most `most` of the rising `ids` behind `after`. */
function idsBehind(ids: readonly BlockId[], after: BlockId, most: number): BlockId[] {
  let low = 0;
  for (let high = ids.length; low < high;) {
    const middle = (low + high) >> 1;
    if (ids[middle]! <= after) low = middle + 1;
    else high = middle;
  }
  return ids.slice(low, low + most);
}

function batchesOf(copies: readonly Suspect[]): Suspect[][] {
  const batches: Suspect[][] = [];
  let batch: Suspect[] = [];
  let bytes = 0;
  for (const copy of copies) {
    const isFull = batch.length === COPIES_AT_ONCE || bytes + copy.block.length > BYTES_AT_ONCE;
    if (isFull && batch.length > 0) {
      batches.push(batch);
      batch = [];
      bytes = 0;
    }
    batch.push(copy);
    bytes += copy.block.length;
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}
