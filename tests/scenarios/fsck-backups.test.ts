// `dfs fsck` and the backups of the metadata: the files of the newest one are damaged or removed on the disks of real data
// servers; fsck tells it, sends the backup again, and what is on the disks afterwards is right.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { patterned } from "../support/cluster.ts";
import { LocalCluster } from "../support/local-cluster.ts";

setDefaultTimeout(180_000); // whole clusters and many commands; a busy machine is slow

interface Finding {
  readonly kind: string;
  readonly outcome: string;
  readonly server: number | null;
  readonly detail: string;
}

describe("fsck and backups of the metadata", () => {
  let cluster: LocalCluster;
  beforeAll(async () => {
    cluster = await LocalCluster.up("--block-size", "64K");
    writeFileSync(cluster.path("content"), patterned(200_000, 1));
    await cluster.ok("put", cluster.path("content"), "/file");
  });
  afterAll(() => cluster.stop());

  /** The files of backups on a data server, newest made last. */
  function files(server: number): string[] {
    const dir = join(cluster.server(server).dir, "backups");
    return existsSync(dir) ? readdirSync(dir).sort() : [];
  }

  function pathOf(server: number, name: string): string {
    return join(cluster.server(server).dir, "backups", name);
  }

  /** Makes a backup and returns its name. */
  async function backUp(): Promise<string> {
    const { text } = await cluster.ok("meta", "backup");
    return /^backup ([0-9a-f]{16}) /.exec(text)![1]!;
  }

  async function fsck(
    ...args: string[]
  ): Promise<{ code: number; found: string[]; all: Finding[] }> {
    const { code, text } = await cluster.run(["fsck", "--json", ...args]);
    const rows = text.trimEnd().split("\n").slice(0, -1);
    const all = rows.map((row) => JSON.parse(row) as Finding);
    const found = all.map(({ outcome, kind, server }) => `${outcome} ${kind} ${server ?? "-"}`);
    return { code, found: found.sort(), all };
  }

  test("no backup yet is no error", async () => {
    expect(files(1)).toEqual([]);
    expect(await fsck()).toMatchObject({ code: 0, found: [] });
  });

  test("one byte of the newest backup is changed on its server's disk: told at level full, and sent again", async () => {
    const name = await backUp();
    const right = readFileSync(pathOf(1, `${name}.db`));
    expect(readFileSync(pathOf(2, `${name}.db`)).equals(right)).toBe(true);
    expect(await fsck()).toMatchObject({ code: 0, found: [] });

    const bad = Buffer.from(right);
    bad[right.length - 100]! ^= 1;
    writeFileSync(pathOf(2, `${name}.db`), bad);
    expect(await fsck("--level", "presence")).toMatchObject({ code: 0, found: [] });
    const dry = await fsck("--dry-run");
    expect(dry).toMatchObject({ code: 4, found: ["left damagedBackup 2"] });
    expect(dry.all[0]!.detail).toContain(name);
    expect(readFileSync(pathOf(2, `${name}.db`)).equals(bad)).toBe(true);

    expect(await fsck()).toMatchObject({ code: 1, found: ["corrected damagedBackup 2"] });
    expect(readFileSync(pathOf(2, `${name}.db`)).equals(right)).toBe(true);
    expect(await fsck()).toMatchObject({ code: 0, found: [] });
  });

  test("the files of the newest backup are gone on one server: told at level presence, and sent again", async () => {
    const name = await backUp();
    const right = readFileSync(pathOf(3, `${name}.db`));
    for (const each of files(3)) rmSync(pathOf(3, each));
    const level = ["--level", "presence"];
    const dry = await fsck(...level, "--dry-run");
    expect(dry).toMatchObject({ code: 4, found: ["left missingBackup -"] });
    expect(dry.all[0]!.detail).toContain("on data servers 1, 2 only; 3 should hold it");
    expect(await fsck(...level)).toMatchObject({ code: 1, found: ["corrected missingBackup -"] });
    const again = [3, 4].filter((server) => files(server).includes(`${name}.json`));
    expect(again).toHaveLength(1);
    expect(readFileSync(pathOf(again[0]!, `${name}.db`)).equals(right)).toBe(true);
    expect(await fsck()).toMatchObject({ code: 0, found: [] });
  });

  test("its manifest is damaged on one server: that server does not hold it, and gets it again", async () => {
    const name = await backUp();
    const manifest = pathOf(1, `${name}.json`);
    writeFileSync(manifest, readFileSync(manifest, "utf8").replace(/\d/, "x"));
    expect(await fsck("--level", "presence", "--dry-run")).toMatchObject({
      code: 4,
      found: ["left missingBackup -"],
    });
    expect(await fsck()).toMatchObject({ code: 1, found: ["corrected missingBackup -"] });
    expect(() => JSON.parse(readFileSync(manifest, "utf8")) as unknown).not.toThrow();
    expect(await fsck()).toMatchObject({ code: 0, found: [] });
  });

  test("it is damaged everywhere: a new one is made", async () => {
    const name = await backUp();
    const holders = [1, 2, 3, 4].filter((server) => files(server).includes(`${name}.json`));
    expect(holders).toHaveLength(3);
    for (const server of holders) {
      const bytes = readFileSync(pathOf(server, `${name}.db`));
      bytes[5000]! ^= 0xff;
      writeFileSync(pathOf(server, `${name}.db`), bytes);
    }
    const { code, found } = await fsck();
    expect(code).toBe(1);
    expect(found).toEqual(holders.map((server) => `corrected damagedBackup ${server}`));
    expect(await fsck()).toMatchObject({ code: 0, found: [] });
    const row = JSON.parse((await cluster.run(["status", "--json"])).text) as {
      readonly backup: { readonly newest: { readonly backup: string } };
    };
    expect(row.backup.newest.backup).not.toBe(name);
  });

  test("it is on no disk any more, and an older one is: a new one is made", async () => {
    const name = await backUp();
    for (const server of [1, 2, 3, 4]) {
      for (const file of files(server)) {
        if (file.startsWith(name)) rmSync(pathOf(server, file));
      }
    }
    for (let look = 0; look < 2; look++) {
      const dry = await fsck("--level", "presence", "--dry-run");
      expect(dry).toMatchObject({ code: 4, found: ["left missingBackup -"] });
      expect(dry.all[0]!.detail).toContain("is on no data server any more");
    }
    expect(await fsck()).toMatchObject({ code: 1, found: ["corrected missingBackup -"] });
    expect([1, 2, 3, 4].filter((server) => files(server).length > 0)).toHaveLength(3);
    expect(await fsck()).toMatchObject({ code: 0, found: [] });
  });

  test("a server that holds it and is away is no error", async () => {
    await backUp();
    await cluster.kill(cluster.server(1).pid);
    await cluster.untilState("down", 1);
    const { found } = await fsck("--level", "presence");
    expect(found.filter((each) => each.includes("Backup"))).toEqual([]);
  });
});
