// One example of every message, for the golden files. Values are arbitrary but differ from field to field, so that two
// fields that changed places would show; the large ones are over 32 bits where their type allows it.

import {
  blockId,
  incarnationId,
  inodeId,
  instanceId,
  lsn,
  reignId,
  serverId,
  sessionId,
} from "../../src/base/ids.ts";
import type { NoticeDefinition, RequestDefinition } from "../../src/protocol/message.ts";
import * as backups from "../../src/protocol/messages/backup.ts";
import * as changes from "../../src/protocol/messages/changes.ts";
import * as cluster from "../../src/protocol/messages/cluster.ts";
import * as fsck from "../../src/protocol/messages/fsck.ts";
import type { Attributes, ClusterSettings } from "../../src/protocol/messages/common.ts";
import * as content from "../../src/protocol/messages/content.ts";
import * as data from "../../src/protocol/messages/data.ts";
import * as hello from "../../src/protocol/messages/hello.ts";
import * as locks from "../../src/protocol/messages/locks.ts";
import * as member from "../../src/protocol/messages/member.ts";
import * as namespace from "../../src/protocol/messages/namespace.ts";
import * as session from "../../src/protocol/messages/session.ts";

/** A request with its reply; `bulk` belongs to whichever of the two carries bulk bytes. */
export interface RequestExample {
  readonly definition: RequestDefinition<unknown, unknown>;
  readonly request: unknown;
  readonly reply: unknown;
  readonly bulk: Uint8Array | undefined;
}

export interface NoticeExample {
  readonly definition: NoticeDefinition<unknown>;
  readonly body: unknown;
}

export const requestExamples: RequestExample[] = [];
export const noticeExamples: NoticeExample[] = [];

function example<Request, Reply>(
  definition: RequestDefinition<Request, Reply>,
  request: Request,
  reply: Reply,
  bulk?: Uint8Array,
): void {
  requestExamples.push({
    definition,
    request,
    reply,
    bulk,
  });
}

