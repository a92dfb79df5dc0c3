/**
 * `dfs fsck`: check the cluster and mend it; the metadata service does both, this shows it.
 */
import { DfsError, isDfsError, type ErrorKind } from "../base/errors.ts";
import type { DfsClient, FsckReport } from "../client/api.ts";
import type { FsckFinding, FsckKind, FsckLevel } from "../protocol/messages/fsck.ts";
import { green, red, yellow } from "./shared/colours.ts";
import { defineCommand, flag, value, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { report as reportError } from "./shared/errors.ts";
import { EXIT, type ExitCode } from "./shared/exit-codes.ts";
import { counted, countText, durationText, sizeText } from "./shared/format.ts";
import { sentence } from "./shared/outcome.ts";
import { OutputClosed } from "./shared/output.ts";
import { remotePath } from "./shared/paths.ts";
import { interrupted, tellingInterruption } from "./shared/interruption.ts";
import { Progress, progressOption } from "./shared/progress.ts";
import { escaped, jsonName, quoted } from "./shared/text.ts";
import { seconds } from "./shared/values.ts";

const LEVELS: readonly FsckLevel[] = ["meta", "presence", "full"];

const DEFAULT_PATIENCE_MS = 30_000;

/** What may be wrong with a path. */
const OF_PATHS: ReadonlySet<ErrorKind> = new Set([
  "notFound",
  "notDirectory",
  "loop",
  "nameTooLong",
]);

/** What each kind is called, one and several. */
const KIND_WORDS: Readonly<Record<FsckKind, readonly [one: string, many: string]>> = {
  unreachableInode: ["unreachable inode", "unreachable inodes"],
  wrongLinkCount: ["wrong link count", "wrong link counts"],
  danglingName: ["dangling name", "dangling names"],
  wrongParent: ["directory with a wrong parent", "directories with a wrong parent"],
  extentBeyondEnd: ["extent beyond the end", "extents beyond the end"],
  extentWithoutBlock: ["extent without a block", "extents without a block"],
  extentOverlap: ["overlapping extent", "overlapping extents"],
  wrongAllocated: ["wrong count of allocated bytes", "wrong counts of allocated bytes"],
  wrongRefs: ["wrong block reference count", "wrong block reference counts"],
  missingCopies: ["block that lacks copies", "blocks that lack copies"],
  lostCopy: ["lost copy", "lost copies"],
  rottenCopy: ["rotten copy", "rotten copies"],
  unreadableCopy: ["unreadable copy", "unreadable copies"],
  unavailableBlock: ["block out of reach", "blocks out of reach"],
  damagedBackup: ["damaged backup", "damaged backups"],
  missingBackup: ["missing backup", "missing backups"],
  orphanCopy: ["orphan copy", "orphan copies"],
  unchecked: ["not checked", "not checked"],
  surplus: ["surplus copies", "surplus copies"],
  misplaced: ["misplaced copies", "misplaced copies"],
  orphans: ["unknown blocks", "unknown blocks"],
};

const options = {
  level: value(
    "<level>",
    level,
    "meta: the record alone; presence: and whether the copies are there; full: and their bytes (default)",
    { choices: LEVELS },
  ),
  dryRun: flag("only look: nothing is mended, and every error counts as left"),
  patience: value(
    "<seconds>",
    seconds,
    "give up on repairs when none at all was made for so long (default: 30)",
  ),
  ...progressOption,
  ...clientOptions,
  ...jsonOption,
};

type FsckContext = Context<typeof options>;

export const fsck = defineCommand({
  usage: "fsck [PATH] [--level meta|presence|full] [--dry-run]",
  description: `
Checks the cluster, or PATH and what is below it: names, link counts, extents and blocks on record, then every copy of
every block, which is read whole on its own server, all servers at a time. It may run while the cluster is in use.
Bad and missing copies are made again from good ones, copies of blocks that are dead for good are deleted. Wrong link counts,
byte counts and parents are corrected, names that lead nowhere removed, and what no path leads to gets a name in /lost+found.
What contradicts itself in inodes and extents is told and left as it is. Copies on servers that are down are not checked
and are no error, unless a block has no other copy. The newest backup of the metadata is read where it lies, and sent again
to data servers that lost or damaged it.`,
  options,
  operands: { least: 0, most: 1 },
  examples: [
    "dfs fsck",
    "dfs fsck /directory --dry-run",
    "dfs fsck --level meta --json",
    "dfs corrupt /file && dfs fsck /file    # finds the copy and mends it: exit status 1",
  ],
  json: [
    'one row for each finding, then one with the summary; when the metadata server was away, {"begunAgain": true} and all',
    "findings that are left once more:",
    "kind              unreachableInode, wrongLinkCount, danglingName, wrongParent, extentBeyondEnd, extentWithoutBlock,",
    "                  extentOverlap, wrongAllocated, wrongRefs, missingCopies, lostCopy, rottenCopy, unreadableCopy,",
    "                  unavailableBlock, damagedBackup, missingBackup, orphanCopy; notes: unchecked, surplus, misplaced, orphans",
    "outcome           corrected, left or note",
    "path              a path of the file, null when none leads there; pathBase64 when not UTF-8",
    "inode id          of the file and of the block, as text, or null",
    "block offset      index of the block in the file and where it begins, or null",
    "server            id, or null",
    "detail            what exactly, in words",
    "summary           in the last row: level, dryRun, copies, bytes, seconds, corrected, left, notes, kinds (counts by kind)",
  ],
  exits: [
    [0, "no errors"],
    [1, "errors were found, and all of them corrected"],
    [2, "usage"],
    [4, "errors are left (with --dry-run: errors were found)"],
    [
      8,
      "it could not run or not to the end: no cluster, no such path, another fsck, the metadata server stays away",
    ],
  ],
  async run(context) {
    const path = context.args[0] === undefined ? undefined : remotePath(context.args[0]);
    try {
      return await withClient(context, (client) => watch(context, client, path));
    } catch (error) {
      const isOurs = error instanceof OutputClosed || isDfsError(error, "usage");
      if (isOurs || context.signal.aborted) throw error;
      reportError(withPath(error, path), context.messages, context.options.debug);
      return EXIT.notRun;
    }
  },
});

/** What is wrong with a path, with all of it. */
function withPath(error: unknown, path: Uint8Array | undefined): unknown {
  if (path === undefined || !isDfsError(error) || !OF_PATHS.has(error.kind)) return error;
  return new DfsError(error.kind, sentence(`cannot check ${quoted(path)}`, error), {
    cause: error,
  });
}

/** What a run came to, as its findings come in. */
export class Tally {
  readonly byKind = new Map<FsckKind, { corrected: number; left: number; note: number }>();
  corrected = 0;
  left = 0;
  notes = 0;

  /** A run was lost, and another one goes through everything again: it finds what is left, and not what was corrected. */
  beginAgain(): void {
    for (const counts of this.byKind.values()) counts.left = counts.note = 0;
    for (const [kind, { corrected }] of this.byKind) if (corrected === 0) this.byKind.delete(kind);
    this.left = this.notes = 0;
  }

  add({ kind, outcome }: FsckFinding): void {
    const counts = this.byKind.get(kind) ?? { corrected: 0, left: 0, note: 0 };
    this.byKind.set(kind, counts);
    counts[outcome]++;
    if (outcome === "note") this.notes++;
    else this[outcome]++;
  }

  get exitCode(): ExitCode {
    if (this.left > 0) return EXIT.errorsLeft;
    return this.corrected > 0 ? EXIT.corrected : EXIT.done;
  }
}

async function watch(
  context: FsckContext,
  client: DfsClient,
  path: Uint8Array | undefined,
): Promise<ExitCode> {
  const { options: wish, out, messages, signal } = context;
  const tally = new Tally();
  const progress = new Progress(messages, { style: wish.progress, things: ["copy", "copies"] });
  const asked = wish.level ?? "full";
  let last: FsckReport | undefined;
  const follow = async (): Promise<void> => {
    const reports = client.fsck(path, {
      level: asked,
      dryRun: wish.dryRun,
      patienceMs: wish.patience ?? DEFAULT_PATIENCE_MS,
      signal,
    });
    for await (const report of reports) {
      last = report;
      if (report.begunAgain) {
        tally.beginAgain();
        if (wish.json) await out.row({ begunAgain: true });
        messages.note("the metadata server was away: everything is checked again from the start");
      }
      progress.files = report.doneCopies;
      progress.bytes = report.doneBytes;
      if (report.phase !== "record") progress.total = { bytes: report.totalBytes };
      progress.remark = remarkOf(report);
      if (report.findings.length > 0) messages.live(""); // the bar comes back below the findings
      for (const finding of report.findings) {
        tally.add(finding);
        if (wish.json) await out.row(jsonFinding(finding, client.blockSize));
        else await out.line(lineOf(finding, client.blockSize, wish.dryRun));
      }
      if (report.findings.length > 0) await out.flush();
    }
    signal.throwIfAborted();
  };
  try {
    await tellingInterruption(signal, () => interruptedCheck(progress, tally), follow);
  } finally {
    progress.end();
  }
  progress.stop("checked");
  const end = { level: asked, dryRun: wish.dryRun, last, elapsedMs: progress.elapsedMs };
  if (wish.json) await out.row({ summary: jsonSummary(tally, end) });
  else if (!messages.quiet) for (const line of summary(tally, end)) await out.line(line);
  return tally.exitCode;
}

/** What Ctrl-C ends it with. */
function interruptedCheck(progress: Progress, { corrected }: Tally): DfsError {
  const mended = corrected === 0 ? "" : `; ${counted(corrected, "error")} corrected, which stays`;
  return interrupted(
    `checked ${progress.summary()}${mended}`,
    "dfs fsck begins from the start; dfs fsck PATH checks a part",
  );
}

function remarkOf({ phase, found, waiting }: FsckReport): string {
  const parts = [
    ...(phase === "record" ? ["going through the record"] : []),
    ...(found === 0 ? [] : [counted(found, "error")]),
    ...(waiting === 0 ? [] : [`${countText(waiting)} being mended`]),
  ];
  return parts.join(", ");
}

/** "corrected: rotten copy: /a/b, block 3 (id 17), server 2: its bytes are not those that were written". */
function lineOf(finding: FsckFinding, blockSize: number, dryRun: boolean): string {
  const { path, inode, block, server, offset } = finding;
  const where = [
    ...(path !== null ? [escaped(path)] : inode !== null ? [`inode ${inode}`] : []),
    ...(block === null ? [] : [blockWords(block, offset, blockSize)]),
    ...(server === null ? [] : [`server ${server}`]),
  ];
  const place = where.length === 0 ? "" : `${where.join(", ")}: `;
  const word = outcomeWord(finding, dryRun);
  return `${word}: ${KIND_WORDS[finding.kind][0]}: ${place}${finding.detail}`;
}

function outcomeWord({ outcome }: FsckFinding, dryRun: boolean): string {
  if (outcome === "note") return "note";
  if (outcome === "corrected") return yellow("corrected");
  return red(dryRun ? "found" : "left");
}

function blockWords(block: bigint, offset: number | null, blockSize: number): string {
  return offset === null
    ? `block id ${block}`
    : `block ${Math.floor(offset / blockSize)} (id ${block})`;
}

interface End {
  readonly level: FsckLevel;
  readonly dryRun: boolean;
  readonly last: FsckReport | undefined;
  readonly elapsedMs: number;
}

/** The last lines: what was looked at, and what was found in all and by kind. */
export function summary(tally: Tally, { level: asked, dryRun, last, elapsedMs }: End): string[] {
  const copies = counted(last?.doneCopies ?? 0, "copy", "copies");
  const looked = {
    meta: "the record",
    presence: `the record and the presence of ${copies}`,
    full: `the record and ${copies}, ${sizeText(last?.doneBytes ?? 0)}`,
  }[asked];
  const errors = tally.corrected + tally.left;
  const verdict =
    errors === 0
      ? green("no errors")
      : tally.left === 0
        ? yellow(`${counted(errors, "error")}, all corrected`)
        : red(
            `${counted(errors, "error")}, ${countText(tally.left)} ${dryRun ? "found and not touched" : "left"}`,
          );
  return [
    `Checked ${looked} in ${durationText(elapsedMs)}: ${verdict}.`,
    ...[...tally.byKind].map(([kind, { corrected, left, note }]) => {
      const total = corrected + left + note;
      const parts = [
        ...(corrected === 0 ? [] : [`${countText(corrected)} corrected`]),
        ...(left === 0 ? [] : [`${countText(left)} ${dryRun ? "found" : "left"}`]),
        ...(note === 0 ? [] : [counted(note, "note")]),
      ];
      return `  ${KIND_WORDS[kind][total === 1 ? 0 : 1]}: ${parts.join(", ")}`;
    }),
  ];
}

function jsonFinding(finding: FsckFinding, blockSize: number): object {
  const { kind, outcome, path, inode, block, server, offset, detail } = finding;
  return {
    kind,
    outcome,
    ...(path === null ? { path: null } : jsonName("path", path)),
    inode: inode === null ? null : inode.toString(),
    block: block === null || offset === null ? null : Math.floor(offset / blockSize),
    id: block === null ? null : block.toString(),
    offset,
    server,
    detail,
  };
}

function jsonSummary(tally: Tally, { level: asked, dryRun, last, elapsedMs }: End): object {
  const totals = [...tally.byKind].map(([kind, { corrected, left, note }]) => [
    kind,
    corrected + left + note,
  ]);
  return {
    level: asked,
    dryRun,
    copies: last?.doneCopies ?? 0,
    bytes: last?.doneBytes ?? 0,
    seconds: Math.round(elapsedMs) / 1000,
    corrected: tally.corrected,
    left: tally.left,
    notes: tally.notes,
    kinds: Object.fromEntries(totals) as object,
  };
}

function level(text: string): FsckLevel {
  const found = LEVELS.find((each) => each === text);
  if (found !== undefined) return found;
  throw new DfsError("usage", `expected one of ${LEVELS.join(", ")}`);
}
