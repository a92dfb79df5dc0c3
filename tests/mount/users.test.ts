// Who may do what on a mount: root's mount, an ordinary user's, and others. Run as root, which becomes other users by setpriv.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { finish, isAlive, runMark, until, type CommandResult } from "../support/local-cluster.ts";
import { cannotMount, Mounted, type ShellResult } from "./support/mounted.ts";
import * as posix from "./support/system-calls.ts";

setDefaultTimeout(120_000);

const DFS = join(import.meta.dir, "../../bin/dfs");
/** Two ordinary users that every machine has: fusermount3 wants a name for who mounts. */
const ANN = idOf("nobody");
const BEN = idOf("daemon");

function idOf(user: string): number {
  const passwd = fs.readFileSync("/etc/passwd", "utf8");
  const id = new RegExp(`^${user}:[^:]*:(\\d+):`, "m").exec(passwd)?.[1];
  if (id === undefined) throw new Error(`there is no user ${user} in /etc/passwd`);
  return Number(id);
}

/** What these tests need besides a mount; an explanation when something is missing. */
function whyNoUsers(): string | undefined {
  if (cannotMount !== undefined) return cannotMount;
  if (Bun.which("setpriv") === null) return "setpriv is missing (package util-linux)";
  const command = ["setpriv", `--reuid=${ANN}`, `--regid=${ANN}`, "--clear-groups", DFS, "--help"];
  const probe = Bun.spawnSync(command, { cwd: "/" });
  return probe.success ? undefined : "other users may not run this copy of dfs";
}

/** What an ordinary user's mount needs besides. */
function whyNoUserMount(): string | undefined {
  if (Bun.which("fusermount3") === null) return "fusermount3 is missing (package fuse3)";
  const isOpen = (fs.statSync("/dev/fuse").mode & 0o006) === 0o006;
  return isOpen ? undefined : "/dev/fuse is closed to other users";
}

const missing = whyNoUsers();
if (missing !== undefined) console.log(`tests of users on mounts are skipped: ${missing}`);
const missingForTheirs = missing ?? whyNoUserMount();
if (missing === undefined && missingForTheirs !== undefined) {
  console.log(`tests of an ordinary user's mount are skipped: ${missingForTheirs}`);
}

let mounted: Mounted;