function noticeExample<Body>(definition: NoticeDefinition<Body>, body: Body): void {
  noticeExamples.push({ definition, body });
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

const LARGE = 2 ** 40;
const TIME_NS = 1_770_000_000_123_456_789n;

const attributes: Attributes = {
  inode: inodeId(0x1234_5678_9abcn),
  type: "file",
  mode: 0o4755,
  uid: 1000,
  gid: 100,
  nlink: 2,
  size: LARGE + 1,
  allocated: 4096,
  rdev: 0,
  atimeNs: TIME_NS,
  mtimeNs: -1n,
  ctimeNs: TIME_NS + 2n,
  version: 7n,
  base: 513,
};

const settings: ClusterSettings = {
  cluster: filled(16, 0xc1),
  blockSize: 1024 * 1024,
  replicas: 3,
  writeQuorum: 2,
  readQuorum: 1,
};

const mapped = {
  offset: LARGE,
  length: 13,
  block: blockId(99n),
  blockOffset: 3,
  blockLength: 16,
  checksum: 0xfedc_ba98_7654_3210n,
  servers: [serverId(1), serverId(2), serverId(300)],
};

const newBlock = {
  block: blockId(99n),
  length: 16,
  checksum: 0xfedc_ba98_7654_3210n,
  group: 1023,
  servers: [serverId(1), serverId(2)],
  incarnations: [incarnationId(21n), incarnationId(0x7fff_ffff_ffff_ffffn)],
};

const newExtent = { offset: LARGE, length: 13, block: blockId(99n), blockOffset: 3 };
const head = { operation: 5n, acknowledged: 4n };
const done = { lsn: lsn(70_000_000_001n) };
const owner = { mode: 0o644, uid: 1000, gid: 100 };
const place = { parent: inodeId(1n), name: utf8("name") };
const birth = { ...owner, base: 513 };
const written = { blocks: [newBlock], extents: [newExtent] };
const takeover = {
  ...place,
  exclusive: false,
  keepReplaced: true,
  atimeNs: null,
  mtimeNs: TIME_NS,
};
const condition = { capacityBytes: LARGE, usedBytes: LARGE / 2, full: false, blocks: 12 };
const command = { reign: reignId(21n), instance: instanceId(22n), number: 23n };

// ---- hello ----
const identity = {
  cluster: filled(16, 0xc1),
  server: serverId(3),
  incarnation: incarnationId(31n),
  instance: instanceId(32n),
  reign: reignId(33n),
};

example(
  hello.hello,
  {
    version: 1,
    minVersion: 1,
    role: "client",
    cluster: null,
    server: null,
    incarnation: null,
    instance: null,
    reign: null,
    label: "dfs put",
    nonce: filled(32, 0x0c),
    expectedServer: serverId(3),
  },
  {
    version: 1,
    role: "data",
    ...identity,
    label: "dfs data 3",
    nonce: filled(32, 0x0d),
    proof: filled(32, 0x0e),
  },
);
example(hello.auth, { proof: filled(32, 0x0f) }, {});

// ---- session ----
example(
  session.sessionOpen,
  { label: "dfs mount, pid 4711" },
  { session: sessionId(41n), token: 42n, leaseTimeoutMs: 60_000, settings },
);
example(
  session.sessionResume,
  { session: sessionId(41n), token: 42n, open: [inodeId(43n)] },
  { leaseTimeoutMs: 60_000, settings },
);
example(session.sessionHeartbeat, { acknowledged: 44n }, done);
example(session.sessionWatch, { cacheMs: 10_000 }, {});
example(session.sessionClose, {}, {});

// ---- namespace ----
example(
  namespace.resolve,
  { start: inodeId(1n), path: utf8("a/b"), followLast: true },
  { attributes },
);
example(namespace.lookup, place, { attributes });
example(namespace.getattr, { inode: inodeId(2n) }, { attributes });
example(
  namespace.readdir,
  { directory: inodeId(1n), after: utf8("m"), limit: 100, withAttributes: true },
  {
    entries: [
      {
        name: utf8("name"),
        inode: attributes.inode,
        type: "file",
        attributes,
        hasXattrs: false,
      },
      {
        name: filled(2, 0xff),
        inode: inodeId(8n),
        type: "directory",
        attributes: null,
        hasXattrs: null,
      },
    ],
    more: true,
  },
);
example(namespace.readlink, { inode: inodeId(2n) }, { target: utf8("../target") });
example(
  namespace.xattrGet,
  { inode: inodeId(2n), name: utf8("user.tag") },
  { value: utf8("blue") },
);
example(namespace.xattrList, { inode: inodeId(2n) }, { names: [utf8("user.tag"), utf8("user.x")] });
example(
  namespace.statfs,
  {},
  { capacityBytes: LARGE, availableBytes: LARGE / 2, inodes: 1_000_000 },
);
example(
  namespace.map,
  { inode: inodeId(2n), offset: LARGE, length: 4096, limit: 100 },
  { version: 7n, size: LARGE + 1, extents: [mapped], more: false },
);
example(
  namespace.open,
  { start: inodeId(1n), path: utf8("a/b"), limit: 100 },
  { attributes, extents: [mapped], more: true },
);
example(
  namespace.accessed,
  { accesses: [{ inode: inodeId(2n), atimeNs: 1_700_000_000_000_000_001n }] },
  {},
);
example(namespace.release, { inodes: [inodeId(2n), inodeId(3n)] }, {});
example(
  namespace.create,
  { ...head, ...place, ...birth, exclusive: true, open: false },
  { ...done, attributes, created: true, directory: attributes },
);
example(
  namespace.mkdir,
  { ...head, ...place, ...owner },
  { ...done, attributes, directory: attributes },
);
example(
  namespace.symlink,
  { ...head, ...place, uid: 1000, gid: 100, target: utf8("../target") },
  { ...done, attributes, directory: null },
);
example(
  namespace.mknod,
  { ...head, ...place, ...owner, type: "characterDevice", rdev: 0x0103 },
  { ...done, attributes, directory: attributes },
);
example(
  namespace.link,
  { ...head, inode: inodeId(2n), ...place },
  { ...done, attributes, directory: null },
);
example(
  namespace.unlink,
  { ...head, ...place },
  { ...done, orphan: inodeId(2n), directory: attributes },
);
example(namespace.rmdir, { ...head, ...place }, { ...done, directory: attributes });
example(
  namespace.rename,
  { ...head, ...place, newParent: inodeId(9n), newName: utf8("new"), how: "exchange" },
  { ...done, orphan: inodeId(2n) },
);
example(
  namespace.setattr,
  {
    ...head,
    inode: inodeId(2n),
    mode: 0o600,
    uid: null,
    gid: 100,
    size: LARGE,
    atimeNs: TIME_NS,
    mtimeNs: null,
    atimeNow: false,
    mtimeNow: true,
  },
  { ...done, attributes },
);
example(
  namespace.xattrSet,
  { ...head, inode: inodeId(2n), name: utf8("user.tag"), value: utf8("blue"), how: "create" },
  done,
);
example(namespace.xattrRemove, { ...head, inode: inodeId(2n), name: utf8("user.tag") }, done);

// ---- changes ----
noticeExample(changes.inodeChanged, { inode: inodeId(0x1_0000_0002n), version: 17n });
noticeExample(changes.entryChanged, { parent: inodeId(2n), name: utf8("name") });
noticeExample(changes.everythingChanged, {});

// ---- locks ----
const lock = {
  kind: "flock",
  type: "exclusive",
  owner: 0xfedc_ba98_7654_3210n,
  pid: 4711,
  start: 4096,
  end: Number.MAX_SAFE_INTEGER,
} as const;
example(locks.lockGet, { inode: inodeId(2n), lock }, { conflict: { ...lock, owner: 8n } });
example(
  locks.lockSet,
  { ...head, inode: inodeId(2n), lock, wait: "queue" },
  { ...done, granted: false, conflict: { ...lock, owner: 8n } },
);
example(locks.lockRelease, { ...head, inode: inodeId(2n), kind: "posix", owner: 9n }, done);
noticeExample(locks.lockGranted, { inode: inodeId(2n), kind: "flock", owner: 9n });

// ---- content ----
example(
  content.reserve,
  { ...head, count: 64 },
  { ...done, first: blockId(0x1_0000_0000n), count: 64, placementVersion: 6n },
);
example(
  content.commit,
  { ...head, inode: inodeId(2n), ...written, size: null, mtimeNs: TIME_NS, expectedSize: 4096 },
  { ...done, attributes },
);
example(content.nameless, { ...head, ...birth }, { ...done, attributes });
example(
  content.place,
  { ...head, inode: inodeId(2n), ...takeover },
  { ...done, attributes, replaced: true },
);
example(
  content.put,
  { ...head, ...birth, ...written, size: 13, ...takeover },
  { ...done, attributes, replaced: false },
);

// ---- cluster ----
example(
  cluster.servers,
  {},
  {
    servers: [
      {
        server: serverId(3),
        address: "127.0.0.1:7003",
        state: "suspect",
        zone: "rack-1",
        tags: ["ssd", "fast"],
        incarnation: incarnationId(31n),
        instance: instanceId(32n),
        ...condition,
        replicas: 13,
        heardNs: TIME_NS,
        filling: true,
        sinceNs: TIME_NS,
        outInMs: 590_000,
        heldBack: false,
        refuses: true,
      },
    ],
  },
);
example(
  cluster.placement,
  {},
  {
    version: 6n,
    width: 3,
    table: Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3),
    servers: [
      {
        server: serverId(3),
        address: "[::1]:7003",
        incarnation: incarnationId(31n),
        state: "up",
        zone: "",
        full: true,
        filling: true,
      },
    ],
  },
);
example(
  cluster.status,
  {},
  {
    reign: reignId(21n),
    lsn: lsn(70n),
    startedNs: TIME_NS,
    inodes: 11,
    files: 9,
    directories: 2,
    liveBytes: LARGE,
    liveBlocks: 12,
    blocksByCopies: [0, 1, 2, 9],
    missingCopies: 5,
    deadBlocks: 4,
    sessions: 3,
    placementVersion: 6n,
    repair: {
      queue: [{ urgency: 1, blocks: 2, copies: 4, bytes: LARGE }],
      copying: 7,
      suspects: 8,
      copiedBlocks: 9,
      copiedBytes: LARGE,
      bytesPerSecond: 10,
    },
    backup: {
      newest: { backup: 0xb0n, createdNs: TIME_NS, lsn: lsn(68n), length: LARGE, files: 9 },
      servers: [serverId(1), serverId(3)],
      wanted: 3,
      intervalMs: 3_600_000,
      overdue: true,
      failure: "no room",
      quarantined: 7,
      untold: [serverId(2)],
    },
    risk: {
      lostBlocks: 1,
      unreadable: { files: 1, more: false, paths: [utf8("/lost")] },
      servers: [{ server: serverId(2), alone: 5, last: 3, pairs: 8 }],
      worst: {
        server: serverId(2),
        files: { files: 1000, more: true, paths: [utf8("/one"), utf8("/two")] },
      },
    },
    service: {
      leaseTimeoutMs: 60_000,
      downDelayMs: 5_000,
      outDelayMs: 600_000,
      repairBytesPerSecond: LARGE,
      backupIntervalMs: 3_600_000,
    },
    metadataDisk: { full: true, freeBytes: 4096, neededBytes: LARGE },
  },
);
example(
  cluster.explain,
  { inode: inodeId(2n), offset: LARGE, limit: 10 },
  {
    rows: [
      {
        index: 1_048_576,
        offset: LARGE,
        length: 13,
        block: blockId(99n),
        blockOffset: 3,
        checksum: 0xfedc_ba98_7654_3210n,
        group: 1023,
        wanted: [serverId(1), serverId(2), serverId(3)],
        replicas: [{ server: serverId(1), state: "removing", serverState: "draining" }],
      },
    ],
    more: true,
  },
);
example(
  cluster.reportReplica,
  { block: blockId(99n), server: serverId(3), problem: "badChecksum", detail: "piece 0" },
  {},
);
example(
  fsck.fsckStart,
  { level: "presence", inode: inodeId(17n), dryRun: true, patienceMs: 30_000 },
  { run: 3n },
);
example(
  fsck.fsckPoll,
  { run: 3n, after: 128 },
  {
    findings: [
      {
        kind: "rottenCopy",
        outcome: "corrected",
        inode: inodeId(17n),
        block: blockId(99n),
        server: serverId(3),
        offset: 1_048_576,
        path: new TextEncoder().encode("/a/b"),
        detail: "other bytes",
      },
      {
        kind: "unchecked",
        outcome: "note",
        inode: null,
        block: null,
        server: serverId(2),
        offset: null,
        path: null,
        detail: "the server is down",
      },
    ],
    phase: "copies",
    doneCopies: 12,
    totalCopies: 36,
    doneBytes: 5_000_000_000,
    totalBytes: 9_000_000_000,
    found: 2,
    waiting: 1,
    finished: false,
  },
);
example(fsck.fsckStop, { run: 3n }, {});
example(
  cluster.plan,
  { server: serverId(3), change: "drain" },
  {
    state: "up",
    copies: 12,
    bytes: LARGE,
    moves: [
      { server: serverId(4), copies: 11, bytes: 10, freeBytes: LARGE },
      { server: null, copies: 1, bytes: 2, freeBytes: 3 },
    ],
  },
);
example(cluster.setServer, { server: serverId(3), change: "remove" }, {});
example(
  cluster.holdings,
  { server: serverId(3) },
  {
    state: "draining",
    connected: true,
    filling: false,
    judging: true,
    present: { copies: 1, bytes: LARGE },
    adding: { copies: 2, bytes: 20 },
    bad: { copies: 3, bytes: 30 },
    removing: { copies: 4, bytes: 40 },
    lacking: { copies: 5, bytes: 50 },
    lost: { copies: 4, bytes: 40 },
    surplus: { copies: 2, bytes: 20 },
  },
);
example(
  cluster.losses,
  { server: serverId(3), after: null },
  {
    losses: [
      {
        block: blockId(99n),
        inode: inodeId(77n),
        offset: LARGE,
        length: 4096,
        path: new TextEncoder().encode("/dir/file"),
        servers: [serverId(3)],
      },
      { block: blockId(100n), inode: inodeId(78n), offset: 0, length: 1, path: null, servers: [] },
    ],
    next: blockId(100n),
  },
);
noticeExample(cluster.clusterChanged, { placementVersion: 6n });

