/**
 * The cluster as clients see it: servers, placement, health. Client to metadata service, codes 0x05xx.
 */
import {
  MAX_BLOCK_BYTES,
  MAX_EXTENTS_PER_MESSAGE,
  MAX_LOSS_SERVERS,
  MAX_LOSSES,
  MAX_PATH_BYTES,
  MAX_REPLICAS,
  MAX_RISK_PATHS,
  MAX_SERVERS,
  PLACEMENT_GROUPS,
} from "../../base/limits.ts";
import { lsnField, notice, nothing, request } from "../message.ts";
import {
  bool,
  bytes,
  choice,
  int64,
  list,
  optional,
  record,
  text,
  uint,
  uint53,
  uint64,
  type Infer,
} from "../schema.ts";
import { backupStatus } from "./backup.ts";
import {
  addressField,
  blockField,
  incarnationField,
  inodeField,
  instanceField,
  reignField,
  serverField,
} from "./common.ts";

/** State of a data server, as the metadata service sees it. */
export const serverState = choice({
  /** Heard of in time. */
  up: 0,
  /** Its connection was lost or heartbeats are missing, for a short while. */
  suspect: 1,
  /** Silent for longer than the down-delay; writes use stand-ins at once. */
  down: 2,
  /** Silent for longer than the out-delay; its copies are made elsewhere. */
  out: 3,
  /** Serves reads while its copies are moved away. */
  draining: 4,
});
export type ServerState = Infer<typeof serverState>;

export const serverInfo = record({
  server: serverField,
  address: addressField,
  state: serverState,
  zone: text(64),
  tags: list(text(64), 64),
  incarnation: incarnationField,
  instance: instanceField,
  capacityBytes: uint53,
  usedBytes: uint53,
  /** True while it accepts no new blocks for want of space. */
  full: bool,
  /** Blocks it held at its last heartbeat. */
  blocks: uint53,
  /** Replicas that metadata expects on it. */
  replicas: uint53,
  /** When it was last heard of, or null in this reign. */
  heardNs: optional(int64),
  /** It lost its disk and is being refilled: it counts in no quorum. */
  filling: optional(bool),
  /** Since when it is in its state; null: since before this reign. */
  sinceNs: optional(int64),
  /** It goes out when it stays silent for so much longer; null when it is not silent, or held back. */
  outInMs: optional(uint53),
  /** It is silent and does not go out, because too many servers are silent at once. */
  heldBack: optional(bool),
  /** It has looked at this database and not registered: it has served from a newer one. */
  refuses: optional(bool),
});
export type ServerInfo = Infer<typeof serverInfo>;

export const servers = request(
  0x0501,
  "cluster.servers",
  nothing,
  record({ servers: list(serverInfo, MAX_SERVERS) }),
);

/** The placement table and what a client needs to choose targets and stand-ins. */
export const placement = request(
  0x0502,
  "cluster.placement",
  nothing,
  record({
    version: uint64,
    /** Servers in each group's row of `table`. */
    width: uint(MAX_REPLICAS),
    /** For each of the 1,024 groups, `width` server ids of 4 bytes, big-endian, 0 for none. */
    table: bytes(PLACEMENT_GROUPS * MAX_REPLICAS * 4),
    /** All servers in ring order: a stand-in is the next usable one behind a group's last server. */
    servers: list(
      record({
        server: serverField,
        address: addressField,
        incarnation: incarnationField,
        state: serverState,
        zone: text(64),
        full: bool,
        /** It lost its disk and is being refilled: its copies count in no quorum. Null from a service that does not tell. */
        filling: optional(bool),
      }),
      MAX_SERVERS,
    ),
  }),
);

/** What there is to repair, and how that goes. */
export const repairStatus = record({
  /** What is on record, in order of urgency. */
  queue: list(
    record({
      /** Good copies of a block that lacks some; 100: misplaced; 101: a copy that has to go. */
      urgency: uint(255),
      blocks: uint53,
      /** Copies that they lack, and their bytes. */
      copies: uint53,
      bytes: uint53,
    }),
    32,
  ),
  /** Copies under way. */
  copying: uint53,
  /** Copies reported as bad that their servers have not verified yet. */
  suspects: uint53,
  /** Made since the service started. */
  copiedBlocks: uint53,
  copiedBytes: uint53,
  /** Of the last seconds. */
  bytesPerSecond: uint53,
});
export type RepairStatus = Infer<typeof repairStatus>;

