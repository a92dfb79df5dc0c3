// Two mounts of one cluster, each served by a process of its own, with the caches that mounts have by default.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { seededRandom } from "../../src/base/random.ts";
import { until } from "../support/local-cluster.ts";
import { cannotMount, Mounted } from "./support/mounted.ts";
import * as posix from "./support/system-calls.ts";

const ROUNDS = 40;
const LONGEST = 200_000;

let mounted: Mounted;
let count = 0;
/** The same new directory through the one mount and through the other. */
let here: string;
let there: string;
const opened: number[] = [];

describe.skipIf(cannotMount !== undefined)("two mounts", () => {
  beforeAll(async () => {
    mounted = await Mounted.up({ mounts: 2, flags: ["--block-size", "64K"] });
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

  test("what one closes the next open on the other reads, whatever it has read before", () => {
    const seed = Number(
      process.env["DFS_TEST_SEED"] ?? crypto.getRandomValues(new Uint32Array(1))[0],
    );
    console.log(`DFS_TEST_SEED=${seed}`);
    const random = seededRandom(seed);
    for (let round = 0; round < ROUNDS; round++) {
      const [writer, reader] = round % 2 === 0 ? [here, there] : [there, here];
      const bytes = random.bytes(random.below(LONGEST));
      fs.writeFileSync(`${writer}/file`, bytes);
      const read = fs.readFileSync(`${reader}/file`);
      expect(read.length).toBe(bytes.length);
      expect(Buffer.compare(read, bytes)).toBe(0);
    }
  });

  test("a part that is written over is read by the next open on the other", () => {
    fs.writeFileSync(`${here}/file`, Buffer.alloc(300_000, "a"));
    for (let round = 0; round < ROUNDS; round++) {
      expect(fs.readFileSync(`${there}/file`).length).toBe(300_000);
      const fd = fs.openSync(`${here}/file`, "r+");
      fs.writeSync(fd, `round ${round}`, round * 7000);
      fs.closeSync(fd);
      const read = fs.readFileSync(`${there}/file`);
      expect(read.toString("latin1", round * 7000, round * 7000 + 8)).toBe(
        `round ${round}`.padEnd(8, "a"),
      );
    }
  });

  test("appends from both sides, each opened anew, add up", () => {
    const lines: string[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const line = `line ${round}\n`;
      fs.appendFileSync(`${round % 2 === 0 ? here : there}/log`, line);
      lines.push(line);
    }
    expect(fs.readFileSync(`${here}/log`, "utf8")).toBe(lines.join(""));
    expect(fs.readFileSync(`${there}/log`, "utf8")).toBe(lines.join(""));
  });

  test("a new file is seen, also by who has just missed it", async () => {
    expect(fs.existsSync(`${there}/new`)).toBe(false);
    fs.writeFileSync(`${here}/new`, "new");
    await until(() => fs.existsSync(`${there}/new`), "the new file to be seen");
    expect(fs.readFileSync(`${there}/new`, "utf8")).toBe("new");
    expect(fs.readdirSync(there)).toEqual(["new"]);
  });

  test("a removed file is gone", async () => {
    fs.writeFileSync(`${here}/file`, "x");
    expect(fs.statSync(`${there}/file`).size).toBe(1);
    fs.unlinkSync(`${here}/file`);
    await until(() => !fs.existsSync(`${there}/file`), "the file to be gone");
    expect(fs.readdirSync(there)).toEqual([]);
  });

  test("a rename is seen under both names", async () => {
    fs.writeFileSync(`${here}/old`, "moved");
    fs.writeFileSync(`${here}/target`, "replaced");
    expect(fs.readFileSync(`${there}/target`, "utf8")).toBe("replaced");
    fs.renameSync(`${here}/old`, `${here}/target`);
    await until(() => !fs.existsSync(`${there}/old`), "the old name to be gone");
    await until(
      () => fs.readFileSync(`${there}/target`, "utf8") === "moved",
      "the new file to be seen under the name",
    );
    expect(fs.readdirSync(there)).toEqual(["target"]);
  });

  test("a truncation is seen, by stat and by who has the file open", async () => {
    fs.writeFileSync(`${here}/file`, "0123456789");
    const fd = open(`${there}/file`);
    expect(fs.fstatSync(fd).size).toBe(10);
    fs.truncateSync(`${here}/file`, 4);
    await until(() => fs.statSync(`${there}/file`).size === 4, "the new size to be seen");
    await until(() => {
      const buffer = Buffer.alloc(20);
      return buffer.toString("latin1", 0, fs.readSync(fd, buffer, 0, 20, 0)) === "0123";
    }, "the open file to end earlier");
  });

  test("mode, owner, times and attributes are seen", async () => {
    fs.writeFileSync(`${here}/file`, "x", { mode: 0o600 });
    expect(fs.statSync(`${there}/file`).mode & 0o777).toBe(0o600);
    fs.chmodSync(`${here}/file`, 0o641);
    fs.chownSync(`${here}/file`, 12, 34);
    posix.setTimes(`${here}/file`, 5n, 1_000_000_007n, true);
    posix.xattrSet(`${here}/file`, "user.note", Buffer.from("seen"), 0);
    await until(() => {
      const { mode, uid, gid, mtimeNs } = fs.statSync(`${there}/file`, { bigint: true });
      return (mode & 0o777n) === 0o641n && uid === 12n && gid === 34n && mtimeNs === 1_000_000_007n;
    }, "the attributes to be seen");
    expect(posix.xattrGet(`${there}/file`, "user.note")).toEqual(
      Uint8Array.from(Buffer.from("seen")),
    );
  });

  test("a file that is removed on one stays readable where the other has it open", () => {
    fs.writeFileSync(`${here}/file`, "still there");
    const fd = open(`${there}/file`, "r");
    fs.unlinkSync(`${here}/file`);
    const buffer = Buffer.alloc(20);
    expect(buffer.toString("latin1", 0, fs.readSync(fd, buffer, 0, 20, 0))).toBe("still there");
  });

  test("of two exclusive creations one is refused", () => {
    fs.closeSync(fs.openSync(`${here}/file`, "wx"));
    expect(() => fs.openSync(`${there}/file`, "wx")).toThrow("EEXIST");
  });

  test("tail -f on one follows what is appended on the other", async () => {
    fs.writeFileSync(`${here}/log`, "begin\n");
    const tail = mounted.program(["tail", "-n", "+1", "-f", "-s", "0.1", `${there}/log`]);
    let seen = "";
    const reading = (async () => {
      for await (const chunk of tail.stdout) seen += new TextDecoder().decode(chunk);
    })();
    let expected = "begin\n";
    await until(() => seen === expected, "tail to show the beginning");
    const writer = fs.openSync(`${here}/log`, "a");
    for (let line = 0; line < 5; line++) {
      fs.writeSync(writer, `line ${line}\n`);
      fs.fsyncSync(writer);
      expected += `line ${line}\n`;
      await until(() => seen === expected, `tail to show line ${line}`);
    }
    fs.closeSync(writer);
    tail.kill();
    await reading;
  });

  test("a mount that goes by what it knows for an hour is told of every change at once", async () => {
    const patient = await mounted.mount("actimeo=3600,cache=always");
    const far = `${patient.path}/case-${count}`;
    for (const name of ["removed", "renamed", "mode", "longer", "shorter", "content"]) {
      fs.writeFileSync(`${here}/${name}`, `the file ${name}`);
      expect(fs.readFileSync(`${far}/${name}`, "utf8")).toBe(`the file ${name}`);
    }
    fs.mkdirSync(`${here}/directory`);
    expect(fs.readdirSync(`${far}/directory`)).toEqual([]);
    expect(fs.existsSync(`${far}/new`)).toBe(false);

    fs.writeFileSync(`${here}/new`, "");
    await until(() => fs.existsSync(`${far}/new`), "the new name");
    fs.unlinkSync(`${here}/removed`);
    await until(() => !fs.existsSync(`${far}/removed`), "the removed name to go");
    fs.renameSync(`${here}/renamed`, `${here}/moved`);
    await until(
      () => fs.existsSync(`${far}/moved`) && !fs.existsSync(`${far}/renamed`),
      "the renamed file",
    );
    fs.chmodSync(`${here}/mode`, 0o604);
    await until(() => (fs.statSync(`${far}/mode`).mode & 0o777) === 0o604, "the mode");
    fs.appendFileSync(`${here}/longer`, ", and more");
    await until(() => fs.readFileSync(`${far}/longer`, "utf8").endsWith("more"), "the longer file");
    fs.truncateSync(`${here}/shorter`, 3);
    await until(() => fs.readFileSync(`${far}/shorter`, "utf8") === "the", "the shorter file");
    fs.writeFileSync(`${here}/content`, "THE FILE content");
    await until(() => fs.readFileSync(`${far}/content`, "utf8").startsWith("THE"), "the content");
    fs.writeFileSync(`${here}/directory/file`, "");
    await until(() => fs.readdirSync(`${far}/directory`).length === 1, "the directory's new file");
  });
});