// ---- member ----
example(
  member.memberChain,
  { reign: reignId(20n) },
  { current: reignId(21n), lsn: lsn(70n), end: lsn(60n), accepted: [0xacn, 0xadn] },
);
example(
  member.memberRegister,
  {
    server: null,
    incarnation: incarnationId(31n),
    instance: instanceId(32n),
    recovered: true,
    address: "127.0.0.1:7003",
    zone: "rack-1",
    tags: ["ssd"],
    highestBlock: blockId(98n),
    ...condition,
  },
  { server: serverId(3), settings, reign: reignId(21n), lsn: lsn(70n), heartbeatIntervalMs: 1000 },
);
example(
  member.memberHeartbeat,
  { sequence: 8n, ...condition },
  { reign: reignId(21n), lsn: lsn(70n) },
);
example(member.memberRotten, { blocks: [blockId(99n), blockId(100n)] }, { marked: 1 });

example(
  content.punch,
  { ...head, inode: inodeId(2n), offset: 4096, length: 0x1_0000_0001, minSize: 0x2_0000_0000 },
  { ...done, attributes, done: 8192 },
);
example(
  content.clone,
  {
    ...head,
    source: inodeId(2n),
    sourceOffset: 4096,
    inode: inodeId(3n),
    offset: 0x1_0000_0000,
    length: 65_536,
  },
  { ...done, attributes, done: 8192 },
);

