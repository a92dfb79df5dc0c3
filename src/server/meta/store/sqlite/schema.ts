/**
 * The tables of the SQLite engine. docs/metadata.md explains every column; both change together, and a change that an
 * older build could misread raises SCHEMA_VERSION.
 *
 * Names and other byte strings are BLOBs, which SQLite compares byte by byte: primary key order is listing order.
 * Checksums are unsigned 64-bit values stored in SQLite's signed integers (see `convert.ts`). Booleans and states are
 * small integers.
 */

/** Version of the tables that this build reads and writes. */
export const SCHEMA_VERSION = 3;

/**
 * The oldest version that becomes this one by being opened: a build that does not know `cuts` would show the bytes that were
 * cut off a file again when it grows, and that table is all that is new.
 */
export const OLDEST_VERSION = 2;

/** Marks a SQLite file as a dfs metadata database (PRAGMA application_id): "dfsm". */
export const APPLICATION_ID = 0x6466736d;

export const SCHEMA = `
CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE inodes (
  id INTEGER PRIMARY KEY,
  type INTEGER NOT NULL,
  mode INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  gid INTEGER NOT NULL,
  nlink INTEGER NOT NULL,
  size INTEGER NOT NULL,
  allocated INTEGER NOT NULL,
  rdev INTEGER NOT NULL,
  atime INTEGER NOT NULL,
  mtime INTEGER NOT NULL,
  ctime INTEGER NOT NULL,
  version INTEGER NOT NULL,
  base INTEGER NOT NULL,
  parent INTEGER NOT NULL
) STRICT;

CREATE TABLE dentries (
  parent INTEGER NOT NULL,
  name BLOB NOT NULL,
  inode INTEGER NOT NULL,
  type INTEGER NOT NULL,
  PRIMARY KEY (parent, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE symlinks (
  inode INTEGER PRIMARY KEY,
  target BLOB NOT NULL
) STRICT;

CREATE TABLE xattrs (
  inode INTEGER NOT NULL,
  name BLOB NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (inode, name)
) STRICT;

CREATE TABLE extents (
  inode INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  length INTEGER NOT NULL,
  block INTEGER NOT NULL,
  block_offset INTEGER NOT NULL,
  PRIMARY KEY (inode, offset)
) STRICT, WITHOUT ROWID;

CREATE TABLE blocks (
  id INTEGER PRIMARY KEY,
  state INTEGER NOT NULL,
  length INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  grp INTEGER NOT NULL,
  refs INTEGER NOT NULL,
  inode INTEGER NOT NULL,
  file_offset INTEGER NOT NULL,
  died INTEGER
) STRICT;
CREATE INDEX blocks_dead ON blocks (id) WHERE state = 1;

CREATE TABLE replicas (
  block INTEGER NOT NULL,
  server INTEGER NOT NULL,
  state INTEGER NOT NULL,
  PRIMARY KEY (block, server)
) STRICT, WITHOUT ROWID;
CREATE INDEX replicas_by_server ON replicas (server, block);
CREATE INDEX replicas_unsettled ON replicas (server, state, block) WHERE state <> 1;

CREATE TABLE reservations (
  first INTEGER PRIMARY KEY,
  count INTEGER NOT NULL,
  session INTEGER NOT NULL,
  used BLOB NOT NULL,
  ended INTEGER
) STRICT;
CREATE INDEX reservations_by_session ON reservations (session);

CREATE TABLE sessions (
  id INTEGER PRIMARY KEY,
  token INTEGER NOT NULL,
  label TEXT NOT NULL,
  state INTEGER NOT NULL,
  opened INTEGER NOT NULL,
  ended INTEGER,
  acknowledged INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_state ON sessions (state, id);

CREATE TABLE replies (
  session INTEGER NOT NULL,
  operation INTEGER NOT NULL,
  reply BLOB NOT NULL,
  PRIMARY KEY (session, operation)
) STRICT, WITHOUT ROWID;

CREATE TABLE opens (
  session INTEGER NOT NULL,
  inode INTEGER NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (session, inode)
) STRICT, WITHOUT ROWID;
CREATE INDEX opens_by_inode ON opens (inode);

CREATE TABLE reclaim (
  inode INTEGER PRIMARY KEY,
  since INTEGER NOT NULL
) STRICT;

CREATE TABLE repairs (
  block INTEGER PRIMARY KEY,
  missing INTEGER NOT NULL,
  urgency INTEGER NOT NULL,
  reason INTEGER NOT NULL,
  since INTEGER NOT NULL
) STRICT;
CREATE INDEX repairs_by_urgency ON repairs (urgency, block);

CREATE TABLE surveys (
  server INTEGER PRIMARY KEY,
  after INTEGER NOT NULL
) STRICT;

CREATE TABLE servers (
  id INTEGER PRIMARY KEY,
  incarnation INTEGER NOT NULL,
  instance INTEGER NOT NULL,
  address TEXT NOT NULL,
  zone TEXT NOT NULL,
  tags TEXT NOT NULL,
  state INTEGER NOT NULL,
  filling INTEGER NOT NULL,
  registered INTEGER NOT NULL
) STRICT;

CREATE TABLE placement (
  version INTEGER PRIMARY KEY,
  width INTEGER NOT NULL
) STRICT;

CREATE TABLE placement_rows (
  grp INTEGER PRIMARY KEY,
  servers BLOB NOT NULL
) STRICT;

CREATE TABLE counters (
  name TEXT PRIMARY KEY,
  reserved INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE reigns (
  number INTEGER PRIMARY KEY,
  reign INTEGER NOT NULL UNIQUE,
  start_lsn INTEGER NOT NULL
) STRICT;
`;

/**
 * Tables and indexes that databases of this version may lack, because they were made by a build that did not know them. An empty one
 * says nothing wrong, and who does not know it does no harm by not filling it.
 */
export const ADDED_TABLES = `
CREATE TABLE IF NOT EXISTS forgotten (
  first INTEGER PRIMARY KEY,
  last INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS abandoned (
  block INTEGER NOT NULL,
  server INTEGER NOT NULL,
  PRIMARY KEY (block, server)
) STRICT, WITHOUT ROWID;

DROP INDEX IF EXISTS reservations_ended; -- by id, so that whoever looked for those that are due went through all others
CREATE INDEX IF NOT EXISTS reservations_by_end ON reservations (ended) WHERE ended IS NOT NULL;

CREATE TABLE IF NOT EXISTS ending (
  session INTEGER PRIMARY KEY,
  after INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS cuts (
  inode INTEGER PRIMARY KEY,
  start INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS locks (
  inode INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  session INTEGER NOT NULL,
  owner INTEGER NOT NULL,
  start INTEGER NOT NULL,
  end INTEGER NOT NULL,
  type INTEGER NOT NULL,
  pid INTEGER NOT NULL,
  PRIMARY KEY (inode, kind, session, owner, start)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS locks_by_session ON locks (session);

CREATE TABLE IF NOT EXISTS lock_waits (
  number INTEGER PRIMARY KEY,
  inode INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  session INTEGER NOT NULL,
  owner INTEGER NOT NULL,
  start INTEGER NOT NULL,
  end INTEGER NOT NULL,
  type INTEGER NOT NULL,
  pid INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS lock_waits_by_inode ON lock_waits (inode, kind, number);
CREATE INDEX IF NOT EXISTS lock_waits_by_owner ON lock_waits (session, owner);
`;
