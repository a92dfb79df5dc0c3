// dfs mount and dfs umount as they are typed, and as mount(8) and umount(8) call them.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { finish, isAlive, runMark, until } from "../support/local-cluster.ts";
import { MOUNT_ENV } from "../../src/tools/shared/runtime-env.ts";
import { cannotMount, Mounted } from "../mount/support/mounted.ts";
import { mountAt } from "../../src/base/mounts/table.ts";
import { dfs } from "./support/run.ts";
import { temporaryFolder } from "./support/files.ts";

setDefaultTimeout(120_000); // whole clusters; a busy machine is slow

const PROJECT = join(import.meta.dir, "../..");

describe("dfs mount and umount without a cluster", () => {
  const folder = temporaryFolder("mount");
  afterAll(() => folder.remove());
  const run = (...args: string[]) => dfs(args, { home: folder.path });

  test.each([
    [["mount"], "something is missing: dfs mount"],
    [["mount", "a", "b", "c"], 'cannot use "c"'],
    [["mount", "host", "/tmp"], "cannot mount host: expected an address HOST:PORT"],
    [["mount", "dfs#h:1", "/tmp", "-o", "noatme"], "did you mean noatime?"],
    [["mount", "h:1", "/tmp", "-o", "ro", "-o", "timeo=x"], "timeo=x"],
    [["mount", "h:1", "/tmp", "--meta", "h:2"], "named twice"],
    [["umount"], "something is missing: dfs umount"],
    [["umount", "--lazy", "--force", "/tmp"], "exclude each other"],
  ])("dfs %j: exit 2", async (args, reason) => {
    const result = await run(...args);
    expect(result).toMatchObject({ code: 2, stdout: "" });
    expect(result.stderr).toContain(reason);
  });

  test("where no cluster is: exit 5, and how to start one", async () => {
    const result = await run("mount", folder.path);
    expect(result.code).toBe(5);
    expect(result.stderr).toContain("dfs up");
  });

  test("umount of what is not mounted: exit 4; of others' mounts: exit 1", async () => {
    expect(await run("umount", folder.path)).toMatchObject({ code: 4 });
    const other = await run("umount", "/proc");
    expect(other.code).toBe(1);
    expect(other.stderr).toContain("it is no dfs but proc");
    expect(await run("umount", folder.path, `${folder.path}/no`)).toMatchObject({ code: 4 });
  });
});