// ---- data ----
const pieces = filled(8, 0xaa);

example(
  data.blockPut,
  {
    block: blockId(99n),
    length: 5,
    checksum: 0xfedc_ba98_7654_3210n,
    inode: inodeId(2n),
    fileOffset: LARGE,
    pieces,
  },
  { instance: instanceId(32n), sequence: 71n },
  utf8("bytes"),
);
example(
  data.blockGet,
  { block: blockId(99n), offset: 1, length: 4 },
  { blockLength: 5, pieces },
  utf8("bytes"),
);
example(
  data.blockDelete,
  { ...command, blocks: [blockId(99n)], ranges: [{ first: blockId(200n), count: 10 }] },
  { deleted: 11 },
);
example(
  data.blockList,
  { after: blockId(0n), limit: 100 },
  { blocks: [{ block: blockId(99n), length: 5, checksum: 0xfedc_ba98_7654_3210n }], more: false },
);
example(
  data.dataStats,
  {},
  {
    server: serverId(3),
    instance: instanceId(32n),
    uptimeMs: LARGE,
    blocks: 1,
    blockBytes: 2,
    segments: 3,
    segmentBytes: 4,
    capacityBytes: 5,
    availableBytes: 6,
    puts: 7,
    gets: 8,
    deletes: 9,
    syncs: 10,
    badReplicas: 11,
    deadBytes: 12,
    compacting: true,
    compactedSegments: 13,
    movedBytes: 14,
    freedBytes: 15,
    scrub: "running",
    scrubbedNs: 1_700_000_000_000_000_000n,
    scrubRotten: 16,
  },
);
example(
  data.dataScrub,
  { action: "start", bytesPerSecond: LARGE },
  {
    server: serverId(3),
    state: "paused",
    hurried: true,
    segment: 1,
    position: 2,
    doneBytes: 3,
    totalBytes: LARGE,
    bytesPerSecond: 4,
    startedNs: 1_700_000_000_000_000_000n,
    expectedNs: 1_700_000_000_000_000_001n,
    nextNs: null,
    lastPassNs: null,
    records: 5,
    damage: 6,
    rotten: 7,
    rottenEver: 8,
  },
);
example(
  data.blockCopy,
  {
    ...command,
    block: blockId(99n),
    length: 5,
    checksum: 0xfedc_ba98_7654_3210n,
    inode: inodeId(2n),
    fileOffset: LARGE,
    sources: [{ server: serverId(4), address: "127.0.0.1:7004" }],
  },
  {
    stored: true,
    failures: [{ server: serverId(5), problem: "badChecksum", detail: "piece 0" }],
  },
);
example(
  data.blockCopyMany,
  {
    ...command,
    sources: [
      { server: serverId(4), address: "127.0.0.1:7004" },
      { server: serverId(5), address: "127.0.0.1:7005" },
    ],
    blocks: [
      {
        block: blockId(99n),
        length: 5,
        checksum: 0xfedc_ba98_7654_3210n,
        inode: inodeId(2n),
        fileOffset: LARGE + 3,
        source: 1,
      },
      {
        block: blockId(2n ** 63n - 1n),
        length: 1_048_576,
        checksum: 1n,
        inode: inodeId(0x1234_5678_9abcn),
        fileOffset: 2 ** 53 - 1,
        source: 0,
      },
    ],
  },
  { results: ["stored", "notGiven", "unreachable", "notStored"] },
);
example(
  data.blockGetMany,
  {
    blocks: [
      { block: blockId(99n), length: 5 },
      { block: blockId(2n ** 63n - 1n), length: 1_048_576 },
    ],
  },
  { given: [true, false] },
);
example(
  data.blockVerify,
  { blocks: [{ block: blockId(99n), length: 5, checksum: 0xfedc_ba98_7654_3210n }] },
  { verdicts: ["rotten"] },
);
example(
  data.blockCorrupt,
  { block: blockId(99n), fault: "header", seed: 0xfedc_ba98 },
  {
    file: "000000000001-0123456789abcdef.seg",
    record: LARGE,
    position: LARGE + 5,
    blockOffset: 6,
    before: utf8("old"),
    after: utf8("new"),
  },
);
example(data.dataStop, { crash: true }, { pid: 4711 });

