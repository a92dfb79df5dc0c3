/**
 * A page of a directory, as the reply to `namespace.readdir` brought it: the entries stay encoded, and each is made into an object
 * when somebody asks for it.
 *
 * Decoding made some 20 objects for each name, which the collector leaves lying for a while: listing 100,000 files took the process
 * of a mount to 400 MiB.
 */
import { inodeId, type InodeId } from "../base/ids.ts";
import { MAX_ENTRIES_PER_PAGE, MAX_FILE_BYTES, MAX_PATH_BYTES } from "../base/limits.ts";
import { ItemReader } from "./item-reader.ts";
import type { Question, RequestOf } from "./message.ts";
import { fileType, type Attributes, type FileType } from "./messages/common.ts";
import { readdir } from "./messages/namespace.ts";

/** A name in a directory, and what it stands for. */
export interface DirectoryEntry {
  readonly name: Uint8Array;
  readonly inode: InodeId;
  readonly type: FileType;
  readonly attributes: Attributes;
  /** Whether it has extended attributes; null: the service does not tell. */
  readonly hasXattrs: boolean | null;
}

/** Entries that follow one another, in the byte order of their names. */
export class DirectoryPage {
  readonly length: number;
  /** True when names may follow behind the last one. */
  readonly more: boolean;
  private readonly parser: EntryParser;
  /** Where each entry begins. */
  private readonly starts: Uint32Array;
  /** Attributes that are told in place of those that came. */
  private readonly replaced = new Map<number, Attributes>();

  /** Checks every entry. @throws DfsError `protocol` when something is not as docs/protocol.md says. */
  constructor(bytes: Uint8Array, at = 0) {
    const reader = new ItemReader(bytes, at);
    this.parser = new EntryParser(reader);
    const fields = reader.array(2, "a page of a directory");
    this.length = reader.array(0, "a list of entries");
    if (this.length > MAX_ENTRIES_PER_PAGE) reader.refuse("fewer entries");
    this.starts = new Uint32Array(this.length);
    for (let index = 0; index < this.length; index++) {
      this.starts[index] = reader.at;
      this.parser.parse();
    }
    this.more = reader.bool("whether there is more");
    reader.skip(fields - 2);
  }

  /** Its name is a view that keeps the page in memory. */
  at(index: number): DirectoryEntry {
    const entry = this.parsed(index).entry();
    const attributes = this.replaced.get(index);
    return attributes === undefined ? entry : { ...entry, attributes };
  }

  /** All of them, to be kept for as long as one likes. */
  get entries(): DirectoryEntry[] {
    return Array.from({ length: this.length }, (_, index) => {
      const entry = this.at(index);
      return { ...entry, name: entry.name.slice() };
    });
  }

  inodeAt(index: number): InodeId {
    return this.parsed(index).inode;
  }

  /** The name, as a view that keeps the page in memory. */
  nameAt(index: number): Uint8Array {
    return this.parsed(index).nameInPlace;
  }

  hasXattrsAt(index: number): boolean | null {
    return this.parsed(index).hasXattrs;
  }

  /** From now on the entry has these attributes. */
  replace(index: number, attributes: Attributes): void {
    this.replaced.set(index, attributes);
  }

  private parsed(index: number): EntryParser {
    this.parser.reader.at = this.starts[index]!;
    this.parser.parse();
    return this.parser;
  }
}

/** `readdir` for who takes its reply as a page. */
export const readdirPage: Question<RequestOf<typeof readdir>, DirectoryPage> = {
  ...readdir,
  reply: { read: (bytes, at) => new DirectoryPage(bytes, at) },
};

/** Where the 64-bit fields of an entry lie in the memory that they are read into. */
const LONG = { inode: 0, inodeAgain: 8, atimeNs: 16, mtimeNs: 24, ctimeNs: 32, version: 40 };
const LONG_BYTES = 48;

const ENTRY_FIELDS = 4;
const ATTRIBUTE_FIELDS = 14;

const MAX_UINT32 = 2 ** 32 - 1;

/** The fields of one entry, taken out of its bytes without making anything. */
class EntryParser {
  readonly reader: ItemReader;
  hasXattrs: boolean | null = null;
  private readonly longs = new DataView(new ArrayBuffer(LONG_BYTES));
  private nameStart = 0;
  private nameEnd = 0;
  private type: FileType = "file";
  private typeAgain: FileType = "file";
  private mode = 0;
  private uid = 0;
  private gid = 0;
  private nlink = 0;
  private size = 0;
  private allocated = 0;
  private rdev = 0;
  private base = 0;

  constructor(reader: ItemReader) {
    this.reader = reader;
  }

  /** Reads the next entry. */
  parse(): void {
    const { reader, longs } = this;
    const fields = reader.array(ENTRY_FIELDS, "an entry");
    this.nameStart = reader.byteString(MAX_PATH_BYTES + 1, "a name");
    this.nameEnd = reader.at;
    reader.uint64(longs, LONG.inode, "an inode", 63);
    this.type = fileType.decode(reader.uint(MAX_UINT32, "a type"));
    this.parseAttributes();
    this.hasXattrs =
      fields === ENTRY_FIELDS || reader.isNull() ? null : reader.bool("whether it has xattrs");
    reader.skip(fields - ENTRY_FIELDS - 1);
  }

  entry(): DirectoryEntry {
    const { inode, type, hasXattrs } = this;
    return {
      name: this.nameInPlace,
      inode,
      type,
      attributes: this.attributes(),
      hasXattrs,
    };
  }

  get inode(): InodeId {
    return inodeId(this.longs.getBigUint64(LONG.inode, true));
  }

  get nameInPlace(): Uint8Array {
    return this.reader.bytes.subarray(this.nameStart, this.nameEnd);
  }

  private parseAttributes(): void {
    const { reader, longs } = this;
    const fields = reader.array(ATTRIBUTE_FIELDS, "attributes");
    reader.uint64(longs, LONG.inodeAgain, "an inode", 63);
    this.typeAgain = fileType.decode(reader.uint(MAX_UINT32, "a type"));
    this.mode = reader.uint(0o7777, "a mode");
    this.uid = reader.uint(MAX_UINT32, "a uid");
    this.gid = reader.uint(MAX_UINT32, "a gid");
    this.nlink = reader.uint(MAX_UINT32, "a link count");
    this.size = reader.uint(MAX_FILE_BYTES, "a size");
    this.allocated = reader.uint(MAX_FILE_BYTES, "allocated bytes");
    this.rdev = reader.uint(MAX_UINT32, "a device number");
    reader.int64(longs, LONG.atimeNs, "an access time");
    reader.int64(longs, LONG.mtimeNs, "a time of change");
    reader.int64(longs, LONG.ctimeNs, "a time of change");
    reader.uint64(longs, LONG.version, "a version");
    this.base = reader.uint(MAX_UINT32, "a placement base");
    reader.skip(fields - ATTRIBUTE_FIELDS);
  }

  private attributes(): Attributes {
    const { longs, mode, uid, gid, nlink, size, allocated, rdev, base } = this;
    return {
      inode: inodeId(longs.getBigUint64(LONG.inodeAgain, true)),
      type: this.typeAgain,
      mode,
      uid,
      gid,
      nlink,
      size,
      allocated,
      rdev,
      atimeNs: longs.getBigInt64(LONG.atimeNs, true),
      mtimeNs: longs.getBigInt64(LONG.mtimeNs, true),
      ctimeNs: longs.getBigInt64(LONG.ctimeNs, true),
      version: longs.getBigUint64(LONG.version, true),
      base,
    };
  }
}
