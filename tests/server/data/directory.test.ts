// Who may begin or use a directory, and the file that says whose it is.

import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { realDisk } from "../../../src/base/disk.ts";
import { blockId, incarnationId, lsn, reignId, serverId } from "../../../src/base/ids.ts";
import { systemRandom } from "../../../src/base/random.ts";
import { openDirectory, type IdentityWish } from "../../../src/server/data/directory.ts";
import {
  decodeIdentity,
  encodeIdentity,
  IdentityFile,
  type Identity,
} from "../../../src/server/data/identity.ts";
import { flipBit } from "../../log/files.ts";
import { FaultDisk } from "../../log/fault-disk.ts";
import { cleanUp, CLUSTER, expectError, freshDirectory } from "./support.ts";

afterEach(cleanUp);

const full: Identity = {
  cluster: CLUSTER,
  server: serverId(7),
  incarnation: incarnationId(2n ** 62n + 1n),
  recovered: true,
  seen: { reign: reignId(2n ** 61n + 3n), lsn: lsn(12345678901234567n) },
  highestBlock: blockId(2n ** 60n + 5n),
  address: "127.0.0.1:7001",
  accepted: [5n, 2n ** 62n + 9n],
};

function open(dir: string, identity: IdentityWish) {
  return openDirectory({ disk: realDisk, dir, identity, random: systemRandom });
}

describe("the identity file", () => {
  test("gives back what was written, also before the first registration", () => {
    const begun: Identity = {
      ...full,
      cluster: undefined,
      server: undefined,
      seen: undefined,
      address: undefined,
    };
    for (const identity of [full, begun]) {
      expect(decodeIdentity(encodeIdentity(identity), "x")).toEqual(identity);
    }
  });

  test("is text that a person can read", () => {
    const text = new TextDecoder().decode(encodeIdentity(full));
    expect(text).toContain(`"cluster": "${CLUSTER}"`);
    expect(text).toContain('"lsn": "12345678901234567"');
  });

  test("damage anywhere in it is noticed", () => {
    const bytes = encodeIdentity(full);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const damaged = bytes.slice();
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      let read: Identity | undefined;
      try {
        read = decodeIdentity(damaged, "x");
      } catch {
        continue; // noticed
      }
      expect(read).toEqual(full); // a blank that became another kind of blank
    }
    expect(() => decodeIdentity(bytes.subarray(0, 40), "/d/identity.json")).toThrow(
      /\/d\/identity.json: it is damaged/,
    );
  });

  test("of another format is refused", () => {
    const { checksum: _, ...fields } = JSON.parse(new TextDecoder().decode(encodeIdentity(full)));
    const newer = { ...fields, format: 2 };
    const hash = Bun.hash.xxHash3(JSON.stringify(newer)).toString(16).padStart(16, "0");
    const bytes = new TextEncoder().encode(JSON.stringify({ ...newer, checksum: hash }));
    expect(() => decodeIdentity(bytes, "x")).toThrow("format 2");
  });

  test("is replaced as a whole: a failed write leaves the former one", async () => {
    const dir = freshDirectory();
    mkdirSync(dir);
    const disk = new FaultDisk();
    const file = await IdentityFile.create(disk, dir, full);
    disk.writeErrors = ["ENOSPC"];
    await expectError("io", file.change({ highestBlock: blockId(9n) }));
    expect(IdentityFile.read(realDisk, dir)!.current).toEqual(full);
    await file.change({ recovered: false });
    expect(IdentityFile.read(realDisk, dir)!.current).toEqual({
      ...full,
      recovered: false,
      highestBlock: blockId(9n),
    });
    expect(readdirSync(dir)).toEqual(["identity.json"]);
  });

  test("changes made at once are all in it", async () => {
    const dir = freshDirectory();
    mkdirSync(dir);
    const file = await IdentityFile.create(realDisk, dir, full);
    await Promise.all([
      file.change({ highestBlock: blockId(1n) }),
      file.change({ recovered: false }),
      file.change({ address: undefined }),
    ]);
    expect(IdentityFile.read(realDisk, dir)!.current).toEqual({
      ...full,
      highestBlock: blockId(1n),
      recovered: false,
      address: undefined,
    });
  });
});

