/**
 * `dfs log dump`: the segments and records of a stopped data server's log, and the damage in them.
 *
 * The one tool that may import src/log: it reads the files without the server, and decides about damage by the same
 * tables as an opening of the log (docs/log-format.md), but never writes. Two passes: the first goes from the newest
 * segment to the oldest, because only a later segment says that an earlier one is suspect or must be whole; the second
 * prints, oldest first. Neither holds more than the findings of one segment.
 */
import { basename, dirname, join, resolve } from "node:path";
import { liveOwner } from "../base/directory-lock.ts";
import { readWholeFile, realDisk } from "../base/disk.ts";
import { DfsError, isDfsError, systemCodeOf } from "../base/errors.ts";
import { clusterId, serverId, type ClusterId, type ServerId } from "../base/ids.ts";
import { describeCorruption, type CorruptionKind } from "../log/corruption.ts";
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES } from "../log/format.ts";
import { inspectFiles, type InspectedFiles } from "../log/inspect-files.ts";
import { inspectSegment, knownSynced, type InspectedSegment } from "../log/inspect.ts";
import { walkSegment, type Finding, type FoundDamage, type FoundRecord } from "../log/reader.ts";
import { damageRow, segmentRow, type SegmentRow as Decision } from "../log/recovery-rules.ts";
import { TORN_DIRECTORY } from "../log/recovery.ts";
import { listSegments, parseSegmentFileName, segmentFileName } from "../log/segment.ts";
import { defineCommand, flag, type Context } from "./shared/command.ts";
import { generalOptions, jsonOption } from "./shared/connect.ts";
import { EXIT } from "./shared/exit-codes.ts";
import { DumpText, type DumpRow, type RecordRow } from "./shared/log-rows.ts";
import { printable } from "./shared/text.ts";
import { directory } from "./shared/values.ts";

const options = {
  verify: flag("read and verify the blocks of all segments, not only of the last one"),
  brief: flag("no records: only segments and damage"),
  ...jsonOption,
  ...generalOptions,
};

export const logDump = defineCommand({
  usage: "log dump DIR [--verify] [--brief]",
  description: `
Prints what is in the log of a data server that is not running: segments, records, and damage with file and offsets. DIR is
the server's directory, or the folder log in it. Nothing is written. Headers and deletions are always verified, blocks
where a start may do it as well: in the last segment with records, when no checkpoint covers it. --verify reads all blocks. A
torn tail, which a crash leaves, is told but is no damage: nothing in it was acknowledged, and the next start cuts it off.`,
  options,
  operands: { least: 1, most: 1 },
  examples: [
    "dfs log dump ~/.local/share/dfs/data-1",
    "dfs log dump --brief --verify /srv/dfs/data-1",
  ],
  json: [
    "row               log, manifest, checkpoint, segment, record, damage, torn or total: which keys there are",
    "log               first row: directory, cluster, server, segments, bytes, torn and unfinished (file names)",
    "manifest          state (whole, damaged, missing), bytes, segments (how many it names)",
    "checkpoint        state (whole, damaged, missing, unfit, other), bytes, segment (it covers those up to this number),",
    "                  entries (blocks in it), misfit (why it is unfit, or null)",
    "segment           segment (its number), file, bytes, header (whole, damaged, foreign, newer), place (tail, inner),",
    "                  seal (own, suspect, none), decision (row of the table in docs/log-format.md), end (it counts up to)",
    "record            segment, position, bytes, lsn, synced, kind, state (kept, torn, surplus);",
    "                  put: block, length, inode, fileOffset, checksum (16 hexadecimal digits);",
    "                  tombstone: blocks; seal: sealed (segment), end, reason",
    "damage            segment (null: of the log as a whole), file, kind, from, to, block (or null), text",
    "torn              segment, file, from, to",
    "total             last row: segments, puts, tombstones, seals, damages, tornBytes, verified",
    "                  64-bit numbers (lsn, block, inode) are text",
  ],
  exits: [
    [0, "no damage found"],
    [1, "damage found, or the log could not be read (a running server owns it)"],
    [2, "usage"],
    [4, "no such directory, or no log in it"],
  ],
  async run(context) {
    const dir = directory(context.args[0]!.text);
    const place = findLog(dir);
    refuseOwned(place, "");
    const damages = await print(context, place);
    refuseOwned(place, "while its log was being printed, so what was printed may be wrong");
    return damages === 0 ? EXIT.done : EXIT.failed;
  },
});

