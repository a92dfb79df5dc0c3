// Every command in situations that a user gets into: wrong arguments, missing things, no cluster, a full disk, output that
// nobody reads or that has no room, a narrow terminal. What it prints is kept in tests/golden/situations, to be read; a wanted
// change is taken over with UPDATE_GOLDEN=1.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { canRun, whyNotAsRoot } from "../support/conditions.ts";
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { seededRandom } from "../../src/base/random.ts";
import { LocalCluster } from "../support/local-cluster.ts";
import { golden, Transcript } from "./support/transcript.ts";

setDefaultTimeout(240_000);

/** Names in a directory that is listed: more than a pipe takes at once. */
const MANY = 1600;

/** Arguments with which each command does something; those that would change the cluster of the test are told apart. */
const COMMANDS: readonly (readonly [name: string, args: string])[] = [
  ["put", "file /put"],
  ["get", "/file got"],
  ["cat", "/file"],
  ["ls", "/"],
  ["stat", "/file"],
  ["mkdir", "/new"],
  ["rm", "/gone"],
  ["mv", "/a /b"],
  ["touch", "/touched"],
  ["truncate", "-s 0 /empty"],
  ["chmod", "644 /file"],
  ["chown", "0:0 /file"],
  ["ln", "/file /linked"],
  ["cp", "/file /copied"],
  ["df", ""],
  ["du", "/"],
  ["tree", "/"],
  ["find", "/"],
  ["xattr list", "/file"],
  ["xattr get", "user.a /file"],
  ["xattr set", "user.b 1 /file"],
  ["xattr rm", "user.b /file"],
  ["explain", "/file"],
  ["status", ""],
  ["server list", ""],
  ["server stop", "9"],
  ["server drain", "9"],
  ["server undrain", "9"],
  ["server remove", "9"],
  ["rebuild", "9"],
  ["corrupt", "/file"],
  ["scrub", "status"],
  ["fsck", ""],
  ["meta backup", ""],
  ["meta quarantine", ""],
];

/** Those that have no cluster to ask, or start one. */
const OTHERS: readonly (readonly [name: string, args: string])[] = [
  ["up", "--dir nowhere/up"],
  ["down", "--dir nowhere"],
  ["mount", "mnt"],
  ["umount", "mnt"],
  ["drill", "--faults nonsense"],
  ["log dump", "nowhere"],
  ["key new", "nowhere/key"],
  ["meta restore", "--list --from 127.0.0.1:1"],
  ["meta", "--dir file"],
  ["data", "--dir file --meta 127.0.0.1:1"],
  ["completion", "bash"],
  ["version", ""],
  ["help", "nonsense"],
];

/** What prints only when it is told to, or changes something as well; # makes names that are new each time. */
const TELLING: readonly string[] = [
  "put --json file /put-#",
  "put --dry-run file /dry-#",
  "get --json /file got-#",
  "get --dry-run /file dry-#",
  "cp -v /file /cp-#",
  "cp --json /file /cp-json-#",
  "chmod -v 644 /file",
  "chown --json 0:0 /file",
  "ln -v /file /ln-#",
  "touch --json /touched-#",
  "truncate --json -s 3 /touched-#",
  "xattr list --json /file",
  "explain --json /file",
  "status --json",
  "server drain 3 --dry-run",
  "rebuild 3 --dry-run",
  "meta quarantine --json",
  "meta backup --json",
  "key new key-#",
  "drill --faults rot-1 --size 64K",
  "up --detach",
  "ls --help",
  "help",
  "help output",
  "help --man",
];

const line = (name: string, args: string): string => `dfs ${name} ${args}`.trim();

async function furnished(...flags: string[]): Promise<LocalCluster> {
  const cluster = await LocalCluster.up("--data-servers", "3", ...flags);
  writeFileSync(cluster.path("file"), seededRandom(3).bytes(100_000));
  mkdirSync(cluster.path("mnt"));
  await cluster.ok("put", "file", "/file");
  await cluster.ok("mkdir", "/directory");
  await cluster.ok("xattr", "set", "user.a", "value", "/file");
  return cluster;
}

