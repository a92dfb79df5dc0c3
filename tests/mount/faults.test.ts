// Servers are killed, restarted and corrupted under a mount: programs notice nothing but a pause. With the cluster away a hard
// mount waits and can be interrupted, a soft one gives an error, and df and umount work on both.

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { isAlive, until } from "../support/local-cluster.ts";
import { Busy } from "./support/busy.ts";
import { cannotMount, Mounted, untilItWaits } from "./support/mounted.ts";

setDefaultTimeout(240_000); // whole clusters, killed and started again; a busy machine is slow

/** What the program does between two faults: each round changes one of its six files and verifies one. */
const ROUNDS = Number(process.env["DFS_TEST_ROUNDS"] ?? 10);

let mounted: Mounted;
afterEach(() => mounted.stop());

describe.skipIf(cannotMount !== undefined)("while a program writes and verifies", () => {
  test("data servers are killed and restarted, one after the other", async () => {
    mounted = await Mounted.up({ flags: ["--block-size", "64K"] });
    const busy = new Busy(mounted, mounted.path);
    await busy.more(ROUNDS);
    for (const id of [1, 2, 3]) {
      await mounted.cluster.kill(mounted.cluster.server(id).pid);
      await busy.more(ROUNDS);
      await mounted.cluster.ok("up", "--detach");
      await busy.more(ROUNDS);
    }
    await busy.end();
  });

  test("copies on two servers are corrupted, and read right, also through a mount with empty caches", async () => {
    mounted = await Mounted.up({ flags: ["--block-size", "64K"] });
    const bytes = crypto.getRandomValues(new Uint8Array(50_000));
    writeFileSync(`${mounted.path}/precious`, bytes);
    const busy = new Busy(mounted, mounted.path);
    await busy.more(ROUNDS);
    const [row] = await mounted.cluster.rows<{ servers: number[] }>("explain", "/precious");
    for (const server of row!.servers.slice(0, 2)) {
      await mounted.cluster.ok("corrupt", "/precious", "--server", String(server));
    }
    const fresh = await mounted.mount();
    await mounted.ok(`cp ${fresh.path}/precious ${mounted.cluster.path("copy")}`, "/");
    expect(readFileSync(mounted.cluster.path("copy")).equals(bytes)).toBe(true);
    expect(fresh.logged()).toContain("reported for repair");
    await busy.more(ROUNDS);
    await busy.end();
  });

  test("the metadata server is killed and restarted, three times", async () => {
    mounted = await Mounted.up({ flags: ["--block-size", "64K"] });
    const busy = new Busy(mounted, mounted.path);
    await busy.more(ROUNDS);
    for (let times = 0; times < 3; times++) {
      await mounted.cluster.kill(mounted.cluster.describe().metaPid);
      await mounted.cluster.ok("up", "--detach");
      await busy.more(ROUNDS);
    }
    await busy.end();
  });

  test("a data server loses its disk and is rebuilt", async () => {
    mounted = await Mounted.up({ flags: ["--block-size", "64K"] });
    const { cluster } = mounted;
    const busy = new Busy(mounted, mounted.path);
    await busy.more(ROUNDS);
    const { pid, dir } = cluster.server(2);
    await cluster.kill(pid);
    rmSync(dir, { recursive: true });
    await busy.more(ROUNDS);
    cluster.spawn(["data", "--recover", "2", "--dir", dir, "--meta", cluster.describe().meta]);
    const isUp = async (): Promise<boolean> => {
      const rows = await cluster.rows<{ server: number; state: string }>("server", "list");
      return rows.some(({ server, state }) => server === 2 && state === "up");
    };
    await until(isUp, "the server with an empty disk to be up");
    const rebuilding = cluster.ok("rebuild", "2");
    await busy.more(ROUNDS);
    await rebuilding;
    await busy.more(ROUNDS);
    await busy.end();
    expect((await cluster.run(["fsck"])).code).toBe(0);
  });

  test("what cannot be verified on any server is an I/O error, and nothing else", async () => {
    mounted = await Mounted.up({ flags: ["--block-size", "64K"] });
    writeFileSync(`${mounted.path}/lost`, "three rotten copies");
    await mounted.cluster.ok("corrupt", "/lost", "--all");
    const fresh = await mounted.mount();
    const { code, stdout, stderr } = await mounted.shell("cat lost", fresh.path);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain("Input/output error");
    expect(fresh.logged()).toContain("cannot read");
  });
});

