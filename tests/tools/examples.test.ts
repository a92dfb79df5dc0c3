// The examples of each --help, typed as they stand there: each is run by a shell, and does what the command is for. What
// belongs to a machine (addresses, mount points, directories of servers) is replaced by what this test has.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cannotMount } from "../mount/support/mounted.ts";
import { startedFrom } from "../support/bundled-project.ts";
import { finish, LocalCluster, type CommandResult } from "../support/local-cluster.ts";

setDefaultTimeout(240_000); // whole clusters; a busy machine is slow

const GOLDEN = join(import.meta.dir, "../golden/help");

/** The examples of each command, by its name. */
function examples(): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const file of readdirSync(GOLDEN)
    .filter((name) => /^dfs-.*\.txt$/.test(name))
    .toSorted()) {
    const text = readFileSync(join(GOLDEN, file), "utf8");
    const name = /^dfs ([a-z -]+): /.exec(text)?.[1] ?? file;
    const block = /^Examples:\n((?: {2}.*\n)+)/m.exec(text)?.[1] ?? "";
    found.set(
      name,
      block
        .trimEnd()
        .split("\n")
        .map((line) => line.trim()),
    );
  }
  return found;
}

const EXAMPLES = examples();

/** These change which servers there are, or start and end clusters: each gets a cluster of its own. */
const OF_CLUSTERS = new Set([
  "up",
  "down",
  "server stop",
  "server drain",
  "server undrain",
  "server remove",
  "rebuild",
  "meta",
  "data",
  "meta restore",
  "log dump",
  "mount",
  "umount",
]);

/** Examples that end with another exit status than 0, and why. */
const CODES: Readonly<Record<string, number>> = {
  // "an input/output error, never wrong bytes"
  "dfs corrupt /file --block 0 --all && dfs cat /file    # an input/output error, never wrong bytes": 1,
  "dfs corrupt /file && dfs fsck /file    # finds the copy and mends it: exit status 1": 1,
};

/** Examples that run until they are ended. */
const SERVES = /^dfs (up$|up --mount|up --dir|meta --dir|data |mount --foreground)/;

class Stage {
  readonly cluster: LocalCluster;
  #running: ReturnType<LocalCluster["spawn"]>[] = [];

  constructor(cluster: LocalCluster) {
    this.cluster = cluster;
  }

  /** What stands for a place on somebody's machine. */
  async local(line: string): Promise<string> {
    const { cluster } = this;
    const { meta, servers } = cluster.describe();
    const [one, two] = servers.map(({ address }) => address);
    const free = line.includes("--listen") ? `127.0.0.1:${await freePort()}` : meta;
    return line
      .replaceAll("/srv/dfs", cluster.path("srv"))
      .replaceAll("/etc/dfs.key", cluster.path("dfs.key"))
      .replaceAll("/mnt/dfs", cluster.path("mnt"))
      .replaceAll("/tmp/course", cluster.path("course"))
      .replaceAll("~/.local/share/dfs", cluster.dir)
      .replaceAll("10.0.0.2:7001,10.0.0.3:7001", `${one},${two}`)
      .replaceAll("127.0.0.1:7000", free)
      .replaceAll("10.0.0.1:7000", free)
      .replaceAll("alice:staff", "root:root")
      .replaceAll("--size 100M", "--size 1M");
  }

  spawn(line: string): ReturnType<LocalCluster["spawn"]> {
    const { cluster } = this;
    return Bun.spawn(["bash", "-c", `set -o pipefail; ${line}`], {
      cwd: cluster.root,
      env: {
        ...process.env,
        PATH: `${join(startedFrom(), "bin")}:${process.env["PATH"] ?? ""}`,
        HOME: cluster.root,
        DFS_DIR: cluster.dir,
        // A whole drill has a test of its own; a short one is played here.
        ...(line.includes("dfs drill") && !line.includes("--faults")
          ? { DFS_FAULTS: "rot-1" }
          : {}),
        NO_COLOR: "1",
      },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
  }

  async run(line: string): Promise<CommandResult> {
    return finish(this.spawn(line));
  }

  /** Starts what serves, waits until it is ready, and leaves it running until `end`. */
  async serve(line: string): Promise<void> {
    const child = this.spawn(`exec ${line}`);
    const reader = child.stdout.getReader();
    const first = await reader.read();
    reader.releaseLock();
    if (first.done) throw new Error(`${line}: ${await child.stderr.text()}`);
    this.#running.push(child);
  }

  async end(): Promise<void> {
    for (const child of this.#running.toReversed()) {
      child.kill("SIGTERM");
      await child.exited;
      expect([0, 143]).toContain(child.exitCode ?? -1);
    }
    this.#running = [];
  }
}

async function freePort(): Promise<number> {
  const listener = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { data: () => undefined },
  });
  const { port } = listener;
  listener.stop(true);
  return Promise.resolve(port);
}

const ok = (stage: Stage, line: string) => async (): Promise<void> => {
  const { code, stderr } = await stage.run(line);
  if (code !== 0) throw new Error(`${line}: ${code}\n${stderr}`);
};

async function crash({ cluster }: Stage, server: number): Promise<void> {
  await cluster.ok("server", "stop", String(server), "--crash");
  await cluster.untilState("down", server);
}

