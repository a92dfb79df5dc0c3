/**
 * What an operation reads and changes that clients want to know of, seen in the requests that it makes to the store.
 *
 * Watching these means that no operation has to tell anything by itself, and none can forget to. What was seen is only worth
 * telling when the operation's transaction is durable; an operation that is run again is watched anew.
 */
import type { InodeId } from "../../base/ids.ts";
import type { DentryWithInode, Inode, Lock } from "./store/rows.ts";
import type { Operation, StoreRequest } from "./store/store.ts";

/** A name in a directory that means something else, or nothing, from now on. */
export interface ChangedEntry {
  readonly parent: InodeId;
  readonly name: Uint8Array;
}

/** Version of what is not there any more. */
const GONE = 0n;

export class Changes {
  /** Locks that were granted. */
  readonly locks: Lock[] = [];
  readonly entries: ChangedEntry[] = [];
  /** Inodes whose attributes have changed, with the version of their content; 0 when they are gone. */
  readonly inodes = new Map<InodeId, bigint>();
  private readonly onRead: ((inode: Inode) => void) | undefined;

  /** `onRead` is told of every inode that the operation has seen or made. */
  constructor(onRead?: (inode: Inode) => void) {
    this.onRead = onRead;
  }

  /** Takes note of a request to the store that has been answered. */
  note({ name, args }: StoreRequest, result: unknown): void {
    switch (name) {
      case "inode.get":
        if (result !== undefined) this.onRead?.(result as Inode);
        break;
      case "dentry.listWithInodes":
        if (this.onRead === undefined) break;
        for (const { inode } of result as DentryWithInode[]) this.onRead(inode);
        break;
      case "inode.insert":
        this.onRead?.(args[0] as Inode);
        break;
      case "inode.update":
        this.inodeChanged(args[0] as Inode);
        break;
      case "inode.delete":
        this.inodes.set(args[0] as InodeId, GONE);
        break;
      case "dentry.put":
      case "dentry.delete":
        this.entries.push({ parent: args[0] as InodeId, name: args[1] as Uint8Array });
        break;
      case "lock.put":
        this.locks.push(args[0] as Lock);
        break;
      default:
    }
  }

  private inodeChanged(inode: Inode): void {
    this.inodes.set(inode.id, inode.version);
    this.onRead?.(inode);
  }
}

/** The operation, whose requests are noted in `changes`. */
export function* watched<T>(operation: Operation<T>, changes: Changes): Operation<T> {
  let step = operation.next();
  while (!step.done) {
    let result: unknown;
    try {
      result = yield step.value;
    } catch (error) {
      step = operation.throw(error);
      continue;
    }
    changes.note(step.value, result);
    step = operation.next(result);
  }
  return step.value;
}