describe.skipIf(cannotMount !== undefined)("with the cluster away", () => {
  /** What programs do on a mount. */
  const ways = (path: string): string[] => [
    `exec cat ${path}/file`,
    `exec cat ${path}/other`,
    `exec tee ${path}/new < /dev/null`,
    `exec tee -a ${path}/file < /dev/null`,
    `exec ls ${path}`,
    `exec mkdir ${path}/d`,
    `exec rm ${path}/file`,
  ];

  async function away(options?: string): Promise<void> {
    mounted = await Mounted.up({
      flags: ["--data-servers", "3"],
      ...(options === undefined ? {} : { options }),
    });
    await mounted.ok("echo content > file; echo other > other");
    await killAll();
  }

  /** Not by dfs down, which would unmount first. */
  async function killAll(): Promise<void> {
    const { metaPid, servers } = mounted.cluster.describe();
    for (const pid of [metaPid, ...servers.map((each) => each.pid)]) {
      await mounted.cluster.kill(pid);
    }
  }

  test("programs on a hard mount wait and end by Ctrl-C; when it is back they go on", async () => {
    await away("hard,actimeo=0");
    for (const way of ways(mounted.path)) {
      const child = mounted.program(["sh", "-c", way]);
      await untilItWaits(child.pid);
      child.kill("SIGINT");
      expect([await child.exited, child.signalCode], way).toEqual([130, "SIGINT"]);
    }
    const patient = mounted.program(["cat", `${mounted.path}/other`]);
    await untilItWaits(patient.pid);
    await mounted.cluster.ok("up", "--detach");
    expect(await patient.stdout.text()).toBe("other\n");
    expect(await patient.exited).toBe(0);
    expect(await mounted.ok("cat file")).toStartWith("content\n");
  });

  test("reads on a hard mount wait for data servers as well, and can be interrupted", async () => {
    mounted = await Mounted.up({ flags: ["--data-servers", "3"], options: "hard" });
    await mounted.ok("echo content > file");
    const fresh = await mounted.mount("hard");
    for (const { pid } of mounted.cluster.describe().servers) await mounted.cluster.kill(pid);
    const read = (): ReturnType<Mounted["program"]> =>
      mounted.program(["sh", "-c", `exec cat ${fresh.path}/file`]);
    const impatient = read();
    await untilItWaits(impatient.pid);
    impatient.kill("SIGINT");
    expect([await impatient.exited, impatient.signalCode]).toEqual([130, "SIGINT"]);
    const patient = read();
    const isDown = async (): Promise<boolean> => {
      const rows = await mounted.cluster.rows<{ state: string }>("server", "list");
      return rows.every(({ state }) => state === "down");
    };
    await until(isDown, "all data servers to be called down");
    await untilItWaits(patient.pid);
    await mounted.cluster.ok("up", "--detach");
    expect(await patient.stdout.text()).toBe("content\n");
  });

  test("programs on a soft mount get an error in time, never an empty directory", async () => {
    await away("soft,timeo=1,actimeo=0");
    for (const way of ways(mounted.path)) {
      const { code, stdout, stderr } = await mounted.shell(way, "/");
      expect({ code: code === 0, stdout }, way).toEqual({ code: false, stdout: "" });
      expect(stderr, way).toMatch(/Connection timed out|Input\/output error/);
    }
    await mounted.cluster.ok("up", "--detach");
    await until(
      async () => (await mounted.shell("cat file other")).stdout.includes("other"),
      "the files to be there again",
    );
  });

  test.each(["hard", "soft,timeo=1"])(
    "df works on a mount with -o %s, and so does umount",
    async (options) => {
      await away(options);
      const df = await mounted.ok(`df -P ${mounted.path}`, "/");
      expect(df).toContain(mounted.path);
      const { pid, path } = mounted.at(0);
      await mounted.cluster.ok("umount", path);
      expect(isAlive(pid)).toBe(false);
      expect(mounted.at(0).isMounted).toBe(false);
    },
  );

  test("umount --force ends a mount on which programs wait; they get an error", async () => {
    await away("hard,actimeo=0");
    const waiting = mounted.program(["cat", `${mounted.path}/file`]);
    await untilItWaits(waiting.pid);
    const busy = await mounted.cluster.run(["umount", mounted.path]);
    expect(busy).toMatchObject({ code: 1 });
    expect(busy.stderr).toContain("it is in use");
    await mounted.cluster.ok("umount", "--force", mounted.path);
    expect(await waiting.exited).toBe(1);
    expect(mounted.at(0).isServed).toBe(false);
    expect(mounted.at(0).isMounted).toBe(false);
  });
});

describe.skipIf(cannotMount !== undefined)("a mount whose process was killed", () => {
  test("gives errors, is unmounted by dfs umount, and mounted over by dfs mount", async () => {
    mounted = await Mounted.up({ flags: ["--data-servers", "3"] });
    await mounted.ok("echo kept > file");
    const { path } = mounted.at(0);
    await mounted.at(0).kill();
    const { code, stderr } = await mounted.shell(`ls ${path}`, "/");
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/Transport endpoint is not connected|Software caused connection abort/);
    await mounted.cluster.ok("umount", path);
    expect(mounted.at(0).isMounted).toBe(false);

    const second = await mounted.mount();
    await second.kill();
    const again = await mounted.cluster.ok("mount", second.path);
    expect(again.stderr).toContain("took away");
    expect(await mounted.ok("cat file", second.path)).toBe("kept\n");
    await mounted.cluster.ok("umount", second.path);
  });
});