// ---- backups of the metadata ----
const backup = 0xbac0_0000_0000_0001n;
const manifest = {
  backup,
  cluster: filled(16, 0xc1),
  reign: reignId(21n),
  lsn: lsn(68n),
  createdNs: TIME_NS,
  length: LARGE,
  checksum: 0xfedc_ba98_7654_3210n,
  address: "127.0.0.1:7000",
  files: 9,
};
example(
  backups.clusterBackup,
  { backup, waitMs: 500 },
  {
    backup,
    done: true,
    manifest,
    servers: [serverId(1), serverId(3)],
    wanted: 4,
    failures: [{ server: serverId(2), reason: "no room" }],
    doneBytes: LARGE,
    totalBytes: LARGE,
  },
);
example(
  backups.clusterQuarantine,
  { server: serverId(2), after: blockId(99n) },
  {
    blocks: [{ block: blockId(100n), length: 5, checksum: 0xfedc_ba98_7654_3210n }],
    next: blockId(101n),
  },
);
example(
  backups.backupPut,
  { ...command, backup, chunk: 7, length: LARGE, hash: 0xfedc_ba98_7654_3211n },
  {},
  utf8("bytes"),
);
example(backups.backupCommit, { ...command, manifest, chunks: filled(16, 0xcc) }, {});
example(
  backups.backupList,
  { verify: true, backup },
  { server: serverId(2), backups: [{ manifest, state: "whole" }], damaged: ["a file"] },
);
example(backups.backupGet, { backup, chunk: 7 }, { chunks: filled(16, 0xcc) }, utf8("bytes"));
example(backups.backupDelete, { ...command, backups: [backup] }, { deleted: 1 });