interface LogPlace {
  readonly logDirectory: string;
  /** The server's directory, with identity and lock; undefined for a log that lies somewhere alone. */
  readonly serverDirectory: string | undefined;
}

interface Owner {
  readonly cluster: ClusterId;
  readonly server: ServerId;
}

/** A segment as an opening of the log would see it. */
interface Judged {
  readonly segment: Omit<InspectedSegment, "findings">;
  readonly decision: Decision;
  /** It counts up to here. */
  readonly end: number;
  /** Where a later segment says that it ends, if one does; larger than `end` when the file has lost its end. */
  readonly wantedEnd: number;
  /** Bytes from `end` to the end of the file are a torn tail. */
  readonly isTorn: boolean;
  /** Where its own seal ends: what follows is surplus. */
  readonly sealEnd: number;
}

/** Where the log of DIR is. @throws DfsError `notFound`. */
function findLog(dir: string): LogPlace {
  const names = namesIn(dir);
  if (names === undefined) {
    throw new DfsError("notFound", `cannot dump ${printable(dir)}: no such directory`);
  }
  if (names.includes("log")) return { logDirectory: join(dir, "log"), serverDirectory: dir };
  const parent = dirname(resolve(dir));
  const isInServer =
    basename(resolve(dir)) === "log" && namesIn(parent)?.includes("identity.json") === true;
  if (isInServer || names.some((name) => parseSegmentFileName(name) !== undefined)) {
    return { logDirectory: dir, serverDirectory: isInServer ? parent : undefined };
  }
  throw new DfsError(
    "notFound",
    `cannot dump ${printable(dir)}: there is no log in it\n` +
      "name the directory of a data server, which holds identity.json and log",
  );
}

