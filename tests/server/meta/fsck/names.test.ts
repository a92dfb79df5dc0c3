// Damage to names, put into the database of a service that is stopped: fsck finds it, gives what has no path one in /lost+found,
// removes names that lead nowhere, and a second run finds nothing.

import { Database } from "bun:sqlite";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { ROOT_INODE, type InodeId } from "../../../../src/base/ids.ts";
import { HandlerTable } from "../../../../src/protocol/endpoint.ts";
import { entryChanged, inodeChanged } from "../../../../src/protocol/messages/changes.ts";
import { sessionWatch } from "../../../../src/protocol/messages/session.ts";
import { fsckPoll, fsckStart, fsckStop } from "../../../../src/protocol/messages/fsck.ts";
import {
  getattr,
  link,
  mkdir,
  open,
  readdir,
  rename,
  resolve,
  rmdir,
  unlink,
} from "../../../../src/protocol/messages/namespace.ts";
import type { MetaServer } from "../../../../src/server/meta/server.ts";
import { mendName, reunite } from "../../../../src/server/meta/fsck/name-steps.ts";
import { faultyNames, strays } from "../../../../src/server/meta/store/sqlite/names.ts";
import { NamespaceTree } from "../../../conformance/namespace-tree.ts";
import { touch } from "../../../conformance/support.ts";
import { Harness } from "../namespace/harness.ts";
import { brokenInvariants } from "../namespace/invariants.ts";
import { temporaryDirectory, until } from "../support/durable.ts";
import { TestDataServer } from "../support/data-server.ts";
import { startMeta, TestClient, text } from "../support/service.ts";

setDefaultTimeout(60_000);

const OPTIONS = { settings: { blockSize: 8 }, moveMisplaced: false, outDelayMs: 3_600_000 };

interface Cluster {
  readonly dir: string;
  meta: MetaServer;
  client: TestClient;
  readonly data: readonly TestDataServer[];
}

/** A cluster with a file and directories: /f, /d, /d/e, /d/e/g, /h. */
async function withTree(
  work: (
    cluster: Cluster,
    inodes: Readonly<Record<"f" | "d" | "e" | "g" | "h", InodeId>>,
  ) => Promise<void>,
): Promise<void> {
  using dir = temporaryDirectory();
  const meta = await startMeta(dir.path, OPTIONS);
  const data: TestDataServer[] = [];
  for (let index = 0; index < 3; index++) data.push(await TestDataServer.join(meta.address));
  const client = await TestClient.open(meta.address);
  const cluster: Cluster = { dir: dir.path, meta, client, data };
  try {
    const { inode: f } = await client.put("f", data, 2);
    const d = await directory(client, ROOT_INODE, "d");
    const e = await directory(client, d, "e");
    const made = await client.create("g", { parent: e });
    const h = await directory(client, ROOT_INODE, "h");
    await work(cluster, { f, d, e, g: made.attributes.inode, h });
  } finally {
    cluster.client.peer.close("the test is over");
    await cluster.meta.stop();
  }
}

async function directory(client: TestClient, parent: InodeId, name: string): Promise<InodeId> {
  const body = { parent, name: text(name), mode: 0o755, uid: 0, gid: 0 };
  return (await client.change(mkdir, body)).attributes.inode;
}

/** Changes the database while nobody serves from it. */
async function damage(cluster: Cluster, ...statements: readonly string[]): Promise<void> {
  await cluster.meta.stop();
  const database = new Database(join(cluster.dir, "meta.db"));
  for (const sql of statements) database.run(sql);
  database.close();
  cluster.meta = await startMeta(cluster.dir, OPTIONS);
  for (const server of cluster.data) await server.restart(cluster.meta.address);
  cluster.client = await cluster.client.resume(cluster.meta.address);
}

/** Findings of a run at the meta level: "outcome kind path". */
async function fsck({ client }: Cluster, dryRun = false): Promise<string[]> {
  const start = { level: "meta", inode: null, dryRun, patienceMs: 1_000 } as const;
  const { run } = await client.ask(fsckStart, start);
  const found: string[] = [];
  for (let after = 0; ;) {
    const { findings, finished } = await client.ask(fsckPoll, { run, after });
    after += findings.length;
    for (const { outcome, kind, path } of findings) {
      if (outcome !== "note")
        found.push(`${outcome} ${kind} ${path === null ? "-" : Buffer.from(path).toString()}`);
    }
    if (finished) break;
    await Bun.sleep(10);
  }
  await client.ask(fsckStop, { run });
  return found.toSorted();
}

async function names(client: TestClient, parent: InodeId): Promise<string[]> {
  const request = { directory: parent, after: null, limit: 100, withAttributes: false };
  const { entries } = await client.ask(readdir, request);
  return entries.map(({ name }) => Buffer.from(name).toString());
}

