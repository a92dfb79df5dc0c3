/**
 * Locks on files, shared by all clients: ranges (fcntl(2)) and whole files (flock(2)). Client to metadata service, codes
 * 0x0310 to 0x0312; the service tells who waits by a notice.
 *
 * A lock belongs to a session and, within it, to an owner: a number that the client chooses. Locks are durable: a restart of
 * the service changes nothing about them. They end with their session. Nothing keeps who has no lock from reading and writing.
 */
import { mutationHead, mutationReplyHead, notice, request } from "../message.ts";
import { bool, choice, optional, record, uint, uint53, uint64, type Infer } from "../schema.ts";
import { inodeField } from "./common.ts";

/** The two kinds do not see one another. */
export const lockKind = choice({ posix: 0, flock: 1 });
export type LockKind = Infer<typeof lockKind>;

/** A lock as it is asked for, and as it is told of. */
export const fileLock = record({
  kind: lockKind,
  /** `none` gives up what the owner holds of the range. */
  type: choice({ none: 0, shared: 1, exclusive: 2 }),
  owner: uint64,
  /** Of the process that asked, where it runs; told to who asks what is in the way. */
  pid: uint(),
  start: uint53,
  /** The last byte, inclusive; the largest value stands for the end of the file, wherever that will be. */
  end: uint53,
});
export type FileLock = Infer<typeof fileLock>;

/** The first lock that is in the way of this one, if any. */
export const lockGet = request(
  0x0310,
  "lock.get",
  record({ inode: inodeField, lock: fileLock }),
  record({ conflict: optional(fileLock) }),
);

/**
 * Takes, changes or gives up a lock. One that is in the way is no error but told in the reply; with `queue` the request waits
 * on record, in the order in which requests came, until it is granted, which is told by `lock.granted`. Sent again it keeps its
 * place. `giveUp` ends the wait; `granted` is then true when it was granted before that.
 */
export const lockSet = request(
  0x0311,
  "lock.set",
  record({
    ...mutationHead,
    inode: inodeField,
    lock: fileLock,
    wait: choice({ no: 0, queue: 1, giveUp: 2 }),
  }),
  record({ ...mutationReplyHead, granted: bool, conflict: optional(fileLock) }),
);

/** Gives up all that an owner holds of a file or waits for. */
export const lockRelease = request(
  0x0312,
  "lock.release",
  record({ ...mutationHead, inode: inodeField, kind: lockKind, owner: uint64 }),
  record({ ...mutationReplyHead }),
);

/** To a client: a lock that it waits for is its own now, durably. It asks again, and is answered that it is granted. */
export const lockGranted = notice(
  0x0315,
  "lock.granted",
  record({ inode: inodeField, kind: lockKind, owner: uint64 }),
);
