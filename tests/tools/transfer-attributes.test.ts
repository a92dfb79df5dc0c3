// Which permission bits a copy gets. get -p and put -p kept the set-id bits of files whose owner they could not keep: what was to
// run as root's program ran as that of whoever had copied it.

import { afterEach, describe, expect, spyOn, test } from "bun:test";
import type { BigIntStats } from "node:fs";
import { systemCodeOf } from "../../src/base/errors.ts";
import type { DfsClient } from "../../src/client/api.ts";
import type { Attributes } from "../../src/protocol/messages/common.ts";
import { fetchAttributes, localMode, remoteOwner } from "../../src/tools/transfer/attributes.ts";

const USER = 1234;
const MODE = 0o6755;

const spies: { mockRestore(): void }[] = [];
afterEach(() => {
  for (const spy of spies.splice(0)) spy.mockRestore();
});

function iAm(uid: number): void {
  spies.push(spyOn(process, "geteuid").mockReturnValue(uid));
  spies.push(spyOn(process, "getegid").mockReturnValue(uid));
}

const local = (uid: number, gid: number): BigIntStats =>
  ({ mode: BigInt(0o100000 | MODE), uid: BigInt(uid), gid: BigInt(gid) }) as BigIntStats;
const remote = (uid: number, gid: number): Attributes => ({ mode: MODE, uid, gid }) as Attributes;

// get -p fetched nothing onto NFS or FAT of what had attributes.
test("a file system without extended attributes is told from one that fails", async () => {
  const client = {
    xattrList: () => Promise.resolve([Buffer.from("user.x"), Buffer.from("trusted.y")]),
    xattrGet: () => Promise.resolve(Buffer.from("1")),
  } as unknown as DfsClient;
  const fetched = (to: string): Promise<boolean> =>
    fetchAttributes(client, Buffer.from("/from"), Buffer.from(to));
  expect(await fetched("/proc/self/comm")).toBe(false);
  let error: unknown;
  await fetched("/no/such/file").catch((thrown: unknown) => (error = thrown));
  expect(systemCodeOf(error)).toBe("ENOENT");
});

describe("set-id bits, with -p", () => {
  test.each([
    ["the superuser keeps them, with the owner", 0, USER, USER, MODE],
    ["a user keeps those of the own files", USER, USER, USER, MODE],
    ["not of files of another user", USER, 0, USER, 0o755],
    ["nor of another group", USER, USER, 0, 0o755],
  ])("%s", (_name, me, uid, gid, mode) => {
    iAm(me);
    expect(localMode(remote(uid, gid), true)).toBe(mode);
    const owner = me === 0 ? { uid, gid } : { uid: me, gid: me };
    expect(remoteOwner(local(uid, gid), true)).toEqual({ ...owner, mode });
  });

  // cp -r, put -r and get -r made a directory like /tmp one in which everybody may remove everything.
  test("without -p a directory stays sticky, a file does not", () => {
    const at = (type: number): BigIntStats =>
      ({ mode: BigInt(type | 0o7777), uid: 0n, gid: 0n }) as BigIntStats;
    const own = 0o777 & ~process.umask();
    expect(remoteOwner(at(0o040000), false).mode).toBe(0o1000 | own);
    expect(remoteOwner(at(0o100000), false).mode).toBe(own);
    const attributes = { mode: 0o7777, uid: 0, gid: 0 };
    expect(localMode({ ...attributes, type: "directory" } as Attributes, false)).toBe(0o1000 | own);
    expect(localMode({ ...attributes, type: "file" } as Attributes, false)).toBe(own);
  });

  test("without -p nobody keeps them", () => {
    iAm(0);
    expect(localMode(remote(0, 0), false) & 0o7000).toBe(0);
    expect(remoteOwner(local(0, 0), false).mode & 0o7000).toBe(0);
  });
});