async function inodeAt(client: TestClient, path: string) {
  const body = { start: ROOT_INODE, path: text(path), followLast: false };
  return (await client.ask(resolve, body)).attributes;
}

describe("what no path leads to gets one in /lost+found", () => {
  test("a file", () =>
    withTree(async (cluster, { f }) => {
      await damage(cluster, `DELETE FROM dentries WHERE inode = ${f}`);
      expect(await fsck(cluster, true)).toEqual(["left unreachableInode -"]);
      expect(await names(cluster.client, ROOT_INODE)).toEqual(["d", "h"]);
      expect(await fsck(cluster)).toEqual([`corrected unreachableInode /lost+found/#${f}`]);
      const home = await inodeAt(cluster.client, "lost+found");
      expect(home).toMatchObject({ type: "directory", mode: 0o700, nlink: 2 });
      const found = await inodeAt(cluster.client, `lost+found/#${f}`);
      expect(found).toMatchObject({ inode: f, nlink: 1, size: 9 });
      expect(await fsck(cluster)).toEqual([]);
      // It is a file as any other.
      await cluster.client.change(unlink, { parent: home.inode, name: text(`#${f}`) });
      expect(await fsck(cluster)).toEqual([]);
    }));

  test("a directory, with all that is below it, and its parents count right after that", () =>
    withTree(async (cluster, { d, e, g }) => {
      await damage(cluster, `DELETE FROM dentries WHERE inode = ${e}`);
      expect(await fsck(cluster)).toEqual([
        `corrected unreachableInode /lost+found/#${e}`,
        "corrected wrongLinkCount /d",
      ]);
      expect((await inodeAt(cluster.client, `lost+found/#${e}/g`)).inode).toBe(g);
      const { attributes } = await cluster.client.ask(getattr, { inode: d });
      expect(attributes.nlink).toBe(2);
      expect((await inodeAt(cluster.client, "lost+found")).nlink).toBe(3);
      expect(await fsck(cluster)).toEqual([]);
      const home = await inodeAt(cluster.client, "lost+found");
      const back = { parent: home.inode, name: text(`#${e}`), newParent: d, newName: text("e") };
      await cluster.client.change(rename, { ...back, how: "replace" });
      await cluster.client.change(rmdir, { parent: ROOT_INODE, name: text("lost+found") });
      expect(await fsck(cluster)).toEqual([]);
    }));

  test("a circle of directories", () =>
    withTree(async (cluster, { d, e, g }) => {
      await damage(
        cluster,
        `UPDATE dentries SET parent = ${e} WHERE inode = ${d}`,
        `UPDATE inodes SET parent = ${e} WHERE id = ${d}`,
      );
      const found = await fsck(cluster);
      expect(found).toContain(`corrected unreachableInode /lost+found/#${d}`);
      expect(found.filter((each) => !each.startsWith("corrected"))).toEqual([]);
      expect((await inodeAt(cluster.client, `lost+found/#${d}/e/g`)).inode).toBe(g);
      expect(await fsck(cluster)).toEqual([]);
    }));

  test("a directory that is in itself", () =>
    withTree(async (cluster, { h }) => {
      await damage(
        cluster,
        `UPDATE dentries SET parent = ${h} WHERE inode = ${h}`,
        `UPDATE inodes SET parent = ${h} WHERE id = ${h}`,
      );
      await fsck(cluster);
      expect((await inodeAt(cluster.client, `lost+found/#${h}`)).inode).toBe(h);
      expect(await names(cluster.client, h)).toEqual([]);
      expect(await fsck(cluster)).toEqual([]);
    }));

  test("what was in a directory whose inode is gone, and the names that lead to it go", () =>
    withTree(async (cluster, { d, e }) => {
      await damage(cluster, `DELETE FROM inodes WHERE id = ${d}`);
      const found = await fsck(cluster);
      expect(found.filter((each) => !each.startsWith("corrected"))).toEqual([]);
      expect(found).toContain(`corrected unreachableInode /lost+found/#${e}`);
      expect(await names(cluster.client, ROOT_INODE)).toEqual(["f", "h", "lost+found"]);
      expect(await fsck(cluster)).toEqual([]);
    }));

  test("what nobody has open and nothing names, but not what is open", () =>
    withTree(async (cluster, { f }) => {
      const { client } = cluster;
      const made = await client.create("open");
      await client.ask(open, { start: ROOT_INODE, path: text("open"), limit: 1 });
      await client.change(unlink, { parent: ROOT_INODE, name: text("open") });
      await damage(
        cluster,
        `DELETE FROM dentries WHERE inode = ${f}`,
        `UPDATE inodes SET nlink = 0 WHERE id = ${f}`,
      );
      expect(await fsck(cluster)).toEqual([`corrected unreachableInode /lost+found/#${f}`]);
      expect(await fsck(cluster)).toEqual([]);
      expect(made.created).toBe(true);
    }));

  test("is left when /lost+found is a file", () =>
    withTree(async (cluster, { f }) => {
      await cluster.client.create("lost+found");
      await damage(cluster, `DELETE FROM dentries WHERE inode = ${f}`);
      for (let again = 0; again < 2; again++) {
        expect(await fsck(cluster)).toEqual(["left unreachableInode -"]);
      }
    }));
});