/** What has to be there before an example is run; by command, and where that differs by example. */
const BEFORE: Readonly<Record<string, (stage: Stage, line: string) => Promise<void>>> = {
  "server stop": async (stage, line) => {
    if (line.endsWith("--crash")) await ok(stage, "dfs up --detach")();
  },
  "server undrain": (stage) => ok(stage, "dfs server drain 3")(),
  "server remove": async (stage, line) => {
    if (line.startsWith("dfs rebuild")) await crash(stage, 2);
  },
  rebuild: async (stage, line) => {
    if (line.startsWith("dfs data")) {
      await ok(stage, "dfs server stop 2")();
      rmSync(stage.cluster.path("cluster/data-2"), { recursive: true });
    }
    if (line === "dfs rebuild 3 --replace --dry-run") await crash(stage, 3);
  },
  corrupt: async (stage, line) => {
    if (line.includes("--all")) await ok(stage, FILE_ANEW)();
  },
  touch: async (stage, line) => {
    if (line.includes("/log/a")) await ok(stage, "dfs rm /log && dfs mkdir /log")();
  },
  down: async (stage, line) => {
    if (line.includes("course")) await ok(stage, "dfs up --detach --dir course --data-servers 3")();
  },
  up: async (stage) => {
    await stage.end();
    await stage.run("dfs down");
  },
  "meta restore": async (stage, line) => {
    if (line.includes("--list")) await ok(stage, "dfs meta backup")();
    if (line.startsWith("dfs meta --dir"))
      await stage.cluster.kill(stage.cluster.describe().metaPid);
  },
  data: (stage) => stage.end(),
  "log dump": async (stage, line) => {
    if (!line.includes("/srv/dfs")) await ok(stage, "dfs server stop 1")();
    else {
      mkdirSync(stage.cluster.path("srv"));
      await ok(stage, "mv cluster/data-1 srv/data-1")();
    }
  },
  mount: async (stage) => {
    await stage.run("dfs umount mnt");
  },
  umount: async (stage) => {
    await ok(stage, "dfs mount mnt")();
  },
};

/** Files and trees that examples speak of. */
async function furnish({ cluster }: Stage): Promise<void> {
  for (const directory of ["project/build", "mnt"])
    mkdirSync(cluster.path(directory), { recursive: true });
  writeFileSync(cluster.path("project/a.o"), "object");
  writeFileSync(cluster.path("project/text"), "text");
  writeFileSync(cluster.path("report.pdf"), "report");
  writeFileSync(cluster.path("icon.png"), "icon");
  writeFileSync(cluster.path("disk.img"), Buffer.alloc(2 * 1024 * 1024 + 5, 7));
}

/** A file all of whose copies are there. */
const FILE_ANEW = `dfs rm -f /file && dfs put disk.img /file
dfs xattr set user.origin here /file && dfs xattr set user.icon there /file`;

/** The same in the cluster, once for all commands that leave the servers alone. */
const FILES = `
dfs mkdir -p /home/alice /backup /data /tree/empty /archive /scratch/deep /project /directory /tmp
dfs put -r project /tree && dfs put -r project /backup
dfs put disk.img /
for name in notes.txt secret report data/a tree/old.log log draft.txt a b old.txt report.pdf; do
  dfs put report.pdf /$name
done
tar c project | dfs put - /project.tar
${FILE_ANEW}`;

/** What such a command takes away from the others. */
const AFTER: Readonly<Record<string, string>> = {
  corrupt: FILE_ANEW,
  "xattr rm": "dfs xattr set user.origin here /file",
  touch: "dfs rm -r /log && dfs put report.pdf /log",
};

const MOUNTS = new Set(["mount", "umount"]);

let shared: Stage;
beforeAll(async () => {
  shared = new Stage(await LocalCluster.up("--data-servers", "4"));
  await furnish(shared);
  await ok(shared, FILES)();
});
afterAll(() => shared.cluster.stop());

test("every command has examples", () => {
  expect(EXAMPLES.size).toBeGreaterThan(45);
  for (const [name, lines] of EXAMPLES)
    expect({ name, lines: lines.length > 0 }).toEqual({ name, lines: true });
});

for (const [name, lines] of EXAMPLES) {
  const isPossible = !MOUNTS.has(name) || cannotMount === undefined;
  test.if(isPossible)(`dfs ${name}`, async () => {
    if (OF_CLUSTERS.has(name)) return withOwnCluster(name, lines);
    for (const line of lines) await play(shared, name, line);
    const after = AFTER[name];
    if (after !== undefined) await ok(shared, after)();
  });
}

async function withOwnCluster(name: string, lines: readonly string[]): Promise<void> {
  const servers = /^(server|rebuild)/.test(name) ? "6" : "3";
  const stage = new Stage(await LocalCluster.up("--data-servers", servers));
  try {
    await furnish(stage);
    await ok(stage, "dfs put disk.img /file")();
    for (const line of lines) await play(stage, name, line);
  } finally {
    await stage.end();
    await stage.run("dfs umount mnt; dfs down --dir course");
    await stage.cluster.stop();
  }
}

async function play(stage: Stage, name: string, line: string): Promise<void> {
  await BEFORE[name]?.(stage, line);
  const here = await stage.local(line);
  if (SERVES.test(line) && !line.includes("--detach")) return stage.serve(here);
  const { code, stderr } = await stage.run(here);
  expect({ line, code, stderr }).toMatchObject({ line, code: CODES[line] ?? 0 });
  expect(stderr).not.toContain("this is a mistake in dfs");
}