describe("with a cluster", () => {
  let cluster: LocalCluster;
  beforeAll(async () => {
    cluster = await furnished();
  });
  afterAll(() => cluster.stop());

  test("wrong arguments", async () => {
    const transcript = new Transcript(cluster);
    const lines = [...COMMANDS, ...OTHERS].flatMap(([name]) => [
      `dfs ${name} --nonsense`,
      ...(/^(status|df|du|find|tree|ls|fsck|server list|scrub|drill|up|down|version|help|key new|meta.*)$/.test(
        name,
      )
        ? []
        : [`dfs ${name}`]),
    ]);
    await transcript.runAll([
      ...lines,
      "dfs put file",
      "dfs put '' /x",
      "dfs get /file ''",
      "dfs put --jobs none file /",
      "dfs put --exclude '' -r . /",
      "dfs put --progress loud file /",
      "dfs ls ''",
      "dfs cat --offset x /file",
      "dfs truncate -s x /file",
      "dfs chmod 999 /file",
      "dfs chown : /file",
      "dfs touch -d yesterdayish /file",
      "dfs find / -size x",
      "dfs fsck --level deep",
      "dfs server drain one",
      "dfs scrub 1 dance",
      "dfs status surplus",
      "dfs df surplus surplus",
      "dfs completion tcsh",
      "dfs --timeout 0 ls /",
      "DFS_JOBS=many dfs put file /",
      "DFS_QUIET=perhaps dfs ls /",
    ]);
    expect(transcript.text).toBe(golden("wrong-arguments", transcript.text));
  });

  test("missing things", async () => {
    const transcript = new Transcript(cluster);
    await transcript.runAll([
      "dfs put missing /x",
      "dfs put file /no/such/place",
      "dfs put -r missing file /directory",
      "dfs get /missing .",
      "dfs get /file no/such/place",
      "dfs get /missing /file .",
      "dfs cat /missing",
      "dfs ls /missing",
      "dfs stat /missing /file/below",
      "dfs mkdir /no/such/place",
      "dfs rm /missing",
      "dfs rm /directory",
      "dfs mv /missing /x",
      "dfs mv /file /no/such/place",
      "dfs touch /no/such/place",
      "dfs truncate -s 0 /no/such/place",
      "dfs chmod 644 /missing",
      "dfs chown 0 /missing",
      "dfs ln /missing /x",
      "dfs cp /missing /x",
      "dfs cp /directory /x",
      "dfs du /missing",
      "dfs tree /missing",
      "dfs find /missing",
      "dfs xattr list /missing",
      "dfs xattr get user.none /file",
      "dfs xattr set user.a 1 /missing",
      "dfs xattr rm user.none /file",
      "dfs explain /missing",
      "dfs fsck /missing",
      "dfs corrupt /missing",
      "dfs corrupt /file --block 9",
      "dfs server stop 9",
      "dfs server drain 9",
      "dfs server undrain 9",
      "dfs server remove 9",
      "dfs rebuild 9",
      "dfs scrub 9 status",
      "dfs umount mnt",
      "dfs umount missing",
      "dfs mount missing",
      "dfs mount file",
      "dfs down --dir missing",
      "dfs log dump missing",
      "dfs key new nowhere/key",
      "dfs drill --faults nonsense",
      "dfs meta restore --dir file --from 127.0.0.1:1",
      "dfs help nonsense",
      "dfs lss",
      "dfs ls --key-file missing /",
    ]);
    expect(transcript.text).toBe(golden("missing-things", transcript.text));
  });

  test("no cluster at the address", async () => {
    const transcript = new Transcript(cluster);
    await transcript.runAll(
      [...COMMANDS, ["mount", "mnt"] as const].map(([name, args]) => line(name, args)),
      { DFS_META: "127.0.0.1:1" },
    );
    expect(transcript.text).toBe(golden("unreachable", transcript.text));
  });

  test("output that nobody reads, or that has no room", async () => {
    const transcript = new Transcript(cluster);
    mkdirSync(cluster.path("many"));
    for (let file = 0; file < MANY; file++) {
      writeFileSync(cluster.path("many", `${"a long name ".repeat(4)}${file}`), "");
    }
    await cluster.ok("put", "-r", "many", "/many");
    for (const args of ["ls /many", "ls --json /many", "find /many", "tree /many", "du -a /many"]) {
      await transcript.run(`dfs ${args} | head -c 5 | wc -c; echo "dfs: \${PIPESTATUS[0]}"`);
    }
    await cluster.ok("rm", "-r", "/many");
    const printing = [...COMMANDS, ...OTHERS].filter(([name]) =>
      /^(cat|ls|stat|df|du|tree|find|xattr list|xattr get|explain|status|server list|scrub|fsck|meta backup|completion|version)$/.test(
        name,
      ),
    );
    // Nobody reads: quietly. The status is that of dfs, not of what reads.
    await transcript.runAll(
      printing.map(([name, args]) => `${line(name, args)} | true; echo "dfs: \${PIPESTATUS[0]}"`),
    );
    await transcript.run('dfs cat /file | head -c 5 | wc -c; echo "dfs: ${PIPESTATUS[0]}"');
    await transcript.run('dfs get /file - | head -c 5 | wc -c; echo "dfs: ${PIPESTATUS[0]}"');
    await transcript.run('dfs --help | head -1; echo "dfs: ${PIPESTATUS[0]}"');
    // No room is an error: who asked for output wants all of it.
    await transcript.runAll(printing.map(([name, args]) => `${line(name, args)} > /dev/full`));
    await transcript.run("dfs get /file - > /dev/full");
    const telling = (mark: string, rest: string): string[] =>
      TELLING.map((each) => `dfs ${each.replaceAll("#", mark)} ${rest}`);
    await transcript.runAll(telling("1", '| true; echo "dfs: ${PIPESTATUS[0]}"'));
    await transcript.runAll(telling("2", "> /dev/full"));
    // What was to be done is done all the same.
    await transcript.run("dfs find / -name '*-[12]' -print -delete; ls *-[12]");
    await transcript.run("dfs get /file /dev/full");
    await transcript.run("dfs ls / >&-");
    await transcript.run("dfs ls /missing 2>&-");
    expect(transcript.text).toBe(golden("output", transcript.text));
  });

  test("a terminal of 40 columns, with and without NO_COLOR", async () => {
    const transcript = new Transcript(cluster);
    // Whoever runs this, and whether it runs alone: names of owners have their own widths.
    await cluster.ok("put", "file", "/directory");
    await cluster.ok("chown", "-R", "0:0", "/");
    const shown = [
      "ls -l /",
      "stat /file",
      "du -h /",
      "tree /",
      "xattr list /file",
      "mkdir /file",
      "fsck",
      "find /",
      "explain /file",
      "server drain 3 --dry-run",
    ];
    const narrow = (command: string): string => `script -qec 'stty cols 40; ${command}' /dev/null`;
    for (const args of shown) {
      await transcript.run(narrow(`dfs ${args}`));
      await transcript.run(narrow(`NO_COLOR=1 dfs ${args}`));
    }
    await transcript.run(narrow("dfs ls --help"));
    await transcript.run(narrow("dfs help exit-codes"));
    await transcript.run(narrow("TERM=dumb dfs tree /"));
    expect(transcript.text).toBe(golden("narrow-terminal", transcript.text));
  });
});

