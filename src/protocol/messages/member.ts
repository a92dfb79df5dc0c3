/**
 * Membership: data servers register with the metadata service and keep in touch. The data server connects; codes 0x06xx.
 * Over the same connection the metadata service sends the server its commands (`data.ts`: `delete`, `list`).
 */
import { MAX_ACCEPTANCES, MAX_ROTTEN_PER_MESSAGE } from "../../base/limits.ts";
import { lsnField, request } from "../message.ts";
import { bool, list, optional, record, text, uint, uint53, uint64 } from "../schema.ts";
import {
  addressField,
  blockField,
  clusterSettings,
  incarnationField,
  instanceField,
  reignField,
  serverField,
} from "./common.ts";

const condition = {
  capacityBytes: uint53,
  usedBytes: uint53,
  full: bool,
  blocks: uint53,
};

/**
 * Asks what the metadata database knows of a reign, before registering: a data server serves only a database whose
 * chain of reigns contains the last position that it has seen. `end` is the log position at which that reign ended (or
 * the present position when it is the current one); null when the reign is not in the chain. `accepted` names the times
 * at which the operator has declared an older copy of the database to be the right one, the last of them last. A server
 * that meets one which it does not know goes along with it, and knows it from then on; so each counts once.
 */
export const memberChain = request(
  0x0601,
  "member.chain",
  record({ reign: reignField }),
  record({
    current: reignField,
    lsn: lsnField,
    end: optional(lsnField),
    accepted: optional(list(uint64, MAX_ACCEPTANCES)),
  }),
);

/**
 * Registers this run of a data server. Without `server` it is new and is given an id, which it must make durable in its
 * directory before it serves. Refused with `wrongPeer` when another live process has this id, or when the id is known
 * under another incarnation.
 */
export const memberRegister = request(
  0x0602,
  "member.register",
  record({
    server: optional(serverField),
    incarnation: incarnationField,
    instance: instanceField,
    /** True when this incarnation was begun by `--recover`: the directory may lack what it held before. */
    recovered: bool,
    address: addressField,
    zone: text(64),
    tags: list(text(64), 64),
    /** Largest block id that the directory has ever held; no smaller one will be given out. */
    highestBlock: blockField,
    ...condition,
  }),
  record({
    server: serverField,
    settings: clusterSettings,
    reign: reignField,
    lsn: lsnField,
    heartbeatIntervalMs: uint(),
  }),
);

/** Sent every `heartbeatIntervalMs`; the server makes the reign and position in the reply durable from time to time. */
export const memberHeartbeat = request(
  0x0603,
  "member.heartbeat",
  record({ sequence: uint64, ...condition }),
  record({ reign: reignField, lsn: lsnField }),
);

/**
 * A data server has found copies of its own rotten. The service marks them bad and has them repaired, as far as it has them
 * on record as present; the others are of no interest. What was rotten when the server registered need not be told: it is
 * not in its list of blocks. Errors: `stale` (the connection belongs to no registered server).
 */
export const memberRotten = request(
  0x0604,
  "member.rotten",
  record({ blocks: list(blockField, MAX_ROTTEN_PER_MESSAGE) }),
  record({
    /** Copies that were on record as present, and are bad now. */
    marked: uint53,
  }),
);