/** Some files, of more perhaps. */
export const fileSample = record({
  /** How many there are; at least so many when `more`. */
  files: uint53,
  more: bool,
  /** Paths of some of them. */
  paths: list(bytes(MAX_PATH_BYTES), MAX_RISK_PATHS),
});
export type FileSample = Infer<typeof fileSample>;

/** What one more failure would cost, counted from the record. *Within reach* is a copy on a server that is up. */
export const riskStatus = record({
  /** Live blocks of which no good copy is on record anywhere, not even on a server that is away. */
  lostBlocks: uint53,
  /** Files of blocks without a copy within reach. */
  unreadable: fileSample,
  /** What each server would take with it; servers that would take nothing are left out. */
  servers: list(
    record({
      server: serverField,
      /** Blocks whose only copy within reach it has. */
      alone: uint53,
      /** Of these, those of which no other good copy is on record anywhere. */
      last: uint53,
      /** Blocks of which one copy within reach would be left. */
      pairs: uint53,
    }),
    MAX_SERVERS,
  ),
  /** The server that has most of these, and the files of the blocks whose only copy within reach it has. */
  worst: optional(record({ server: serverField, files: fileSample })),
});
export type RiskStatus = Infer<typeof riskStatus>;

/** How the metadata service judges silence, repairs and backs up. */
export const serviceSettings = record({
  /** A session that is silent for this long ends. */
  leaseTimeoutMs: uint53,
  /** From losing a data server to calling it down. */
  downDelayMs: uint53,
  /** From losing a data server to making its copies elsewhere. */
  outDelayMs: uint53,
  /** Bytes that repairs copy in a second, except of blocks with one good copy left; 0: no limit. */
  repairBytesPerSecond: uint53,
  /** Between two backups of the database, when it changes. */
  backupIntervalMs: uint53,
});
export type ServiceSettings = Infer<typeof serviceSettings>;

/** The disk that holds the metadata database. */
export const metadataDisk = record({
  /** Everything can be read and files removed; other changes are refused. */
  full: bool,
  freeBytes: uint53,
  /** So much has to be free for changes to go on when it was full. */
  neededBytes: uint53,
});
export type MetadataDisk = Infer<typeof metadataDisk>;

/** Health of the whole cluster in figures. */
export const status = request(
  0x0503,
  "cluster.status",
  nothing,
  record({
    reign: reignField,
    lsn: lsnField,
    startedNs: int64,
    inodes: uint53,
    files: uint53,
    directories: uint53,
    /** Sum of the lengths of all live blocks, each counted once. */
    liveBytes: uint53,
    liveBlocks: uint53,
    /** Live blocks by number of recorded present replicas on servers that are up: index 0 none, 1 one, ... */
    blocksByCopies: list(uint53, MAX_REPLICAS + 1),
    /** Missing copies on record for repair. */
    missingCopies: uint53,
    /** Dead blocks whose deletion is not finished. */
    deadBlocks: uint53,
    sessions: uint53,
    placementVersion: uint64,
    repair: optional(repairStatus),
    /** Backups of the metadata; null from a service that makes none. */
    backup: optional(backupStatus),
    risk: optional(riskStatus),
    /** Null from a service that does not tell. */
    service: optional(serviceSettings),
    /** Null from a service that does not tell. */
    metadataDisk: optional(metadataDisk),
  }),
);

/** Where each block of a file is and should be; rows in order of offset, starting behind `after`. */
export const explain = request(
  0x0504,
  "cluster.explain",
  record({ inode: inodeField, offset: uint53, limit: uint(MAX_EXTENTS_PER_MESSAGE) }),
  record({
    rows: list(
      record({
        /** Index of the block in the file: floor(offset / block size). */
        index: uint53,
        offset: uint53,
        length: uint(MAX_BLOCK_BYTES),
        block: blockField,
        blockOffset: uint(MAX_BLOCK_BYTES),
        checksum: uint64,
        group: uint(),
        /** Servers that the placement table names for the group, in its order. */
        wanted: list(serverField, MAX_REPLICAS),
        /** Where copies are, in placement order. */
        replicas: list(
          record({
            server: serverField,
            state: choice({ adding: 0, present: 1, removing: 2, bad: 3 }),
            serverState,
          }),
          MAX_REPLICAS * 2,
        ),
      }),
      MAX_EXTENTS_PER_MESSAGE,
    ),
    more: bool,
  }),
);

