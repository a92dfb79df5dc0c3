/**
 * Reads one segment for its opening: the facts that the decision tables ask for, and everything that was found in it.
 */
import { join } from "node:path";
import type { Disk, DiskFile } from "../base/disk.ts";
import { DfsError, isDfsError } from "../base/errors.ts";
import type { ClusterId, Lsn, ServerId } from "../base/ids.ts";
import {
  decodeSegmentHeader,
  SEGMENT_HEADER_BYTES,
  segmentIdentity,
  type SegmentHeader,
  type SegmentIdentity,
} from "./format.ts";
import { walkSegment, type Finding } from "./reader.ts";
import type { SegmentFacts } from "./recovery-rules.ts";
import { segmentFileName, type SegmentName } from "./segment.ts";
import { Window } from "./window.ts";

export interface InspectedSegment {
  /** As its file name says; the header agrees when it is whole. */
  readonly identity: SegmentIdentity;
  readonly fileName: string;
  readonly path: string;
  readonly size: number;
  readonly facts: SegmentFacts;
  /** From its header; 0 when that is damaged. */
  readonly lsnFloor: Lsn;
  readonly findings: readonly Finding[];
  /** Why the log cannot be opened, for headers that are foreign or newer. */
  readonly refusal: DfsError | undefined;
}

export interface InspectOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly cluster: ClusterId;
  readonly server: ServerId;
}

/**
 * Reads the segment `name`. In the tail the bodies of puts are verified as well, because a torn write may have left a
 * whole header before a part of its body. `suspectEnd` is where a suspect segment stops counting.
 */
export function inspectSegment(
  options: InspectOptions,
  name: SegmentName,
  place: SegmentFacts["place"],
  suspectEnd: number | undefined,
): InspectedSegment {
  const fileName = segmentFileName(name);
  const path = join(options.directory, fileName);
  const file = options.disk.open(path, "read");
  try {
    return inspectFile(options, { ...name, fileName, path }, file, place, suspectEnd);
  } finally {
    void file.close().catch(() => undefined); // it was only read: nothing can be lost by a failed close
  }
}

/** The position up to which a segment with these findings was durable when its last whole record header was written. */
export function knownSynced(findings: readonly Finding[]): number {
  let synced = SEGMENT_HEADER_BYTES;
  for (const { header } of findings) {
    if (header !== undefined && header.synced > synced) synced = header.synced;
  }
  return synced;
}

function inspectFile(
  { cluster, server }: InspectOptions,
  name: SegmentName & { readonly fileName: string; readonly path: string },
  file: DiskFile,
  place: SegmentFacts["place"],
  suspectEnd: number | undefined,
): InspectedSegment {
  const { fileName, path } = name;
  const size = file.size();
  const identity = segmentIdentity(cluster, server, name.number, name.salt);
  const base = { identity, fileName, path, size };
  const content = size > SEGMENT_HEADER_BYTES ? "some" : "none";
  const refused = (header: "newer" | "foreign", refusal: DfsError): InspectedSegment => ({
    ...base,
    facts: { header, place, content, seal: "none" },
    lsnFloor: 0n as Lsn,
    findings: [],
    refusal,
  });
  try {
    const header = decodeSegmentHeader(new Window(file, size).view(0, SEGMENT_HEADER_BYTES));
    const stranger = header && strangerError(path, header, identity);
    if (stranger !== undefined) return refused("foreign", stranger);
    const whole = header?.identity.number === name.number && header.identity.salt === name.salt;
    const bodies = place === "tail" ? "all" : "tombstones";
    const end = suspectEnd ?? size;
    const findings = [...walkSegment(file, identity, { bodies, end })];
    return {
      ...base,
      facts: {
        header: whole ? "whole" : "damaged",
        place,
        content,
        seal:
          suspectEnd !== undefined ? "suspect" : hasOwnSeal(findings, identity) ? "own" : "none",
      },
      lsnFloor: whole ? header.lsnFloor : (0n as Lsn),
      findings,
      refusal: undefined,
    };
  } catch (error) {
    if (!isDfsError(error, "unsupported")) throw error;
    return refused(
      "newer",
      new DfsError("unsupported", `cannot open ${path}: ${error.message}`, { cause: error }),
    );
  }
}

function hasOwnSeal(findings: readonly Finding[], { number }: SegmentIdentity): boolean {
  return findings.some(
    ({ type, header }) => type === "record" && header.kind === "seal" && header.segment === number,
  );
}

/** Why a segment with this whole header is not ours, or undefined. */
function strangerError(
  path: string,
  { identity }: SegmentHeader,
  ours: SegmentIdentity,
): DfsError | undefined {
  if (identity.cluster !== ours.cluster) {
    return new DfsError(
      "wrongCluster",
      `cannot open ${path}: it belongs to cluster ${identity.cluster}, not to ${ours.cluster}\n` +
        "move the file out of this directory, or start the server with the directory it belongs to",
    );
  }
  if (identity.server !== ours.server) {
    return new DfsError(
      "wrongPeer",
      `cannot open ${path}: it belongs to data server ${identity.server}, not to ${ours.server}\n` +
        "move the file out of this directory, or start the server with the directory it belongs to",
    );
  }
  return undefined;
}
