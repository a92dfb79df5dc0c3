// Which permission bits a copy gets. get -p and put -p kept the set-id bits of files whose owner they could not keep: what was to
// run as root's program ran as that of whoever had copied it.

import { afterEach, describe, expect, spyOn, test } from "bun:test";
import type { BigIntStats } from "node:fs";
import type { Attributes } from "../../src/protocol/messages/common.ts";
import { localMode, remoteOwner } from "../../src/tools/transfer/attributes.ts";

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

  test("without -p nobody keeps them", () => {
    iAm(0);
    expect(localMode(remote(0, 0), false) & 0o7000).toBe(0);
    expect(remoteOwner(local(0, 0), false).mode & 0o7000).toBe(0);
  });
});