/** A client met a replica that it could not read or verify. The metadata service decides what to do about it. */
export const reportReplica = request(
  0x0505,
  "cluster.reportReplica",
  record({
    block: blockField,
    server: serverField,
    problem: choice({ missing: 0, badChecksum: 1, unreadable: 2 }),
    detail: text(500),
  }),
  nothing,
);

/** What can be done with a data server for good. */
export const serverChange = choice({
  /** Its copies are moved to others, and it takes no new ones. */
  drain: 0,
  /** It is a server as others again. */
  undrain: 1,
  /** It is gone for good: its copies are made elsewhere. */
  replace: 2,
  /** It is forgotten. */
  remove: 3,
  /** The same, although blocks have no other copy: these are lost. */
  abandon: 4,
});
export type ServerChange = Infer<typeof serverChange>;

/** What a change of a server comes to, before anything is changed. */
export const plan = request(
  0x0520,
  "cluster.plan",
  record({ server: serverField, change: serverChange }),
  record({
    state: serverState,
    /** Copies that are to be made, and their bytes. */
    copies: uint53,
    bytes: uint53,
    moves: list(
      record({
        /** Where they are made; null: on any server that has room. */
        server: optional(serverField),
        copies: uint53,
        bytes: uint53,
        /** What the server can take, as it said last. */
        freeBytes: uint53,
      }),
      MAX_SERVERS + 1,
    ),
  }),
);

/** Changes a server. What follows from it is done by repairs, whether anybody watches or not. */
export const setServer = request(
  0x0521,
  "cluster.setServer",
  record({ server: serverField, change: serverChange }),
  nothing,
);

const copyCount = record({ copies: uint53, bytes: uint53 });

/** The copies on record of one server, and how far what is under way with them has got. */
export const holdings = request(
  0x0522,
  "cluster.holdings",
  record({ server: serverField }),
  record({
    state: serverState,
    connected: bool,
    /** It lost its disk and has not been refilled: it counts in no quorum. */
    filling: bool,
    /** What its copies mean is being judged, or it is being compared with the record: figures are of before. */
    judging: bool,
    present: copyCount,
    adding: copyCount,
    bad: copyCount,
    removing: copyCount,
    /** Those of its copies, in whatever state, whose blocks lack copies. */
    lacking: copyCount,
    /** Of these, the blocks that have no copy anywhere that counts; null from a service that does not tell. */
    lost: optional(copyCount),
    /** Those present or bad there whose blocks have enough others: they only have to go. Null from a service that does not tell. */
    surplus: optional(copyCount),
  }),
);

/**
 * A page of the files that have blocks of which no copy counts: each copy is bad, or on a server that is out or was given
 * up. Blocks in order of id, from behind `after`; of one server, those of which it has or had a copy.
 */
export const losses = request(
  0x0523,
  "cluster.losses",
  record({ server: optional(serverField), after: optional(blockField) }),
  record({
    losses: list(
      record({
        block: blockField,
        inode: inodeField,
        /** Where the first byte of the block is in the file, and how many bytes of the file it has. */
        offset: uint53,
        length: uint53,
        /** A path of the file; null when none leads there, or it is too long. */
        path: optional(bytes(MAX_PATH_BYTES)),
        /** Servers that have, or had, a copy on record. */
        servers: list(serverField, MAX_LOSS_SERVERS),
      }),
      MAX_LOSSES,
    ),
    /** Go on behind this one; null: that was all. */
    next: optional(blockField),
  }),
);
export type LossPage = Infer<typeof losses.reply>;

/** To every client: servers or the placement table have changed; fetch `cluster.placement` before the next write. */
export const clusterChanged = notice(
  0x0581,
  "cluster.changed",
  record({ placementVersion: uint64 }),
);
