/**
 * Finds directories by path, for operations on names in them.
 *
 * A directory is looked up anew for each operation, because it may be renamed or replaced at any time. Operations that
 * start while a lookup of the same path is under way share the next one, so that many files put into one directory cost
 * few lookups, and yet none uses an answer that is older than itself.
 */
import { DfsError } from "../base/errors.ts";
import { ROOT_INODE, type InodeId } from "../base/ids.ts";
import { resolve } from "../protocol/messages/namespace.ts";
import { shownPath } from "./paths.ts";
import { isNoAnswer } from "./retry.ts";
import type { Session } from "./session.ts";

interface Lookup {
  running: Promise<InodeId>;
  /** The one that starts when `running` has ended. */
  next: Promise<InodeId> | undefined;
}

export class Directories {
  private readonly session: Session;
  private readonly lookups = new Map<string, Lookup>();

  constructor(session: Session) {
    this.session = session;
  }

  /** The directory at `path`, symbolic links followed. @throws DfsError `notFound`, `notDirectory`, ... */
  find(path: Uint8Array): Promise<InodeId> {
    if (path.length === 1) return Promise.resolve(ROOT_INODE);
    const key = path.toHex();
    const lookup = this.lookups.get(key);
    if (lookup === undefined) return this.start(key, path);
    lookup.next ??= lookup.running.then(
      () => this.start(key, path),
      (error: unknown) => {
        // The service has been away for a whole deadline: whoever waited with the others does not wait another one.
        if (!isNoAnswer(error)) return this.start(key, path);
        if (this.lookups.get(key) === lookup) this.lookups.delete(key);
        throw error;
      },
    );
    return lookup.next;
  }

  private start(key: string, path: Uint8Array): Promise<InodeId> {
    const lookup: Lookup = { running: this.ask(path), next: undefined };
    this.lookups.set(key, lookup);
    const ended = (): void => {
      if (this.lookups.get(key) === lookup && lookup.next === undefined) this.lookups.delete(key);
    };
    lookup.running.then(ended, ended);
    return lookup.running;
  }

  private async ask(path: Uint8Array): Promise<InodeId> {
    const { attributes } = await this.session.ask(resolve, {
      start: ROOT_INODE,
      path,
      followLast: true,
    });
    if (attributes.type === "directory") return attributes.inode;
    throw new DfsError(
      "notDirectory",
      `${shownPath(path)} is a ${attributes.type}, not a directory`,
    );
  }
}
