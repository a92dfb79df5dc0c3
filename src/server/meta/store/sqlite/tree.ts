/** Namespace primitives on SQLite. */
import type { Database } from "bun:sqlite";
import { inodeId } from "../../../../base/ids.ts";
import type { FileType } from "../../../../protocol/messages/common.ts";
import type { TreePrimitives } from "../primitives/tree.ts";
import type { Dentry, DentryTarget, Inode } from "../rows.ts";
import { Enumeration } from "./convert.ts";

/** The numbers of d_type in dirent.h. */
const TYPES = new Enumeration<FileType>("file type", {
  fifo: 1,
  characterDevice: 2,
  directory: 4,
  blockDevice: 6,
  file: 8,
  symlink: 10,
  socket: 12,
});

interface InodeColumns {
  readonly id: bigint;
  readonly type: bigint;
  readonly mode: bigint;
  readonly uid: bigint;
  readonly gid: bigint;
  readonly nlink: bigint;
  readonly size: bigint;
  readonly allocated: bigint;
  readonly rdev: bigint;
  readonly atime: bigint;
  readonly mtime: bigint;
  readonly ctime: bigint;
  readonly version: bigint;
  readonly base: bigint;
  readonly parent: bigint;
}

interface DentryColumns {
  readonly name: Uint8Array;
  readonly inode: bigint;
  readonly type: bigint;
}

const BEFORE_ALL_NAMES = new Uint8Array(0); // names have at least one byte

export function treePrimitives(database: Database): TreePrimitives {
  return {
    ...metaPrimitives(database),
    ...inodePrimitives(database),
    ...dentryPrimitives(database),
    ...symlinkPrimitives(database),
    ...xattrPrimitives(database),
  };
}

type Area<Prefix extends string> = Pick<
  TreePrimitives,
  Extract<keyof TreePrimitives, `${Prefix}.${string}`>
>;

function metaPrimitives(database: Database): Area<"meta"> {
  const get = database.prepare<{ value: string }, [string]>("SELECT value FROM meta WHERE key = ?");
  const put = database.prepare("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)");
  return {
    "meta.get": (key) => get.get(key)?.value,
    "meta.put": (key, value) => void put.run(key, value),
  };
}

