// Everything that is read from a disk: segments with their records, checkpoint, manifest, and the small files beside them. A
// disk does not lie on purpose, but what it damages must never be taken as good.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { backupChecksum } from "../../src/base/backup.ts";
import { hash64 } from "../../src/base/checksum.ts";
import type { Disk } from "../../src/base/disk.ts";
import { blockId, incarnationId, lsn, reignId, serverId } from "../../src/base/ids.ts";
import { readCheckpoint } from "../../src/log/checkpoint-reader.ts";
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  SEGMENT_HEADER_BYTES,
  segmentIdentity,
} from "../../src/log/format.ts";
import { decodeManifest, encodeManifest } from "../../src/log/manifest.ts";
import { walkSegment, type Finding } from "../../src/log/reader.ts";
import {
  encodeRecordHeader,
  encodeTombstoneBody,
  paddingBytes,
  RECORD_HEADER_BYTES,
  type RecordHeader,
} from "../../src/log/record.ts";
import { decodeScrubState, encodeScrubState } from "../../src/log/scrub-file.ts";
import { decodeSegmentImage } from "../../src/log/segment-image.ts";
import * as backups from "../../src/server/data/backup-file.ts";
import { decodeIdentity, encodeIdentity, type Identity } from "../../src/server/data/identity.ts";
import { isDfsError } from "../../src/base/errors.ts";
import { readKey } from "../../src/tools/shared/cluster-key.ts";
import { readClusterFile } from "../../src/tools/shared/cluster-file.ts";
import { makeBlock } from "../log/blocks.ts";
import { CLUSTER, SERVER } from "../log/identity.ts";
import { joined } from "./generate.ts";
import { about, mustHold, refusalOf, sameBytes, type Target } from "./target.ts";

const GOLDEN = join(import.meta.dir, "../golden/log");
const CHECKSUM_BYTES = 8;
const OWNER = { cluster: CLUSTER, server: SERVER };
const IDENTITY = segmentIdentity(CLUSTER, SERVER, 7, 0x5a17n);

/** A segment with a few small puts, a tombstone and a seal, and where its records begin. */
const { segment, positions } = makeSegment();

function makeSegment(): { segment: Uint8Array; positions: readonly number[] } {
  const parts: Uint8Array[] = [encodeSegmentHeader({ identity: IDENTITY, lsnFloor: lsn(40n) })];
  const starts: number[] = [];
  let at = SEGMENT_HEADER_BYTES;
  const add = (make: (position: number) => { header: RecordHeader; body: Uint8Array }): void => {
    const { header, body } = make(at);
    const padding = new Uint8Array(paddingBytes(RECORD_HEADER_BYTES + body.length));
    starts.push(at);
    parts.push(encodeRecordHeader(IDENTITY, header), body, padding);
    at += RECORD_HEADER_BYTES + body.length + padding.length;
  };
  for (const id of [1, 2, 3]) {
    const { block, length, checksum, inode, fileOffset, pieces, bytes } = makeBlock(id, id * 21);
    add((position) => {
      const body = joined([pieces, bytes]);
      const common = { position, synced: 0, lsn: lsn(BigInt(40 + id)), bodyLength: body.length };
      const fields = { block, length, inode, fileOffset, bodyChecksum: checksum };
      return { header: { kind: "put", ...common, ...fields }, body };
    });
  }
  add((position) => {
    const body = encodeTombstoneBody([blockId(1n), blockId(9n)]);
    const common = { position, synced: 0, lsn: lsn(44n), bodyLength: body.length };
    return { header: { kind: "tombstone", ...common, bodyChecksum: hash64(body) }, body };
  });
  add((position) => {
    const common = { position, synced: position, lsn: lsn(45n), bodyLength: 0 };
    const seal = { segment: IDENTITY.number, end: position, reason: "closed" } as const;
    const bodyChecksum = hash64(new Uint8Array());
    return { header: { kind: "seal", ...common, ...seal, bodyChecksum }, body: new Uint8Array() };
  });
  return { segment: joined(parts), positions: starts };
}

/** Walks over a segment, as an opening and a scrub do. Every byte is told of once. */
function walked(bytes: Uint8Array): Finding[] {
  const file = {
    size: () => bytes.length,
    readNow: (target: Uint8Array, position: number) => {
      const part = bytes.subarray(position, position + target.length);
      target.set(part);
      return part.length;
    },
  };
  const findings: Finding[] = [];
  let at = SEGMENT_HEADER_BYTES;
  for (const finding of walkSegment(file, IDENTITY, { bodies: "all" })) {
    const from = finding.type === "record" ? finding.header.position : finding.from;
    const to = finding.type === "record" ? finding.end : finding.to;
    mustHold(
      from === at && to > from && to <= bytes.length,
      "findings follow each other without a gap",
    );
    at = to;
    findings.push(finding);
  }
  mustHold(at >= bytes.length, "a walk goes to the end");
  return findings;
}

