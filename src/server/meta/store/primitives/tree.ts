/** Primitives of the namespace: settings, inodes, directory entries, symbolic links, extended attributes. */
import type { InodeId } from "../../../../base/ids.ts";
import type { Dentry, DentryTarget, DentryWithInode, Inode, Xattr } from "../rows.ts";

export interface TreePrimitives {
  "meta.get"(key: string): string | undefined;
  "meta.put"(key: string, value: string): void;

  "inode.get"(inode: InodeId): Inode | undefined;
  "inode.insert"(inode: Inode): void;
  /** Replaces every field of an existing row. */
  "inode.update"(inode: Inode): void;
  "inode.delete"(inode: InodeId): void;

  "dentry.get"(parent: InodeId, name: Uint8Array): DentryTarget | undefined;
  /** Puts the entry, over one that has the name already. */
  "dentry.put"(parent: InodeId, name: Uint8Array, target: DentryTarget): void;
  "dentry.delete"(parent: InodeId, name: Uint8Array): void;
  /** Entries behind the name `after` (undefined: from the first), in byte order. */
  "dentry.list"(parent: InodeId, after: Uint8Array | undefined, limit: number): Dentry[];
  "dentry.listWithInodes"(
    parent: InodeId,
    after: Uint8Array | undefined,
    limit: number,
  ): DentryWithInode[];

  "symlink.get"(inode: InodeId): Uint8Array | undefined;
  "symlink.insert"(inode: InodeId, target: Uint8Array): void;
  "symlink.delete"(inode: InodeId): void;

  "xattr.get"(inode: InodeId, name: Uint8Array): Uint8Array | undefined;
  "xattr.put"(inode: InodeId, name: Uint8Array, value: Uint8Array): void;
  "xattr.delete"(inode: InodeId, name: Uint8Array): void;
  /** All of an inode, in the byte order of the names; their number is bounded by MAX_XATTR_LIST_BYTES. */
  "xattr.list"(inode: InodeId): Xattr[];
  "xattr.names"(inode: InodeId): Uint8Array[];
  /** Bytes of all names, each with a terminating NUL, and of all values. */
  "xattr.sizes"(inode: InodeId): { readonly nameBytes: number; readonly valueBytes: number };
  "xattr.deleteAll"(inode: InodeId): void;
}