describe.skipIf(cannotMount !== undefined)("dfs mount and umount", () => {
  let mounted: Mounted;
  let meta: string;
  beforeAll(async () => {
    mounted = await Mounted.up({ mounts: 0, flags: ["--data-servers", "3"] });
    ({ meta } = mounted.cluster.describe());
  });
  afterAll(() => mounted.stop());

  const directory = (name: string): string => {
    const path = mounted.cluster.path(name);
    fs.mkdirSync(path);
    return path;
  };
  const mountLine = (path: string): string | undefined =>
    fs
      .readFileSync("/proc/self/mounts", "utf8")
      .split("\n")
      .find((line) => line.split(" ")[1] === path);

  test("say what was done, and can be repeated", async () => {
    const path = directory("simple");
    const mount = await mounted.cluster.ok("mount", path);
    const pid = Number(/process (\d+)/.exec(mount.stderr)?.[1]);
    expect(mount.stderr).toBe(
      `dfs mount: the dfs of ${meta} is mounted on ${path} (process ${pid})\n`,
    );
    expect(mount.text).toBe("");
    expect(isAlive(pid)).toBe(true);
    expect(mountLine(path)).toStartWith(`${meta} ${path} fuse.dfs rw,`);
    const log = mounted.cluster.path(`.local/state/dfs/mount${path.replaceAll("/", "-")}.log`);
    expect(fs.readFileSync(log, "utf8")).toContain("mounted");
    const umount = await mounted.cluster.ok("umount", `${path}/`);
    expect(umount.stderr).toBe(`dfs umount: ${path} unmounted (process ${pid} stopped)\n`);
    expect(isAlive(pid)).toBe(false);
    await mounted.cluster.ok("mount", path);
    await mounted.cluster.ok("umount", path);
  });

  test("the process in the background has the settings that one in the foreground gets from bin/dfs", async () => {
    const path = directory("settings");
    const [ready] = await mounted.cluster.rows<{ pid: number }>("mount", path);
    const environment = fs.readFileSync(`/proc/${ready!.pid}/environ`, "latin1").split("\0");
    for (const [name, value] of Object.entries(MOUNT_ENV)) {
      expect(environment).toContain(`${name}=${value}`);
    }
    expect(MOUNT_ENV["BUN_JSC_useConcurrentGC"]).toBe("0");
    await mounted.cluster.ok("umount", path);
  });

  test("tell programs the same as JSON", async () => {
    const path = directory("json");
    const [ready] = await mounted.cluster.rows<{ pid: number }>("mount", path);
    expect(ready).toEqual({
      ready: "mount",
      mountPoint: path,
      meta,
      pid: expect.any(Number),
    } as never);
    const rows = await mounted.cluster.rows<object>("umount", path);
    expect(rows).toEqual([{ mountPoint: path, pid: ready!.pid, process: "stopped" }]);
    const failed = await mounted.cluster.run(["mount", `${path}/missing`, "--json"]);
    expect(failed.code).toBe(4);
    expect(JSON.parse(failed.text)).toMatchObject({ failed: "notFound" });
  });

  test("refuse a mount on a mount, a missing directory and a file, and say what to do", async () => {
    const path = directory("twice");
    await mounted.cluster.ok("mount", path);
    const again = await mounted.cluster.run(["mount", path]);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain(`is mounted there already`);
    expect(again.stderr).toContain(`dfs umount ${path}`);
    const missing = await mounted.cluster.run(["mount", `${path}-not`]);
    expect(missing.code).toBe(4);
    expect(missing.stderr).toContain(`mkdir -p ${path}-not`);
    const file = await mounted.cluster.run(["mount", join(mounted.cluster.dir, "cluster.json")]);
    expect(file.code).toBe(1);
    expect(file.stderr).toContain("it is not a directory");
    await mounted.cluster.ok("umount", path);
  });

  test("a directory with something in it is mounted on, and has it again afterwards", async () => {
    const path = directory("full");
    fs.writeFileSync(`${path}/below`, "below");
    await mounted.cluster.ok("mount", path);
    expect(fs.existsSync(`${path}/below`)).toBe(false);
    await mounted.cluster.ok("umount", path);
    expect(fs.readFileSync(`${path}/below`, "utf8")).toBe("below");
  });

  test("an address where nobody is: exit 5, nothing is mounted, no process is left", async () => {
    const path = directory("nobody");
    const result = await mounted.cluster.run(["mount", "127.0.0.1:1", path, "--timeout", "1"]);
    expect(result.code).toBe(5);
    expect(result.stderr).toContain("cannot reach");
    expect(mountLine(path)).toBeUndefined();
    expect(await mounted.cluster.run(["umount", path])).toMatchObject({ code: 4 });
  });

  test("the log may not be in the mount", async () => {
    const path = directory("log");
    const result = await mounted.cluster.run(["mount", path, "--log", `${path}/log`]);
    expect(result.code).toBe(2);
    expect(result.stderr).toContain("its own mount");
  });

  test("options take effect and are shown by the system", async () => {
    const path = directory("options");
    await mounted.cluster.ok("mount", path, "-o", "ro,nosuid", "-o", "nodev,noexec,noatime");
    const options = mountLine(path)?.split(" ")[3]?.split(",") ?? [];
    for (const each of ["ro", "nosuid", "nodev", "noexec", "noatime", "allow_other"]) {
      expect(options).toContain(each);
    }
    expect(() => fs.writeFileSync(`${path}/file`, "x")).toThrow("EROFS");
    await mounted.cluster.ok("umount", path);
  });

  test("a read changes the access time as the option says", async () => {
    const path = directory("times");
    const old = new Date(86_400_000);
    const readAtime = async (option: string): Promise<number> => {
      await mounted.cluster.ok("mount", path, "-o", option);
      fs.writeFileSync(`${path}/${option}`, "read me");
      fs.utimesSync(`${path}/${option}`, old, old);
      fs.readFileSync(`${path}/${option}`);
      await mounted.cluster.ok("umount", path);
      await mounted.cluster.ok("mount", path, "-o", "ro");
      const { atimeMs } = fs.statSync(`${path}/${option}`);
      await mounted.cluster.ok("umount", path);
      return atimeMs;
    };
    expect(await readAtime("noatime")).toBe(old.getTime());
    expect(await readAtime("relatime")).toBeGreaterThan(old.getTime());
    expect(await readAtime("strictatime")).toBeGreaterThan(old.getTime());
  });

  test("in use: refused without a flag, hidden by --lazy until its last user is gone", async () => {
    const path = directory("used");
    const [ready] = await mounted.cluster.rows<{ pid: number }>("mount", path);
    fs.writeFileSync(`${path}/file`, "still read");
    const fd = fs.openSync(`${path}/file`, "r");
    const busy = await mounted.cluster.run(["umount", path]);
    expect(busy.code).toBe(1);
    expect(busy.stderr).toContain("it is in use");
    const lazy = await mounted.cluster.ok("umount", "--lazy", path);
    expect(lazy.stderr).toContain("ends when nobody uses it any more");
    expect(mountLine(path)).toBeUndefined();
    expect(fs.readFileSync(fd, "utf8")).toBe("still read");
    fs.closeSync(fd);
    await until(() => !isAlive(ready!.pid), "the process to end after its last user");
  });

  for (const [name, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    test(`--foreground serves in that process until ${name}`, async () => {
      const path = directory(`foreground-${name}`);
      const child = mounted.cluster.spawn(["mount", "--foreground", path]);
      await until(() => mountLine(path) !== undefined, "the mount");
      await until(() => fs.existsSync(path), "the mount to answer");
      fs.writeFileSync(`${path}/${name}`, "written before the end");
      child.kill(name);
      const result = await finish(child);
      expect(result.code).toBe(code);
      expect(result.stderr).toContain("unmounted");
      expect(mountLine(path)).toBeUndefined();
      expect((await mounted.cluster.ok("cat", `/${name}`)).text).toBe("written before the end");
    });
  }

  test("as mount(8) and umount(8) call their helpers: by name, with the source first", async () => {
    const bin = directory("sbin");
    for (const name of ["mount.dfs", "umount.fuse.dfs"]) {
      fs.symlinkSync(join(PROJECT, "bin/dfs"), join(bin, name));
    }
    const path = directory("helped");
    const call = async (...command: string[]) => {
      const env = { PATH: process.env["PATH"] ?? "", HOME: mounted.cluster.root, ...runMark() };
      return finish(Bun.spawn(command, { env, stdin: "ignore", stdout: "pipe", stderr: "pipe" }));
    };
    const options = "rw,nofail,_netdev,x-systemd.automount,soft,timeo=5";
    const fake = await call(`${bin}/mount.dfs`, meta, path, "-f", "-o", options);
    expect([fake.code, mountLine(path)]).toEqual([0, undefined]);
    const mount = await call(
      `${bin}/mount.dfs`,
      `dfs#${meta}`,
      path,
      "-s",
      "-v",
      "-n",
      "-o",
      options,
      "-t",
      "dfs",
    );
    expect([mount.code, mount.stderr]).toEqual([0, expect.stringContaining("is mounted on")]);
    expect(mountAt(path)).toMatchObject({ source: `dfs#${meta}`, type: "fuse.dfs" });
    const umount = await call(`${bin}/umount.fuse.dfs`, path, "-n", "-v", "-t", "fuse.dfs");
    expect(umount.code).toBe(0);
    expect(mountLine(path)).toBeUndefined();
  });

  test("umount(8) ends the process as well", async () => {
    const path = directory("system");
    const [ready] = await mounted.cluster.rows<{ pid: number }>("mount", path);
    await mounted.ok(`umount ${path}`, "/");
    await until(() => !isAlive(ready!.pid), "the process to end");
  });
});

// A wrong directory was told of when the cluster had been started, or after its own directory had been made.
describe.skipIf(cannotMount !== undefined)("dfs up --mount looks at the directory first", () => {
  const folder = temporaryFolder("up-mount");
  const home = temporaryFolder("up-mount-home");
  afterAll(() => {
    folder.remove();
    home.remove();
  });
  const inside = (name: string): string => join(folder.path, name);

  const cases: readonly (readonly [string, string, string, number, string])[] = [
    ["which there is not", "cluster", "missing", 4, "make it first: mkdir -p"],
    ["which is a file", "cluster", "file", 1, "it is not a directory"],
    ["which is the cluster's own", "own", "own", 2, "would be hidden by the mount"],
    ["in which the cluster's own is", "above/cluster", "above", 2, "would be hidden by the mount"],
    ["the same through a link", "link/cluster", "above", 2, "would be hidden by the mount"],
  ];
  for (const [title, dir, mountPoint, code, words] of cases) {
    test(`${title}: nothing is made and nothing started`, async () => {
      fs.writeFileSync(inside("file"), "");
      for (const name of ["own", "above"]) fs.mkdirSync(inside(name), { recursive: true });
      if (!fs.existsSync(inside("link"))) fs.symlinkSync("above", inside("link"));
      const before = fs.readdirSync(folder.path, { recursive: true });
      const args = ["up", "--detach", "--dir", inside(dir), "--mount", inside(mountPoint)];
      const result = await dfs(args, { home: home.path });
      expect(result.stderr).toContain(words);
      expect([result.code, result.stdout]).toEqual([code, ""]);
      expect(fs.readdirSync(folder.path, { recursive: true })).toEqual(before);
    });
  }
});

describe.skipIf(cannotMount !== undefined)("dfs up --mount and dfs down", () => {
  test("mount with the cluster, again after a restart, and unmount before the servers are stopped", async () => {
    const mounted = await Mounted.up({ mounts: 0, flags: ["--data-servers", "3"] });
    try {
      const path = mounted.cluster.path("mount");
      fs.mkdirSync(path);
      const rows = await mounted.cluster.rows<{ service: string; pid: number; state: string }>(
        "up",
        "--detach",
        "--mount",
        path,
      );
      const mount = rows.find((row) => row.service === "mount");
      expect(mount).toMatchObject({ dir: path, state: "started" });
      fs.writeFileSync(`${path}/file`, "kept");
      const again = await mounted.cluster.rows<{ service: string; pid: number; state: string }>(
        "up",
        "--detach",
        "--mount",
        path,
      );
      expect(again.find((row) => row.service === "mount")).toMatchObject({
        pid: mount!.pid,
        state: "running",
      });
      const down = await mounted.cluster.ok("down");
      expect(down.text).toStartWith(`mount stopped (process ${mount!.pid})\n`);
      expect(isAlive(mount!.pid)).toBe(false);
      expect(fs.readdirSync(path)).toEqual([]);
      await mounted.cluster.ok("up", "--detach", "--mount", path);
      expect(fs.readFileSync(`${path}/file`, "utf8")).toBe("kept");
      await mounted.cluster.ok("umount", path);

      // One that was made by the address alone is the cluster's all the same.
      await mounted.cluster.ok("mount", mounted.cluster.describe().meta, path);
      expect((await mounted.cluster.ok("down")).text).toStartWith("mount stopped");
      expect(mountAt(path)).toBeUndefined();
    } finally {
      await mounted.stop();
    }
  });

  test("down takes a mount away that is in use, and says so", async () => {
    const mounted = await Mounted.up({ flags: ["--data-servers", "3"] });
    try {
      fs.writeFileSync(`${mounted.path}/file`, "x");
      const fd = fs.openSync(`${mounted.path}/file`, "a");
      fs.writeSync(fd, " and more, which nobody has closed");
      const down = await mounted.cluster.ok("down");
      expect(down.stderr).toContain("is in use");
      expect(mounted.at(0).isServed).toBe(false);
      expect(mounted.at(0).isMounted).toBe(false);
      fs.closeSync(fd);
      await mounted.cluster.ok("up", "--detach");
      const { text } = await mounted.cluster.ok("cat", "/file");
      expect(text).toBe("x and more, which nobody has closed");
    } finally {
      await mounted.stop();
    }
  });
});