describe("names", () => {
  test("that lead nowhere are removed, unless the bytes of the file are still there", () =>
    withTree(async (cluster, { f }) => {
      await damage(
        cluster,
        "INSERT INTO dentries VALUES (1, CAST('ghost' AS BLOB), 999, 8)",
        "INSERT INTO dentries VALUES (1, CAST('phantom' AS BLOB), 998, 4)",
        `DELETE FROM inodes WHERE id = ${f}`,
      );
      const found = await fsck(cluster);
      expect(found.filter((each) => each.includes("danglingName"))).toEqual([
        "corrected danglingName /ghost",
        "corrected danglingName /phantom",
        "left danglingName /f",
      ]);
      expect(await names(cluster.client, ROOT_INODE)).toEqual(["d", "f", "h"]);
    }));

  test("of another type than their inode get that of the inode", () =>
    withTree(async (cluster, { e, f }) => {
      await damage(cluster, `UPDATE dentries SET type = 10 WHERE inode IN (${e}, ${f})`);
      // What is below /d/e was taken for unreachable, and the links of /d for too many.
      expect(await fsck(cluster, true)).toEqual(["left danglingName /d/e", "left danglingName /f"]);
      expect(await fsck(cluster)).toEqual([
        "corrected danglingName /d/e",
        "corrected danglingName /f",
      ]);
      expect(await names(cluster.client, ROOT_INODE)).toEqual(["d", "f", "h"]);
      expect((await inodeAt(cluster.client, "d/e/g")).type).toBe("file");
      expect(await fsck(cluster)).toEqual([]);
    }));

  test("in what is no directory go; what they lead to has another name, or gets one", () =>
    withTree(async (cluster, { f, g }) => {
      await cluster.client.change(link, { inode: g, parent: ROOT_INODE, name: text("other") });
      await damage(
        cluster,
        `UPDATE dentries SET parent = ${f} WHERE name = CAST('other' AS BLOB)`,
        `UPDATE dentries SET parent = ${f} WHERE name = CAST('h' AS BLOB)`,
      );
      const found = await fsck(cluster);
      expect(found.filter((each) => !each.startsWith("corrected"))).toEqual([]);
      expect((await inodeAt(cluster.client, "d/e/g")).nlink).toBe(1);
      expect(await fsck(cluster)).toEqual([]);
    }));
});

describe("directories", () => {
  test("that call another one their parent are corrected, with their link counts", () =>
    withTree(async (cluster, { e, h }) => {
      await damage(
        cluster,
        `UPDATE inodes SET parent = ${h}, nlink = 9 WHERE id = ${e}`,
        `UPDATE inodes SET nlink = 0 WHERE id = ${h}`,
      );
      expect(await fsck(cluster)).toEqual([
        "corrected wrongLinkCount /d/e",
        "corrected wrongLinkCount /h",
        "corrected wrongParent /d/e",
      ]);
      expect(await fsck(cluster)).toEqual([]);
      expect((await inodeAt(cluster.client, "d/e/..")).inode).toBe(
        (await inodeAt(cluster.client, "d")).inode,
      );
      expect((await inodeAt(cluster.client, "h")).nlink).toBe(2);
    }));

  test("with two names are told of and left", () =>
    withTree(async (cluster, { e }) => {
      await damage(cluster, `INSERT INTO dentries VALUES (1, CAST('twice' AS BLOB), ${e}, 4)`);
      const found = await fsck(cluster);
      expect(found.filter((each) => each.includes("wrongParent")).length).toBe(1);
      expect(found.filter((each) => each.includes("wrongParent"))[0]).toStartWith("left");
      expect(await names(cluster.client, ROOT_INODE)).toContain("twice");
    }));
});