describe.if(canRun("commands with a full disk", whyNotAsRoot()))("with a disk that is full", () => {
  const cluster = new LocalCluster();
  beforeAll(async () => {
    mkdirSync(cluster.dir);
    // Of each disk 256 MiB are kept for what makes room: deletes and compaction.
    mount(cluster.dir, "300m");
    mkdirSync(cluster.path("local"));
    mount(cluster.path("local"), "64k");
    await cluster.ok("up", "--detach", "--data-servers", "3");
    writeFileSync(cluster.path("file"), seededRandom(3).bytes(100_000));
    writeFileSync(cluster.path("big"), seededRandom(4).bytes(40 * 1024 * 1024));
    await cluster.ok("put", "file", "/file");
    await cluster.ok("meta", "backup");
  });
  afterAll(async () => {
    try {
      await cluster.run(["down"]);
    } finally {
      for (const path of [cluster.dir, cluster.path("local")]) spawnSync("umount", ["-l", path]);
      await cluster.stop();
    }
  });

  test("every command that may need room", async () => {
    const transcript = new Transcript(cluster);
    for (const each of [
      "dfs put big /big",
      "dfs put -j 1 big file /",
      "mkdir -p tree && cp big tree/ && dfs put -r tree /tree",
      "dfs put - /big < big",
      "dfs ls /",
      "dfs cp /file /copy",
      "dfs cat /copy | cmp - file",
      "dfs mkdir /directory",
      "dfs touch /directory/empty",
      "dfs ln /file /linked",
      "dfs mv /linked /directory/moved",
      "dfs chmod 600 /file",
      "dfs xattr set user.a value /file",
      "dfs truncate -s 1 /copy",
      "dfs rm /copy",
      "dfs get /file local/",
      "dfs get -r -j 1 / local/",
      "ls -A local",
      "cat /dev/zero > local/filler 2>/dev/null; dfs get /file - > local/content; rm local/content",
      "dfs key new local/key",
      "dfs up --detach --dir local/cluster; rm -r local/cluster",
      "TMPDIR=local dfs drill --faults rot-1",
      "dfs meta restore --dir local/meta --from $(dfs server list --json | grep -o '127[.]0[^\"]*' | paste -sd,)",
      "ls -A local",
      "dfs fsck",
      // Something else fills the disk of all servers, to its last block.
      "cat /dev/zero > cluster/filler 2>/dev/null; df --output=avail cluster | tail -1",
      // The database uses up first what room its log has.
      "dfs mkdir $(seq -f /m-%g 3000) 2>/dev/null",
      "dfs mkdir /m",
      "dfs put file /f",
      "dfs touch /directory/empty",
      "dfs xattr set user.a other /file",
      "dfs ln /file /again",
      "dfs ls /directory",
      "dfs cat /file | cmp - file",
      "dfs get /file got && cmp got file",
      "dfs rm /directory/moved",
      "dfs fsck --dry-run",
      "dfs status | grep -o 'The cluster is.*\\|the disk that.*free'; echo ${PIPESTATUS[0]}",
      "dfs status --json | grep -o 'metadataDisk.:{.full.:[a-z]*'",
      "rm cluster/filler; dfs mkdir /m",
    ]) {
      await transcript.run(each);
    }
    expect(transcript.text).toBe(golden("full-disk", transcript.text));
  });
});

function mount(path: string, size: string): void {
  const made = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", path]);
  if (made.status !== 0)
    throw new Error(`cannot mount a tmpfs on ${path}: ${made.stderr.toString()}`);
}