function as(uid: number, command: readonly string[], env: Record<string, string> = {}) {
  const ids = [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
  return mounted.program(["setpriv", ...ids, "--", ...command], "/", env);
}

async function shell(uid: number, script: string): Promise<ShellResult> {
  const { code, text, stderr } = await finish(as(uid, ["sh", "-euc", script]));
  return { code, stdout: text, stderr };
}

/** It must succeed; returns what it printed. */
async function ok(uid: number, script: string): Promise<string> {
  const { code, stdout, stderr } = await shell(uid, script);
  if (code !== 0) throw new Error(`${script}\nexited with ${code}:\n${stdout}${stderr}`);
  return stdout;
}

async function refused(uid: number, script: string, why = "Permission denied"): Promise<void> {
  const { code, stderr } = await shell(uid, script);
  expect({ script, failed: code !== 0 }).toEqual({ script, failed: true });
  expect(stderr).toContain(why);
}

describe.skipIf(missing !== undefined)("users of a mount", () => {
  beforeAll(async () => {
    mounted = await Mounted.up({ flags: ["--data-servers", "3"] });
    // The folders of a test run are its user's alone; others have to come through here.
    for (let path = mounted.cluster.root; path !== "/"; path = join(path, "..")) {
      const mode = fs.statSync(path).mode & 0o7777;
      if ((mode & 0o1) === 0) fs.chmodSync(path, mode | 0o11);
    }
  });
  afterAll(() => mounted.stop());

  describe("root's mount", () => {
    test("lets others in, and gives them what modes say", async () => {
      const { path } = mounted;
      await mounted.ok(
        `mkdir -m 755 shown; mkdir -m 700 hidden; mkdir -m 1777 shared
         echo public > shown/public; echo secret > shown/secret; chmod 600 shown/secret; echo x > hidden/file`,
      );
      expect(await ok(ANN, `ls ${path}/shown; cat ${path}/shown/public`)).toBe(
        "public\nsecret\npublic\n",
      );
      await refused(ANN, `cat ${path}/shown/secret`);
      await refused(ANN, `echo x >> ${path}/shown/public`);
      await refused(ANN, `echo x > ${path}/shown/new`);
      await refused(ANN, `ls ${path}/hidden`);
      await refused(ANN, `cat ${path}/hidden/file`);
      await refused(ANN, `rm -f ${path}/shown/public`);
      await refused(ANN, `chmod 777 ${path}/shown/public`, "Operation not permitted");
    });

    test("files belong to who makes them, and in a sticky directory are removed by nobody else", async () => {
      const { path } = mounted;
      await ok(
        ANN,
        `cd ${path}/shared; umask 022; echo ann > ann; mkdir dir; ln -s ann link; mkfifo fifo`,
      );
      for (const name of ["ann", "dir", "link", "fifo"]) {
        const { uid, gid } = fs.lstatSync(`${path}/shared/${name}`);
        expect([name, uid, gid]).toEqual([name, ANN, ANN]);
      }
      await refused(BEN, `rm -f ${path}/shared/ann`, "Operation not permitted");
      await refused(BEN, `echo x >> ${path}/shared/ann`);
      await refused(BEN, `mv ${path}/shared/ann ${path}/shared/ben`, "Operation not permitted");
      await ok(ANN, `rm ${path}/shared/ann`);
    });

    test("setuid and setgid go with a write, a truncation or a change of owner by an ordinary user", async () => {
      const { path } = mounted;
      const mode = (name: string): string =>
        (fs.statSync(`${path}/shared/${name}`).mode & 0o7777).toString(8);
      await ok(
        ANN,
        `cd ${path}/shared; for f in written cut given; do echo x > $f; chmod 6755 $f; done`,
      );
      expect(["written", "cut", "given"].map(mode)).toEqual(["6755", "6755", "6755"]);
      await ok(
        ANN,
        `cd ${path}/shared; echo more >> written; truncate -s 1 cut; chgrp ${ANN} given`,
      );
      await until(() => mode("written") === "755", "the bits to go with a write");
      expect(["cut", "given"].map(mode)).toEqual(["755", "755"]);
    });

    test("a fifo without permission is not opened", async () => {
      const { path } = mounted;
      await mounted.ok("mkfifo -m 600 shown/fifo");
      await refused(ANN, `exec 3<>${path}/shown/fifo`);
    });

    test("a user without rights cannot unmount it", async () => {
      const result = await finish(as(ANN, [DFS, "umount", mounted.path]));
      expect(result.code).toBe(1);
      expect(result.stderr).toContain("cannot unmount");
      expect(mounted.at(0).isMounted).toBe(true);
    });
  });

  describe.skipIf(missingForTheirs !== undefined)("an ordinary user's mount", () => {
    let point: string;
    let home: string;
    let pid: number;

    const dfs = (uid: number, ...args: string[]): Promise<CommandResult> =>
      finish(as(uid, [DFS, ...args], { HOME: home, ...runMark() }));

    beforeAll(async () => {
      home = mounted.cluster.path("ann");
      point = `${home}/mount`;
      fs.mkdirSync(point, { recursive: true });
      for (const path of [home, point]) fs.chownSync(path, ANN, ANN);
      fs.mkdirSync(`${mounted.path}/ann`);
      fs.chownSync(`${mounted.path}/ann`, ANN, ANN);
      const result = await dfs(ANN, "mount", mounted.cluster.describe().meta, point, "--json");
      expect([result.code, result.stderr]).toEqual([0, ""]);
      ({ pid } = JSON.parse(result.text) as { pid: number });
    });

    afterAll(async () => {
      if (isAlive(pid)) await dfs(0, "umount", "--force", point);
      while (fs.readFileSync("/proc/self/mounts", "utf8").includes(` ${point} `))
        posix.detach(point);
    });

    test("works, and is in the table of mounts with its source and owner", async () => {
      await ok(ANN, `cd ${point}/ann; echo mine > file; cat file; mv file renamed`);
      expect(fs.readFileSync(`${mounted.path}/ann/renamed`, "utf8")).toBe("mine\n");
      const line = fs
        .readFileSync("/proc/self/mounts", "utf8")
        .split("\n")
        .find((each) => each.includes(` ${point} `));
      expect(line).toStartWith(
        `${mounted.cluster.describe().meta} ${point} fuse.dfs rw,nosuid,nodev`,
      );
      expect(line).toContain(`user_id=${ANN}`);
    });

    test("modes count for its user as well", async () => {
      await mounted.ok("mkdir -m 700 root-only");
      await refused(ANN, `ls ${point}/root-only`);
      await refused(ANN, `echo x > ${point}/new`);
    });

    test("nobody else gets in, whatever the modes say", async () => {
      await refused(BEN, `ls ${point}`);
    });

    test("allow_other is refused where the machine does not allow it, in words", async () => {
      if (/^\s*user_allow_other/m.test(fs.readFileSync("/etc/fuse.conf", "utf8"))) {
        console.log("not tested: /etc/fuse.conf allows user_allow_other");
        return;
      }
      const other = `${home}/other`;
      fs.mkdirSync(other);
      fs.chownSync(other, ANN, ANN);
      const meta = mounted.cluster.describe().meta;
      const result = await dfs(ANN, "mount", meta, other, "-o", "allow_other");
      expect(result.code).toBe(1);
      expect(result.stderr).toContain("user_allow_other");
    });

    // fusermount3 was left to find that out, after `dfs up --mount` had started the cluster.
    test("only a directory of that user's own is mounted on, and that is said first", async () => {
      for (const [name, owner, mode] of [
        ["foreign", BEN, 0o755],
        ["sticky", BEN, 0o1777],
      ] as const) {
        const path = `${home}/${name}`;
        fs.mkdirSync(path);
        fs.chownSync(path, owner, owner);
        fs.chmodSync(path, mode);
        const dir = `${home}/cluster-${name}`;
        const result = await dfs(ANN, "up", "--detach", "--dir", dir, "--mount", path);
        expect(result).toMatchObject({ code: 1, text: "" });
        expect(result.stderr).toContain(`cannot mount on ${path}: it is not yours to write in`);
        expect(fs.existsSync(dir)).toBe(false);
      }
    });

    test("another user cannot unmount it", async () => {
      expect(await dfs(BEN, "umount", point)).toMatchObject({ code: 1 });
      expect(isAlive(pid)).toBe(true);
    });

    test("its user can, and the process ends", async () => {
      expect(await dfs(ANN, "umount", point)).toMatchObject({
        code: 0,
        stderr: expect.stringContaining("unmounted"),
      });
      expect(isAlive(pid)).toBe(false);
      expect(fs.readdirSync(point)).toEqual([]);
    });

    test("root can unmount it too", async () => {
      const meta = mounted.cluster.describe().meta;
      const { text } = await dfs(ANN, "mount", meta, point, "--json");
      ({ pid } = JSON.parse(text) as { pid: number });
      expect(await dfs(0, "umount", point)).toMatchObject({
        code: 0,
        stderr: expect.stringContaining("unmounted"),
      });
      expect(isAlive(pid)).toBe(false);
    });
  });
});