// A client that had them cached went on with link counts, and with names that lead nowhere, until its time was over.
test("what is mended is told to clients that may have it cached", () =>
  withTree(async (cluster, { d, f, h }) => {
    await damage(
      cluster,
      `UPDATE inodes SET nlink = 9 WHERE id = ${f}`,
      `UPDATE inodes SET nlink = 7, parent = ${h} WHERE id = ${d}`,
      `INSERT INTO dentries VALUES (${h}, CAST('ghost' AS BLOB), 999, 8)`,
    );
    const told = new Set<string>();
    const table = new HandlerTable();
    table.onNotice(inodeChanged, ({ inode }) => void told.add(`inode ${inode}`));
    table.onNotice(entryChanged, ({ parent, name }) =>
      told.add(`entry ${parent} ${Buffer.from(name).toString()}`),
    );
    const caching = await TestClient.open(cluster.meta.address, table);
    await caching.ask(sessionWatch, { cacheMs: 60_000 });
    for (const inode of [d, f, h]) await caching.ask(getattr, { inode });
    expect((await fsck(cluster)).filter((each) => !each.startsWith("corrected"))).toEqual([]);
    const wanted = [`inode ${d}`, `inode ${f}`, `entry ${h} ghost`, `inode ${h}`];
    await until(() => wanted.every((each) => told.has(each)));
    caching.peer.close("the test is over");
  }));

describe("a cluster in use", () => {
  test("has no finding and gets no /lost+found, whatever is made, moved, linked and removed meanwhile", () =>
    withTree(async (cluster, { d, h }) => {
      const writer = await TestClient.open(cluster.meta.address);
      const end = new AbortController();
      let rounds = 0;
      const work = (async () => {
        for (; !end.signal.aborted; rounds++) {
          const [from, to] = rounds % 2 === 0 ? [d, h] : [h, d];
          const inner = await directory(writer, from, `x${rounds}`);
          await writer.create("file", { parent: inner });
          const moved = { parent: from, name: text(`x${rounds}`), newParent: to };
          await writer.change(rename, { ...moved, newName: text("y"), how: "replace" });
          const { inode } = await writer.put(`put${rounds % 3}`, cluster.data, 2);
          await writer.change(link, { inode, parent: inner, name: text("again") });
          for (const name of ["file", "again"])
            await writer.change(unlink, { parent: inner, name: text(name) });
          await writer.change(rmdir, { parent: to, name: text("y") });
        }
      })();
      let runs = 0;
      for (let before = 0; runs < 10; runs++, before = rounds) {
        expect(await fsck(cluster)).toEqual([]);
        await until(() => rounds > before); // something was done since
      }
      end.abort();
      await work;
      expect(await names(cluster.client, ROOT_INODE)).not.toContain("lost+found");
      writer.peer.close("the test is over");
    }));
});

describe("a mend judges again", () => {
  /** What was found, and then changed by `change` before it is mended. */
  async function changedMeanwhile(
    sql: string,
    change: (tree: NamespaceTree, harness: Harness) => Promise<unknown>,
  ): Promise<Harness> {
    const harness = new Harness();
    const tree = await NamespaceTree.over(harness);
    await tree.mkdir("/d");
    await tree.mkdir("/d/e");
    await touch(tree, "/d/f", "some bytes of text");
    const id = (name: string): string =>
      `(SELECT inode FROM dentries WHERE name = CAST('${name}' AS BLOB))`;
    harness.store.database.run(sql.replaceAll(/\$(\w)/g, (_, name: string) => id(name)));
    const faulty = faultyNames(harness.store.database);
    const lost = strays(harness.store.database);
    expect(faulty.length + lost.length).toBeGreaterThan(0);
    await change(tree, harness);
    const context = { nowNs: harness.nowNs, nextInode: (): never => expect.unreachable() };
    for (const each of faulty) expect(await harness.run(mendName(context, each))).toBe(false);
    for (const each of lost) expect(await harness.run(reunite(context, each))).toBe(false);
    return harness;
  }

  test("a name that has been given to something else is kept", async () => {
    const harness = await changedMeanwhile(
      "INSERT INTO dentries VALUES (1, CAST('ghost' AS BLOB), 999, 8)",
      async (tree, { store }) => {
        store.database.run("DELETE FROM dentries WHERE inode = 999");
        await touch(tree, "/ghost", "by now");
      },
    );
    expect(brokenInvariants(harness.store.database, harness.settings)).toEqual([]);
    harness.close();
  });

  test("a file that has got a name is not given another one", async () => {
    const harness = await changedMeanwhile(
      "DELETE FROM dentries WHERE name = CAST('f' AS BLOB)",
      async (_, { store }) => {
        store.database.run(
          `INSERT INTO dentries SELECT 1, CAST('back' AS BLOB), id, type FROM inodes WHERE type = 8;
           UPDATE inodes SET ctime = ctime + 1 WHERE type = 8`,
        );
      },
    );
    expect(brokenInvariants(harness.store.database, harness.settings)).toEqual([]);
    harness.close();
  });
});