function shown(findings: readonly Finding[]): string {
  return findings
    .map((each) =>
      each.type === "record"
        ? each.header.kind
        : `${each.what}${each.blockIsRight ? " of padding" : ""}`,
    )
    .join(" ");
}

const segments: Target = {
  name: "segments",
  generate: () => segment,
  read: (input) => {
    try {
      const findings = walked(input);
      for (const finding of findings) {
        if (finding.type !== "record") continue;
        const { position } = finding.header;
        const is = input.subarray(position, finding.end);
        mustHold(
          sameBytes(is, segment.subarray(position, finding.end)),
          "a record that is taken as good is as it was written",
        );
      }
      return shown(findings);
    } catch (error) {
      return refusalOf(error, "unsupported");
    }
  },
};

/** As `segments`, but the headers' checksums are made right again: what else is wrong must be noticed without them. */
const sealedSegments: Target = {
  name: "segments-with-right-checksums",
  generate: () => segment,
  read: (input) => {
    const bytes = Uint8Array.from(input);
    for (const position of positions) sealed(bytes, position, RECORD_HEADER_BYTES);
    try {
      return shown(walked(bytes));
    } catch (error) {
      return refusalOf(error, "unsupported");
    }
  },
};

/** Puts the right checksum at the end of `length` bytes. */
function sealed(bytes: Uint8Array, start: number, length: number): void {
  const end = start + length - CHECKSUM_BYTES;
  if (end + CHECKSUM_BYTES > bytes.length) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setBigUint64(end, hash64(bytes.subarray(start, end)));
}

const header = encodeSegmentHeader({ identity: IDENTITY, lsnFloor: lsn(40n) });

const segmentHeaders: Target = {
  name: "segment-headers",
  generate: () => header,
  read: (input) => {
    const decoded = decodeSegmentHeader(input);
    if (decoded === undefined) return "damaged";
    mustHold(
      sameBytes(encodeSegmentHeader(decoded), header),
      "a header that is taken is as it was written",
    );
    return "taken";
  },
};

const manifest = encodeManifest(
  OWNER,
  [1, 2, 3].map((number) => ({ number, salt: BigInt(number) })),
);

const manifests: Target = {
  name: "manifests",
  generate: () => manifest,
  read: (input) => {
    const decoded = decodeManifest(OWNER, input);
    if (decoded === undefined) return "damaged";
    mustHold(
      sameBytes(encodeManifest(OWNER, decoded), manifest),
      "a manifest that is taken is as it was written",
    );
    return "taken";
  },
};

const checkpoint = Uint8Array.from(readFileSync(join(GOLDEN, "version-1/checkpoint")));

const checkpoints: Target = {
  name: "checkpoints",
  generate: () => checkpoint,
  read: (input) => {
    const found = readCheckpoint(diskWith("checkpoint", input), "", OWNER);
    if (found.state === "whole") {
      mustHold(sameBytes(input, checkpoint), "a checkpoint that is taken is as it was written");
    }
    return found.state;
  },
};

/** A disk with one file. */
function diskWith(name: string, bytes: Uint8Array): Disk {
  const file = {
    size: () => bytes.length,
    readNow: (target: Uint8Array, position: number) => {
      const part = bytes.subarray(position, position + target.length);
      target.set(part);
      return part.length;
    },
    close: async () => undefined,
  };
  return { list: () => [name], open: () => file } as unknown as Disk;
}

/** Words that a checkpoint's own checksum has let pass. */
const segmentImages: Target = {
  name: "segment-images",
  generate: (random) => {
    const lists = Array.from({ length: 4 }, () => BigInt(random.below(4)));
    const count = Number(lists[0]! * 2n + lists[1]! + lists[2]! + lists[3]!);
    const words = [7n, 1n, 4096n, 0xffff_ffff_ffff_ffffn, 1n, 3n, 300n, 0n, ...lists];
    const rest = Array.from({ length: count }, () => random.id64());
    return new Uint8Array(BigUint64Array.from([...words, ...rest]).buffer);
  },
  read: (input) => {
    const words = new BigUint64Array(input.slice(0, input.length - (input.length % 8)).buffer);
    const image = decodeSegmentImage(words);
    if (image === undefined) return "none";
    const { covers, suspects, dead } = image.state;
    mustHold(
      covers.size + suspects.size + dead.length <= words.length,
      "an image holds no more than its words",
    );
    return `image ${about(covers.size)} ${about(suspects.size)} ${about(dead.length)}`;
  },
};

