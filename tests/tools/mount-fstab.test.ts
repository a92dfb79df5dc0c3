// What docs/mounting.md says about mount(8), fstab and systemd, done as it says, with the programs of the system.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { cannotMount, Mounted } from "../mount/support/mounted.ts";
import { runMark, until } from "../support/local-cluster.ts";
import { markedProcesses, RUN_MARK } from "../support/leftovers.ts";
import { temporaryFolder } from "./support/files.ts";

setDefaultTimeout(240_000); // each mount starts a process, on a busy machine

const PROJECT = join(import.meta.dir, "../..");
const PAGE = fs.readFileSync(join(PROJECT, "docs/mounting.md"), "utf8");

/** The lines of the first example of the page in which this is. */
function example(containing: string): string {
  const found = PAGE.split("```").find(
    (part, index) => index % 2 === 1 && part.includes(containing),
  );
  if (found === undefined) throw new Error(`docs/mounting.md has no example with ${containing}`);
  return found.replace(/^.*\n/, "");
}

/** Why the real mount(8) cannot be tried here. */
function whyNoMountProgram(): string | undefined {
  if (cannotMount !== undefined) return cannotMount;
  const missing = ["mount", "umount", "findmnt", "unshare"].filter(
    (name) => Bun.which(name) === null,
  );
  if (missing.length > 0) return `${missing.join(", ")} is missing`;
  const namespace = ["unshare", "--mount", "--propagation", "private", "true"];
  return Bun.spawnSync(namespace).success ? undefined : "no mount namespace can be made";
}

const missing = whyNoMountProgram();
if (missing !== undefined) console.log(`tests of mount(8) are skipped: ${missing}`);

/**
 * What stands before a script that runs in a mount namespace of its own: there /sbin has the links that the page makes, and
 * what is mounted is seen by nobody else. It ends with no mount left.
 */
const NAMESPACE =
  String.raw`
  mkdir -p "$ROOT/sbin-links" "$ROOT/sbin-before"
  sbin=$(readlink -f /sbin)
  mount --bind "$sbin" "$ROOT/sbin-before"
  for each in "$sbin"/*; do ln -s "$ROOT/sbin-before/` +
  "${each##*/}" +
  String.raw`" "$ROOT/sbin-links/"; done
  mount --bind "$ROOT/sbin-links" "$sbin"
  trap 'for at in $(findmnt -rn -t fuse.dfs -o TARGET | grep "^$ROOT/mnt"); do umount -l "$at"; done' EXIT
`;