function inodePrimitives(database: Database): Area<"inode"> {
  const get = database.prepare<InodeColumns, [bigint]>("SELECT * FROM inodes WHERE id = ?");
  const insert = database.prepare(
    `INSERT INTO inodes (type, mode, uid, gid, nlink, size, allocated, rdev, atime, mtime, ctime, version, base, parent, id)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const update = database.prepare(
    `UPDATE inodes SET type = ?, mode = ?, uid = ?, gid = ?, nlink = ?, size = ?, allocated = ?, rdev = ?, atime = ?,
     mtime = ?, ctime = ?, version = ?, base = ?, parent = ? WHERE id = ?`,
  );
  const remove = database.prepare("DELETE FROM inodes WHERE id = ?");
  return {
    "inode.get": (inode) => {
      const row = get.get(inode);
      return row === null ? undefined : inodeOf(row);
    },
    "inode.insert": (inode) => void insert.run(...inodeColumns(inode)),
    "inode.update": (inode) => void update.run(...inodeColumns(inode)),
    "inode.delete": (inode) => void remove.run(inode),
  };
}

function dentryPrimitives(database: Database): Area<"dentry"> {
  const get = database.prepare<Omit<DentryColumns, "name">, [bigint, Uint8Array]>(
    "SELECT inode, type FROM dentries WHERE parent = ? AND name = ?",
  );
  const put = database.prepare(
    "INSERT OR REPLACE INTO dentries (parent, name, inode, type) VALUES (?, ?, ?, ?)",
  );
  const remove = database.prepare("DELETE FROM dentries WHERE parent = ? AND name = ?");
  const list = database.prepare<DentryColumns, [bigint, Uint8Array, number]>(
    "SELECT name, inode, type FROM dentries WHERE parent = +? AND name > ? ORDER BY name LIMIT +?",
  );
  const listWithInodes = database.prepare<
    InodeColumns & { readonly name: Uint8Array; readonly marked: bigint },
    [bigint, Uint8Array, number]
  >(
    `SELECT d.name AS name, EXISTS (SELECT 1 FROM xattrs x WHERE x.inode = i.id) AS marked, i.*
     FROM dentries d JOIN inodes i ON i.id = d.inode
     WHERE d.parent = +? AND d.name > ? ORDER BY d.name LIMIT +?`,
  );
  return {
    "dentry.get": (parent, name) => {
      const row = get.get(parent, name);
      return row === null ? undefined : targetOf(row);
    },
    "dentry.put": (parent, name, target) =>
      void put.run(parent, name, target.inode, TYPES.number(target.type)),
    "dentry.delete": (parent, name) => void remove.run(parent, name),
    "dentry.list": (parent, after, limit) =>
      list
        .all(parent, after ?? BEFORE_ALL_NAMES, limit)
        .map((row): Dentry => ({ name: row.name, ...targetOf(row) })),
    "dentry.listWithInodes": (parent, after, limit) =>
      listWithInodes
        .all(parent, after ?? BEFORE_ALL_NAMES, limit)
        .map((row) => ({ name: row.name, inode: inodeOf(row), hasXattrs: row.marked !== 0n })),
  };
}

function symlinkPrimitives(database: Database): Area<"symlink"> {
  const get = database.prepare<{ target: Uint8Array }, [bigint]>(
    "SELECT target FROM symlinks WHERE inode = ?",
  );
  const insert = database.prepare("INSERT INTO symlinks (inode, target) VALUES (?, ?)");
  const remove = database.prepare("DELETE FROM symlinks WHERE inode = ?");
  return {
    "symlink.get": (inode) => get.get(inode)?.target,
    "symlink.insert": (inode, target) => void insert.run(inode, target),
    "symlink.delete": (inode) => void remove.run(inode),
  };
}

function xattrPrimitives(database: Database): Area<"xattr"> {
  const get = database.prepare<{ value: Uint8Array }, [bigint, Uint8Array]>(
    "SELECT value FROM xattrs WHERE inode = ? AND name = ?",
  );
  const put = database.prepare(
    "INSERT OR REPLACE INTO xattrs (inode, name, value) VALUES (?, ?, ?)",
  );
  const remove = database.prepare("DELETE FROM xattrs WHERE inode = ? AND name = ?");
  const list = database.prepare<{ name: Uint8Array; value: Uint8Array }, [bigint]>(
    "SELECT name, value FROM xattrs WHERE inode = +? ORDER BY name",
  );
  const names = database.prepare<{ name: Uint8Array }, [bigint]>(
    "SELECT name FROM xattrs WHERE inode = +? ORDER BY name",
  );
  const sizes = database.prepare<{ nameBytes: bigint; valueBytes: bigint }, [bigint]>(
    `SELECT ifnull(sum(length(name) + 1), 0) AS nameBytes, ifnull(sum(length(value)), 0) AS valueBytes
      FROM xattrs WHERE inode = +?`,
  );
  const removeAll = database.prepare("DELETE FROM xattrs WHERE inode = ?");
  return {
    "xattr.get": (inode, name) => get.get(inode, name)?.value,
    "xattr.put": (inode, name, value) => void put.run(inode, name, value),
    "xattr.delete": (inode, name) => void remove.run(inode, name),
    "xattr.list": (inode) => list.all(inode),
    "xattr.names": (inode) => names.all(inode).map((row) => row.name),
    "xattr.sizes": (inode) => {
      const { nameBytes, valueBytes } = sizes.get(inode)!;
      return { nameBytes: Number(nameBytes), valueBytes: Number(valueBytes) };
    },
    "xattr.deleteAll": (inode) => void removeAll.run(inode),
  };
}

function targetOf(row: Omit<DentryColumns, "name">): DentryTarget {
  return { inode: inodeId(row.inode), type: TYPES.name(row.type) };
}

function inodeOf(row: InodeColumns): Inode {
  return {
    id: inodeId(row.id),
    type: TYPES.name(row.type),
    mode: Number(row.mode),
    uid: Number(row.uid),
    gid: Number(row.gid),
    nlink: Number(row.nlink),
    size: Number(row.size),
    allocated: Number(row.allocated),
    rdev: Number(row.rdev),
    atimeNs: row.atime,
    mtimeNs: row.mtime,
    ctimeNs: row.ctime,
    version: row.version,
    base: Number(row.base),
    parent: inodeId(row.parent),
  };
}

/** In the order of the columns in `insert` and `update`, the id last. */
function inodeColumns(inode: Inode): (number | bigint)[] {
  return [
    TYPES.number(inode.type),
    inode.mode,
    inode.uid,
    inode.gid,
    inode.nlink,
    inode.size,
    inode.allocated,
    inode.rdev,
    inode.atimeNs,
    inode.mtimeNs,
    inode.ctimeNs,
    inode.version,
    inode.base,
    inode.parent,
    inode.id,
  ];
}