const scrubState = encodeScrubState({
  paused: true,
  bytesPerSecond: 5,
  rottenEver: 6,
  lastPassNs: 7n,
  nextNs: 8n,
  found: { records: 9, damage: 10, rotten: 11 },
  pass: {
    hurried: true,
    startedNs: 1n,
    deadlineNs: 2n,
    lastSegment: 3,
    segment: 2,
    position: 4096,
    doneBytes: 1,
  },
});

const scrubFiles: Target = {
  name: "scrub-files",
  generate: () => scrubState,
  read: (input) => {
    const decoded = decodeScrubState(input);
    if (typeof decoded === "string") return decoded.replaceAll(/\d+/g, "N");
    mustHold(sameBytes(input, scrubState), "what is taken is as it was written");
    return "taken";
  },
};

const identity: Identity = {
  cluster: CLUSTER,
  server: serverId(3),
  incarnation: incarnationId(9n),
  recovered: true,
  seen: { reign: reignId(4n), lsn: lsn(5n) },
  highestBlock: blockId(77n),
  address: "127.0.0.1:4000",
  accepted: [1n, 2n],
};

const identities: Target = {
  name: "identities",
  generate: () => encodeIdentity(identity),
  read: (input) => {
    try {
      const decoded = decodeIdentity(input, "identity.json");
      mustHold(Bun.deepEquals(decoded, identity), "an identity that is taken is as it was written");
      return "taken";
    } catch (error) {
      return refusalOf(error, "io", "unsupported");
    }
  },
};

const chunks = new Uint8Array(8).fill(7);
const backup = {
  manifest: {
    backup: 5n,
    cluster: Uint8Array.fromHex(CLUSTER),
    reign: reignId(1n),
    lsn: lsn(2n),
    createdNs: 3n,
    length: 100,
    checksum: backupChecksum(100, chunks),
    address: "127.0.0.1:4000",
    files: 6,
  },
  chunks,
};

const backupManifests: Target = {
  name: "backup-manifests",
  generate: () => backups.encodeManifest(backup),
  read: (input) => {
    try {
      const decoded = backups.decodeManifest(input);
      mustHold(Bun.deepEquals(decoded, backup), "a manifest that is taken is as it was written");
      return "taken";
    } catch (error) {
      return refusalOf(error, "io", "unsupported");
    }
  },
};

const clusterFile = new TextEncoder().encode(
  JSON.stringify({
    meta: "127.0.0.1:1",
    metaPid: 3,
    keyFile: "/k",
    servers: [{ id: 1, address: "a:1", pid: 4, dir: "/d" }],
    settings: { blockSize: 8, replicas: 3, writeQuorum: 2, readQuorum: 1 },
  }),
);

const clusterFiles: Target = {
  name: "cluster-files",
  generate: () => clusterFile,
  read: (input) => {
    const dir = mkdtempSync(join(tmpdir(), "dfs-fuzz-"));
    try {
      writeFileSync(join(dir, "cluster.json"), input);
      const file = readClusterFile(dir);
      return `taken ${about(file?.servers.length ?? 0)}`;
    } catch (error) {
      return refusalOf(error, "invalid");
    } finally {
      rmSync(dir, { recursive: true });
    }
  },
};

/** A file that was named as the cluster key may be any file of the machine. */
const keyFiles: Target = {
  name: "key-files",
  generate: (random) =>
    joined([random.bytes(random.below(random.below(2) === 0 ? 64 : 5000)), Uint8Array.of(0x0a)]),
  read: (input) => {
    const dir = mkdtempSync(join(tmpdir(), "dfs-fuzz-"));
    const path = join(dir, "key");
    try {
      writeFileSync(path, input, { mode: 0o600 });
      const key = readKey(path);
      mustHold(key.length <= 4096, "a key is no longer than the longest");
      mustHold(sameBytes(key, input.subarray(0, key.length)), "a key is what is in the file");
      mustHold(input.length - key.length <= 1, "no more than a newline is taken away");
      return `taken ${about(key.length)}`;
    } catch (error) {
      const shown = isDfsError(error) ? error.message : "";
      const text = Buffer.from(input.subarray(0, 12)).toString("latin1");
      mustHold(text.length < 12 || !shown.includes(text), "an error shows nothing of the file");
      return refusalOf(error, "invalid");
    } finally {
      rmSync(dir, { recursive: true });
    }
  },
};

export const DISK_TARGETS: readonly Target[] = [
  segments,
  sealedSegments,
  segmentHeaders,
  manifests,
  checkpoints,
  segmentImages,
  scrubFiles,
  identities,
  backupManifests,
  clusterFiles,
  keyFiles,
];
