// Files that get another's name, as editors and package managers do it: who has the old one open keeps it.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import * as fs from "node:fs";
import { until } from "../support/local-cluster.ts";
import { cannotMount, Mounted } from "./support/mounted.ts";

setDefaultTimeout(120_000);

let mounted: Mounted;

describe.skipIf(cannotMount !== undefined)("on a mount", () => {
  beforeAll(async () => {
    mounted = await Mounted.up({ flags: ["--data-servers", "3", "--block-size", "64K"] });
  });
  afterAll(() => mounted.stop());

  const at = (name: string): string => `${mounted.path}/${name}`;

  /** Files that there are, also those without a name. */
  async function inodes(): Promise<number> {
    return (
      Number(await mounted.ok("stat -f -c %c .")) - Number(await mounted.ok("stat -f -c %d ."))
    );
  }

  test("a file that a rename has replaced is read and written until its last close, and then goes", async () => {
    fs.writeFileSync(at("file"), "the old text");
    const before = await inodes();
    const [one, two] = [fs.openSync(at("file"), "r+"), fs.openSync(at("file"), "a+")];
    const old = fs.fstatSync(one);
    fs.writeFileSync(at("file.new"), "the new text");
    fs.renameSync(at("file.new"), at("file"));
    expect(fs.fstatSync(one)).toMatchObject({ ino: old.ino, nlink: 0, size: 12 });
    expect(fs.statSync(at("file")).ino).not.toBe(old.ino);
    fs.writeSync(one, "THE", 0);
    fs.writeSync(two, ", longer");
    fs.fsyncSync(one);
    fs.closeSync(two);
    const back = Buffer.alloc(100);
    expect(back.toString("utf8", 0, fs.readSync(one, back, 0, 100, 0))).toBe(
      "THE old text, longer",
    );
    fs.ftruncateSync(one, 3);
    expect(fs.fstatSync(one)).toMatchObject({ nlink: 0, size: 3 });
    // A second process has it too, through a descriptor of this one.
    expect(await mounted.ok(`cat /proc/${process.pid}/fd/${one}`)).toBe("THE");
    expect(fs.readFileSync(at("file"), "utf8")).toBe("the new text");
    fs.closeSync(one);
    await until(async () => (await inodes()) === before, "the replaced file to be gone");
  });

  test("a mapping of a replaced file keeps the old bytes", async () => {
    const script = `
import mmap, os, sys
with open("mapped", "wb") as f: f.write(b"old" * 50000)
f = open("mapped", "r+b")
m = mmap.mmap(f.fileno(), 0)
with open("mapped.new", "wb") as n: n.write(b"new" * 50000)
os.rename("mapped.new", "mapped")
assert m[:] == b"old" * 50000
m[0:3] = b"OLD"
m.flush()
assert os.pread(f.fileno(), 6, 0) == b"OLDold"
assert os.fstat(f.fileno()).st_nlink == 0
m.close(); f.close()
assert open("mapped", "rb").read() == b"new" * 50000`;
    if (Bun.which("python3") === null) return console.log("skipped, as python3 is missing");
    await mounted.ok(`python3 -c '${script}'`);
  });

  test("a file that is replaced again and again, as editors save, is one whole version to each reader", async () => {
    const editor = mounted.program(
      [
        "sh",
        "-euc",
        `seq 300 | sed 's/.*/0/' > first; mv first saved
         for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
           sed -i "s/.*/$n/" saved
           sed "s/.*/$n-again/" saved > .saved.swp; ln -f saved saved~; sync .saved.swp; mv .saved.swp saved
         done
         touch finished`,
      ],
      mounted.path,
    );
    const isWhole =
      "awk 'NR == 1 { first = $0 } $0 != first { bad = 1 } END { exit bad || NR != 300 }' saved";
    const reads = await mounted.ok(
      `while [ ! -s saved ]; do :; done; n=0
       while [ ! -e finished ]; do ${isWhole}; n=$((n + 1)); done; ${isWhole}; echo $n`,
    );
    expect(await editor.exited).toBe(0);
    expect(Number(reads)).toBeGreaterThan(0);
    expect(await mounted.ok("head -1 saved saved~")).toBe(
      "==> saved <==\n20-again\n\n==> saved~ <==\n20\n",
    );
  });
});