describe("a directory", () => {
  test("that is missing or empty needs to be told what it is, and is not touched before", async () => {
    const dir = freshDirectory();
    const missing = await expectError("usage", open(dir, "present"));
    expect(missing.message).toMatch(/does not exist[^]*--new[^]*--recover ID/);
    expect(existsSync(dir)).toBe(false);
    mkdirSync(dir);
    const empty = await expectError("usage", open(dir, "present"));
    expect(empty.message).toMatch(/is empty[^]*--new[^]*--recover ID/);
    expect(readdirSync(dir)).toEqual([]);
  });

  test("counts as empty with what a file system puts into its root", async () => {
    const dir = freshDirectory();
    mkdirSync(join(dir, "lost+found"), { recursive: true });
    await expectError("usage", open(dir, "present"));
    (await open(dir, "new")).release();
  });

  test("is begun by --new, and goes on with or without it until it is registered", async () => {
    const dir = freshDirectory();
    const first = await open(dir, "new");
    const { incarnation } = first.identity.current;
    expect(first.identity.current).toMatchObject({ recovered: false, highestBlock: 0n });
    expect(first.identity.current.server).toBeUndefined();
    first.release();
    for (const wish of ["new", "present"] as const) {
      const again = await open(dir, wish);
      expect(again.identity.current.incarnation).toBe(incarnation);
      again.release();
    }
    await expectError("usage", open(dir, { recover: 4 }));
  });

  test("is begun by --recover with an incarnation of its own", async () => {
    const dir = freshDirectory();
    const first = await open(dir, { recover: 4 });
    expect(first.identity.current).toMatchObject({ server: serverId(4), recovered: true });
    const { incarnation } = first.identity.current;
    first.release();
    const again = await open(dir, { recover: 4 });
    expect(again.identity.current.incarnation).toBe(incarnation);
    again.release();
    const other5 = await expectError("usage", open(dir, { recover: 5 }));
    expect(other5.message).toContain("it was begun with --recover 4, and has not joined a cluster");
    expect(other5.message).toContain(`delete ${dir}`);
    await expectError("usage", open(dir, "new"));
    const other = await open(freshDirectory(), { recover: 4 });
    expect(other.identity.current.incarnation).not.toBe(incarnation);
    other.release();
  });

  test("of a registered server is neither begun anew nor recovered", async () => {
    const dir = freshDirectory();
    mkdirSync(dir);
    await IdentityFile.create(realDisk, dir, full);
    const asNew = await expectError("usage", open(dir, "new"));
    expect(asNew.message).toContain("data server 7");
    await expectError("usage", open(dir, { recover: 7 }));
    const present = await open(dir, "present");
    expect(present.identity.current).toEqual(full);
    present.release();
  });

  test.each(["present", "new", "recover"] as const)(
    "that holds something else is refused with %s",
    async (how) => {
      const dir = freshDirectory();
      mkdirSync(dir);
      writeFileSync(join(dir, "photos.zip"), "");
      const wish = how === "recover" ? { recover: 3 } : how;
      const error = await expectError("usage", open(dir, wish));
      expect(error.message).toContain("photos.zip");
      expect(readdirSync(dir)).toEqual(["photos.zip"]);
    },
  );

  test("has one owner at a time, and is free after a failed start", async () => {
    const dir = freshDirectory();
    const first = await open(dir, "new");
    const error = await expectError("locked", open(dir, "present"));
    expect(error.message).toContain(String(process.pid));
    first.release();
    flipBit(join(dir, "identity.json"), 40);
    await expectError("io", open(dir, "present"));
    await expectError("io", open(dir, "present"));
  });

  test("whose identity is damaged says what to do, and keeps the file", async () => {
    const dir = freshDirectory();
    (await open(dir, "new")).release();
    const path = join(dir, "identity.json");
    flipBit(path, 60);
    const before = readFileSync(path);
    const error = await expectError("io", open(dir, "present"));
    expect(error.message).toContain("--recover");
    expect(Buffer.compare(readFileSync(path), before)).toBe(0);
  });
});
