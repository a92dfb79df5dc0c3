// Locks of flock(2) and fcntl(2) on two mounts of one cluster, each served by a process of its own.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { until } from "../support/local-cluster.ts";
import { cannotMount, Mounted } from "./support/mounted.ts";
import * as posix from "./support/system-calls.ts";

let mounted: Mounted;
let count = 0;
/** The same new directory through the one mount and through the other. */
let here: string;
let there: string;
let opened: number[] = [];

describe.skipIf(cannotMount !== undefined)("two mounts", () => {
  beforeAll(async () => {
    mounted = await Mounted.up({
      mounts: 2,
      flags: ["--block-size", "64K", "--lease-timeout", "10"],
    });
  });
  afterAll(() => mounted.stop());
  beforeEach(() => {
    for (const fd of opened.splice(0)) fs.closeSync(fd);
    const name = `case-${++count}`;
    here = `${mounted.at(0).path}/${name}`;
    there = `${mounted.at(1).path}/${name}`;
    fs.mkdirSync(here);
  });

  function open(path: string, flags = "r+"): number {
    const fd = fs.openSync(path, flags);
    opened.push(fd);
    return fd;
  }

  function isFree(fd: number): boolean {
    try {
      posix.flock(fd, "exclusive");
      return true;
    } catch {
      return false;
    }
  }

  test("locks of flock exclude, and are given up by a close", async () => {
    fs.writeFileSync(`${here}/file`, "");
    const mine = open(`${here}/file`);
    const yours = open(`${there}/file`);
    posix.flock(mine, "exclusive");
    expect(() => posix.flock(yours, "shared")).toThrow("EAGAIN");
    posix.flock(mine, "shared");
    posix.flock(yours, "shared");
    expect(() => posix.flock(yours, "exclusive")).toThrow("EAGAIN");
    fs.closeSync(mine);
    opened = opened.filter((fd) => fd !== mine);
    // The kernel tells the mount of a last close, and does not let the process that closed wait for the answer.
    await until(() => isFree(yours), "the lock to be given up");
  });

  test("locks of fcntl exclude where their ranges meet", () => {
    fs.writeFileSync(`${here}/file`, "0123456789");
    const mine = open(`${here}/file`);
    const yours = open(`${there}/file`);
    for (const owner of ["process", "open file"] as const) {
      posix.setLock(mine, { type: "exclusive", start: 0, length: 5 }, { owner });
      posix.setLock(yours, { type: "exclusive", start: 5, length: 5 }, { owner });
      expect(() =>
        posix.setLock(yours, { type: "shared", start: 4, length: 1 }, { owner }),
      ).toThrow("EAGAIN");
      expect(() => posix.setLock(mine, { type: "shared", start: 9, length: 1 }, { owner })).toThrow(
        "EAGAIN",
      );
      posix.setLock(mine, { type: "none", start: 0, length: 5 }, { owner });
      posix.setLock(yours, { type: "exclusive", start: 0, length: 10 }, { owner });
      posix.setLock(yours, { type: "none", start: 0, length: 10 }, { owner });
    }
  });

  test("who waits for a lock gets it when its holder on the other mount gives it up", async () => {
    fs.writeFileSync(`${here}/file`, "");
    const mine = open(`${here}/file`);
    posix.flock(mine, "exclusive");
    const waiting = mounted.program(["flock", `${there}/file`, "echo", "got it"]);
    const taken = await mounted.shell(`flock --nonblock ${there}/file true`, "/");
    expect(taken.code).toBe(1);
    expect(waiting.exitCode).toBeNull();
    posix.flock(mine, "none");
    expect(await waiting.stdout.text()).toBe("got it\n");
    expect(await waiting.exited).toBe(0);
  });

  test("locks are given up when the process of their mount is killed", async () => {
    fs.writeFileSync(`${here}/file`, "");
    const third = await mounted.mount();
    const path = `${third.path}/case-${count}/file`;
    const holder = mounted.program(["flock", "--no-fork", path, "sleep", "1000"]);
    const mine = open(`${here}/file`);
    await until(() => {
      if (!isFree(mine)) return true;
      posix.flock(mine, "none");
      return false;
    }, "the lock to be taken on the third mount");
    await third.kill();
    await until(() => isFree(mine), "the lock to be given up", 120_000);
    holder.kill();
  }, 180_000);
});