describe.skipIf(missing !== undefined)("mount(8)", () => {
  let mounted: Mounted;
  beforeAll(async () => {
    mounted = await Mounted.up({ mounts: 0, flags: ["--data-servers", "3"] });
    for (const name of ["dfs", "ro", "lazy"]) {
      fs.mkdirSync(mounted.cluster.path(`mnt/${name}`), { recursive: true });
    }
    fs.writeFileSync(mounted.cluster.path("fstab"), inPlace(example("_netdev")));
  });
  afterAll(() => mounted.stop());

  /** The page's addresses and paths, as they are in this test. */
  function inPlace(text: string): string {
    return text
      .replaceAll("10.0.0.1:7000", mounted.cluster.describe().meta)
      .replaceAll("/mnt/", `${mounted.cluster.root}/mnt/`)
      .replaceAll("/opt/dfs", PROJECT)
      .replaceAll(",key_file=/etc/dfs.key", ""); // this cluster has none
  }

  /** Runs a script in the namespace; it must succeed. Returns what it printed. */
  async function run(script: string): Promise<string> {
    const links = inPlace(example("ln -s"));
    fs.rmSync(mounted.cluster.path("sbin-links"), { recursive: true, force: true });
    const child = mounted.program(
      ["unshare", "--mount", "--propagation", "private", "sh", "-euc", NAMESPACE + links + script],
      mounted.cluster.root,
      { ROOT: mounted.cluster.root, META: mounted.cluster.describe().meta },
    );
    const [stdout, stderr, code] = await Promise.all([
      child.stdout.text(),
      child.stderr.text(),
      child.exited,
    ]);
    if (code !== 0) throw new Error(`${script}\nexited with ${code}:\n${stdout}${stderr}`);
    return stdout;
  }

  const SHOW = "findmnt -rn -t fuse.dfs -o SOURCE,FSTYPE,TARGET";
  const line = (name: string): string =>
    `${mounted.cluster.describe().meta} fuse.dfs ${mounted.cluster.path("mnt", name)}\n`;

  test("mounts what fstab says, and umount takes it away with its process", async () => {
    const text = await run(
      `mount -T fstab -a; ${SHOW} | grep "$ROOT"
       echo written > mnt/dfs/file; cat mnt/ro/file
       if touch mnt/ro/no 2> /dev/null; then echo "ro can be written"; fi
       umount mnt/dfs; umount "$ROOT/mnt/ro"; ${SHOW} | grep "$ROOT" || echo none left
       mount -T fstab "$ROOT/mnt/lazy"; ${SHOW} | grep "$ROOT"; cat mnt/lazy/file; umount mnt/lazy`,
    );
    expect(text).toBe(`${line("dfs")}${line("ro")}written\nnone left\n${line("lazy")}written\n`);
    const mark = process.env[RUN_MARK];
    if (mark === undefined) return; // not run by bin/test
    const serving = (): boolean =>
      markedProcesses(mark).some(({ command }) => command.includes(mounted.cluster.path("mnt")));
    await until(() => !serving(), "the serving processes to end");
  });

  test("mounts by both names of the type, with options, and tells what is wrong", async () => {
    const text = await run(
      `for type in dfs fuse.dfs; do
         mount -t $type "$META" mnt/dfs -o noatime,nosuid,soft,timeo=5
         findmnt -rn -o OPTIONS mnt/dfs; umount mnt/dfs
       done
       mount -t dfs "$META" mnt/dfs -o noatme && exit 1
       mount -t dfs 127.0.0.1:1 mnt/dfs && exit 1
       echo refused`,
    );
    const [first, second, last] = text.split("\n");
    expect(first).toContain("rw,nosuid,noatime,user_id=0");
    expect([second, last]).toEqual([first, "refused"]);
  });
});

const noSystemd = Bun.which("systemd-analyze") === null;
if (noSystemd) console.log("skipped, as systemd-analyze is missing: the systemd unit");
test.skipIf(noSystemd)("the systemd unit is one that systemd understands", () => {
  const folder = temporaryFolder("unit");
  try {
    const unit = example("ExecStart").replaceAll("/opt/dfs", PROJECT);
    fs.writeFileSync(join(folder.path, "mnt-dfs.service"), unit);
    const command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"];
    const { exitCode, stderr } = Bun.spawnSync([...command, "./mnt-dfs.service"], {
      cwd: folder.path,
      env: { PATH: process.env["PATH"] ?? "", HOME: folder.path, ...runMark() },
    });
    expect([exitCode, stderr.toString()]).toEqual([0, ""]);
  } finally {
    folder.remove();
  }
});

test.skipIf(cannotMount !== undefined)(
  "what the systemd unit starts needs nothing of a login: not even HOME",
  async () => {
    const mounted = await Mounted.up({ mounts: 0, flags: ["--data-servers", "3"] });
    try {
      const path = mounted.cluster.path("mnt");
      fs.mkdirSync(path);
      const command = (key: string): string[] => {
        const words = new RegExp(`^${key}=-?(.*)$`, "m").exec(example("ExecStart"))?.[1] ?? "";
        return words
          .replace("/opt/dfs", PROJECT)
          .replace("10.0.0.1:7000", mounted.cluster.describe().meta)
          .replace("/mnt/dfs", path)
          .split(" ");
      };
      const env = { PATH: "/usr/bin:/bin", ...runMark() };
      const child = Bun.spawn(command("ExecStart"), {
        cwd: "/",
        env,
        stdio: ["ignore", "pipe", "pipe"],
      });
      await until(
        () => fs.readFileSync("/proc/self/mounts", "utf8").includes(` ${path} fuse.dfs `),
        "the mount",
      );
      await mounted.ok("echo written > file; cat file", path);
      child.kill("SIGTERM");
      expect([await child.exited, await child.stderr.text()]).toEqual([
        143,
        expect.stringContaining("unmounted"),
      ]);
      const after = Bun.spawnSync(command("ExecStopPost"), { cwd: "/", env });
      expect(after.exitCode).toBe(4); // there is nothing left to take away, which the unit passes over
      expect((await mounted.cluster.ok("cat", "/file")).text).toBe("written\n");
    } finally {
      await mounted.stop();
    }
  },
);