/** Names in a directory; undefined when there is no directory of that name. */
function namesIn(path: string): string[] | undefined {
  try {
    return realDisk.list(path);
  } catch (error) {
    if (systemCodeOf(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

/** @throws DfsError `locked` while a server runs in the directory. */
function refuseOwned({ serverDirectory }: LogPlace, since: string): void {
  if (serverDirectory === undefined) return;
  const pid = liveOwner(serverDirectory);
  if (pid === undefined) return;
  throw new DfsError(
    "locked",
    since === ""
      ? `cannot dump ${printable(serverDirectory)}: a running server owns it (process ${pid}), and its log changes\n` +
          "stop that server first"
      : `process ${pid} has started to use ${printable(serverDirectory)} ${since}\nstop it and dump again`,
  );
}

/** Prints everything; returns how many places are damaged. */
async function print(context: Context<typeof options>, place: LogPlace): Promise<number> {
  const { out, signal } = context;
  const { json, verify, brief } = context.options;
  const owner = ownerOf(place);
  const files = owner && (await inspectFiles(realDisk, place.logDirectory, owner));
  const judged = files && owner ? await judgeAll(place.logDirectory, owner, files, signal) : [];
  const text = new DumpText((line) => out.line(line));
  const total = {
    row: "total" as const,
    segments: judged.length,
    puts: 0,
    tombstones: 0,
    seals: 0,
  };
  const found = { damages: 0, tornBytes: 0 };
  const tell = async (row: DumpRow): Promise<void> => {
    if (row.row === "damage") found.damages++;
    else if (row.row === "torn") found.tornBytes += row.to - row.from;
    else if (row.row === "record") total[`${row.kind}s`]++;
    if (brief && row.row === "record") return;
    await (json ? out.row(row) : text.add(row));
  };
  await tell(logRow(place, owner, judged));
  if (files !== undefined) for (const row of fileRows(files)) await tell(row);
  for (const each of judged) {
    await turn(signal);
    for (const row of rowsOf(each, verify)) {
      await tell(row);
    }
  }
  await tell({ ...total, ...found, verified: verify });
  return found.damages;
}

/**
 * Whose log it is: as the identity file says, else as the first whole header of a segment says.
 * @throws DfsError `io` when there are segments and nothing tells whose they are.
 */
function ownerOf({ logDirectory, serverDirectory }: LogPlace): Owner | undefined {
  const fromFile = serverDirectory === undefined ? undefined : identityIn(serverDirectory);
  if (fromFile !== undefined) return fromFile;
  const segments = listSegments(realDisk, logDirectory);
  for (const name of segments) {
    const bytes = readStart(join(logDirectory, segmentFileName(name)));
    const header = headerIn(bytes);
    if (header !== undefined) return header;
  }
  if (segments.length === 0) return undefined;
  throw new DfsError(
    "io",
    `cannot dump ${printable(logDirectory)}: no segment has a whole header and there is no identity.json,\n` +
      "so nobody can tell which server's records these are",
  );
}

/** Cluster and server in the identity file; undefined when it does not tell, in whatever way. */
function identityIn(dir: string): Owner | undefined {
  if (realDisk.list(dir)?.includes("identity.json") !== true) return undefined;
  const text = new TextDecoder().decode(readWholeFile(realDisk, join(dir, "identity.json")));
  try {
    const { cluster, server } = JSON.parse(text) as { cluster?: unknown; server?: unknown };
    if (typeof cluster !== "string" || !/^[0-9a-f]{32}$/.test(cluster)) return undefined;
    return Number.isSafeInteger(server)
      ? { cluster: clusterId(cluster), server: serverId(server as number) }
      : undefined;
  } catch {
    return undefined; // damaged: the segments tell as well
  }
}

function readStart(path: string): Uint8Array {
  const file = realDisk.open(path, "read");
  try {
    const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
    return bytes.subarray(0, file.readNow(bytes, 0));
  } finally {
    void file.close().catch(() => undefined); // it was only read
  }
}

function headerIn(bytes: Uint8Array): Owner | undefined {
  try {
    return decodeSegmentHeader(bytes)?.identity;
  } catch (error) {
    if (isDfsError(error, "unsupported")) return undefined; // told when its turn comes
    throw error;
  }
}

/** First pass: all segments, oldest first, judged from the newest on. */
async function judgeAll(
  logDirectory: string,
  owner: Owner,
  { lost, checkpoint }: InspectedFiles,
  signal: AbortSignal,
): Promise<Judged[]> {
  const judged: Judged[] = [];
  const suspectEnds = new Map<number, number>();
  // Behind what was lost there may have been records; what a checkpoint covers was sealed durably.
  const newestLost = lost.at(-1)?.number ?? 0;
  const coveredTo = checkpoint.state === "whole" ? checkpoint.segment : 0;
  let place: "tail" | "inner" = "tail";
  const inspection = { disk: realDisk, directory: logDirectory, ...owner };
  for (const name of listSegments(realDisk, logDirectory).toReversed()) {
    await turn(signal);
    if (name.number < newestLost || name.number <= coveredTo) place = "inner";
    const { findings, ...segment } = inspectSegment(
      inspection,
      name,
      place,
      suspectEnds.get(name.number),
    );
    const decision = segmentRow(segment.facts);
    const cut = place === "tail" ? cutOf(findings, segment.size) : segment.size;
    const sealEnd = ownSealEnd(findings, name.number, cut);
    const wantedEnd = suspectEnds.get(name.number) ?? cut;
    const end = Math.min(cut, wantedEnd);
    judged.unshift({ segment, decision, end, wantedEnd, isTorn: cut < segment.size, sealEnd });
    if (segment.refusal !== undefined && segment.facts.content === "some") place = "inner";
    for (const finding of findings) {
      if (startOf(finding) >= Math.min(end, sealEnd)) break;
      place = "inner";
      if (finding.type !== "record" || finding.header.kind !== "seal") continue;
      const { header } = finding;
      if (header.segment !== name.number) suspectEnds.set(header.segment, header.end);
    }
  }
  return judged;
}

/** Lets a signal be heard: reading a segment holds up everything else. @throws the signal's reason. */
async function turn(signal: AbortSignal): Promise<void> {
  await new Promise((resume) => setImmediate(resume));
  signal.throwIfAborted();
}

/** Where the torn tail begins: rows R and S of the table of damage; the end of the file when there is none. */
function cutOf(findings: readonly Finding[], size: number): number {
  const synced = knownSynced(findings);
  for (const finding of findings) {
    if (finding.type !== "damage") continue;
    const row = damageRow({ place: "tail", from: finding.from, to: finding.to, synced });
    if (row === "R") return synced;
    if (row === "S") return finding.from;
  }
  return size;
}

function ownSealEnd(findings: readonly Finding[], number: number, cut: number): number {
  for (const finding of findings) {
    if (finding.type !== "record" || finding.header.kind !== "seal") continue;
    if (finding.header.segment === number && finding.header.position < cut) return finding.end;
  }
  return Infinity;
}

function logRow({ logDirectory }: LogPlace, owner: Owner | undefined, judged: readonly Judged[]) {
  return {
    row: "log" as const,
    directory: logDirectory,
    cluster: owner?.cluster ?? null,
    server: owner?.server ?? null,
    segments: judged.length,
    bytes: judged.reduce((sum, { segment }) => sum + segment.size, 0),
    torn: realDisk.list(join(logDirectory, TORN_DIRECTORY)) ?? [],
    unfinished: (realDisk.list(logDirectory) ?? []).filter((name) => name.endsWith(".seg.new")),
  };
}

/** Manifest, checkpoint, and what is wrong with them. */
function* fileRows({ manifest, checkpoint, damages }: InspectedFiles): Generator<DumpRow> {
  const { state, bytes, segments } = manifest;
  yield { row: "manifest", state, bytes, segments: segments.length };
  yield { row: "checkpoint", ...checkpoint, misfit: checkpoint.misfit ?? null };
  for (const { kind, file, from, to } of damages) {
    const text = describeCorruption({ kind, file, from, to });
    yield { row: "damage", segment: null, file, kind, from, to, block: null, text };
  }
}

/** Second pass: everything to be said about one segment. */
function* rowsOf(judged: Judged, verify: boolean): Generator<DumpRow, void, void> {
  const { segment, decision, end, wantedEnd, isTorn, sealEnd } = judged;
  const { facts, fileName, size, refusal } = segment;
  const { number } = segment.identity;
  const { header, place, seal } = facts;
  const head = { segment: number, file: fileName };
  yield { row: "segment", ...head, bytes: size, header, place, seal, decision, end };
  if (refusal !== undefined) {
    const text = refusal.message.replaceAll("\n", "; ");
    yield { row: "damage", ...head, kind: header, from: 0, to: size, block: null, text };
    return;
  }
  if (header === "damaged") yield damageOf(judged, "segmentHeader", 0, SEGMENT_HEADER_BYTES);
  if (decision === "I") yield damageOf(judged, "unsealed", size, size);
  let surplusIsTold = false;
  for (const finding of findingsOf(judged, verify)) {
    const start = startOf(finding);
    const state = start >= end ? "torn" : start >= sealEnd ? "surplus" : "kept";
    if (state === "surplus" && !surplusIsTold) {
      yield damageOf(judged, "surplus", start, end);
      surplusIsTold = true;
    }
    if (finding.type === "record") yield recordRow(number, finding, state);
    else if (state === "kept") yield foundDamage(judged, finding);
  }
  if (wantedEnd > end) yield damageOf(judged, "truncated", end, wantedEnd);
  if (isTorn) yield { row: "torn", ...head, from: end, to: size };
}

function* findingsOf({ segment, end }: Judged, verify: boolean): Generator<Finding, void, void> {
  const { facts, identity, path } = segment;
  const file = realDisk.open(path, "read");
  try {
    const bodies = verify || facts.place === "tail" ? "all" : "tombstones";
    yield* walkSegment(file, identity, {
      bodies,
      ...(facts.seal === "suspect" ? { end } : {}),
    });
  } finally {
    void file.close().catch(() => undefined); // it was only read
  }
}

function foundDamage(judged: Judged, { what, from, to, header }: FoundDamage): DumpRow {
  const kinds = { header: "recordHeader", body: "recordBody", truncated: "truncated" } as const;
  const block = header?.kind === "put" ? header.block : null;
  return damageOf(judged, kinds[what], from, Math.min(to, judged.end), block);
}

function damageOf(
  { segment: { identity, fileName: file } }: Judged,
  kind: CorruptionKind,
  from: number,
  to: number,
  block: bigint | null = null,
): DumpRow {
  const place = { kind, file, from, to };
  const which = block === null ? "" : ` (block ${block})`;
  const text = describeCorruption(place) + which;
  return { row: "damage", segment: identity.number, ...place, block, text };
}

function recordRow(segment: number, found: FoundRecord, state: RecordRow["state"]): RecordRow {
  const { header, end } = found;
  const { kind, position, lsn, synced } = header;
  const row = {
    row: "record",
    segment,
    position,
    bytes: end - position,
    lsn,
    synced,
    kind,
    state,
  } as const;
  switch (header.kind) {
    case "put": {
      const { block, length, inode, fileOffset, bodyChecksum } = header;
      const checksum = bodyChecksum.toString(16).padStart(16, "0");
      return { ...row, block, length, inode, fileOffset, checksum };
    }
    case "tombstone":
      return { ...row, blocks: found.blocks };
    case "seal":
      return { ...row, sealed: header.segment, end: header.end, reason: header.reason };
  }
}

function startOf(finding: Finding): number {
  return finding.type === "record" ? finding.header.position : finding.from;
}
