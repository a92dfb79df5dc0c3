// A page that is read in place tells what decoding the same bytes by the schema tells, and refuses what it refuses.

import { describe, expect, test } from "bun:test";
import { inodeId } from "../../src/base/ids.ts";
import { decodeBody, encodeHead, FRAME_KINDS, parseFrame } from "../../src/protocol/cbor.ts";
import { DirectoryPage } from "../../src/protocol/directory-page.ts";
import type { ReplyOf } from "../../src/protocol/message.ts";
import { readdir } from "../../src/protocol/messages/namespace.ts";
import type { Item } from "../../src/protocol/schema.ts";

type Listing = ReplyOf<typeof readdir>;

const FIRST_TIME = -(1n << 63n);
const LAST_TIME = (1n << 63n) - 1n;

const PLAIN: Listing["entries"][number] = {
  name: new TextEncoder().encode("plain"),
  inode: inodeId(7n),
  type: "file",
  attributes: {
    inode: inodeId(7n),
    type: "file",
    mode: 0o644,
    uid: 1000,
    gid: 100,
    nlink: 1,
    size: 5,
    allocated: 512,
    rdev: 0,
    atimeNs: 1_700_000_000_123_456_789n,
    mtimeNs: 0n,
    ctimeNs: -1n,
    version: 3n,
    base: 17,
  },
  hasXattrs: false,
};

const EXTREME: Listing["entries"][number] = {
  name: Uint8Array.from({ length: 255 }, (_, index) => index + 1),
  inode: inodeId(LAST_TIME),
  type: "socket",
  attributes: {
    inode: inodeId(LAST_TIME),
    type: "socket",
    mode: 0o7777,
    uid: 2 ** 32 - 1,
    gid: 2 ** 32 - 1,
    nlink: 2 ** 31 - 1,
    size: Number.MAX_SAFE_INTEGER,
    allocated: Number.MAX_SAFE_INTEGER,
    rdev: 2 ** 32 - 1,
    atimeNs: FIRST_TIME,
    mtimeNs: LAST_TIME,
    ctimeNs: -4_294_967_297n,
    version: (1n << 64n) - 1n,
    base: 2 ** 32 - 1,
  },
  hasXattrs: null,
};

function bodyOf(item: Item): { readonly items: unknown; readonly page: () => DirectoryPage } {
  const frame = parseFrame(encodeHead(FRAME_KINDS.reply, 1, 0, item));
  return {
    items: decodeBody(frame),
    page: () => new DirectoryPage(frame.buffer, frame.bodyStart),
  };
}

describe("a page of a directory", () => {
  const listings: readonly (readonly [string, Listing])[] = [
    ["of no entry", { entries: [], more: false }],
    ["of plain and extreme entries", { entries: [PLAIN, EXTREME, PLAIN], more: true }],
  ];
  test.each(listings)("%s tells what the schema tells", (_, listing) => {
    const { items, page } = bodyOf(readdir.reply.encode(listing));
    const told = page();
    expect<unknown>({ entries: told.entries, more: told.more }).toEqual(
      readdir.reply.decode(items),
    );
    const inPlace = Array.from({ length: told.length }, (__, index) => ({
      name: told.nameAt(index).slice(),
      inode: told.inodeAt(index),
      hasXattrs: told.hasXattrsAt(index),
    }));
    expect<unknown>(inPlace).toEqual(
      listing.entries.map(({ name, inode, hasXattrs }) => ({ name, inode, hasXattrs })),
    );
  });

  test("may have fields that this version does not know, and lack the last one", () => {
    const [entries] = readdir.reply.encode({ entries: [PLAIN, EXTREME], more: false }) as [
      Item[][],
    ];
    const longer = entries.map(([name, inode, type, attributes, hasXattrs]) => {
      return [
        name!,
        inode!,
        type!,
        [...(attributes as Item[]), [1, ["new"]]],
        hasXattrs!,
        "new",
        [[1n]],
      ];
    });
    const surplus = bodyOf([longer, false, new Uint8Array(3)]).page();
    expect(surplus.entries).toEqual(bodyOf([entries, false]).page().entries);
    const shorter = entries.map((fields) => fields.slice(0, 4));
    expect(bodyOf([shorter, true]).page().hasXattrsAt(0)).toBeNull();
  });

  test("is refused when a field is of another type, out of its bounds, or missing", () => {
    const [[plain]] = readdir.reply.encode({ entries: [PLAIN], more: false }) as [Item[][]];
    const [name, inode, type, attributes] = plain as [Item, Item, Item, Item[]];
    const changed = (index: number, value: Item): Item => attributes.with(index, value);
    const refused: Item[][] = [
      [name, inode, type],
      ["text", inode, type, attributes],
      [new Uint8Array(5_000), inode, type, attributes],
      [name, 1n << 63n, type, attributes],
      [name, -1, type, attributes],
      [name, inode, 3, attributes],
      [name, inode, type, null],
      [name, inode, type, attributes.slice(0, 13)],
      [name, inode, type, changed(2, 0o10000)],
      [name, inode, type, changed(3, 1n << 32n)],
      [name, inode, type, changed(6, 1n << 53n)],
      [name, inode, type, changed(9, 1n << 63n)],
      [name, inode, type, changed(12, -1)],
      [name, inode, type, attributes, 1],
    ];
    for (const entry of refused) {
      expect(bodyOf([[entry], false]).page).toThrow(expect.objectContaining({ kind: "protocol" }));
    }
    expect(bodyOf([[], 0]).page).toThrow(expect.objectContaining({ kind: "protocol" }));
    expect(bodyOf([[]]).page).toThrow(expect.objectContaining({ kind: "protocol" }));
    const many = Array.from({ length: 1_025 }, () => plain!);
    expect(bodyOf([many, false]).page).toThrow(expect.objectContaining({ kind: "protocol" }));
  });
});
