// fsck of a path: what is below it is looked at, and nothing else, neither of the record nor on data servers.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { ROOT_INODE, type BlockId, type InodeId } from "../../../../src/base/ids.ts";
import { getattr, link, mkdir, rename } from "../../../../src/protocol/messages/namespace.ts";
import { text } from "../support/service.ts";
import { damage, firstThree, run, shown, withCluster } from "./support.ts";

setDefaultTimeout(60_000);

describe("a path", () => {
  test("limits what is looked at", () =>
    withCluster(4, async (cluster) => {
      const { client } = cluster;
      const one = await client.put("one", firstThree(cluster), 2);
      const other = await client.put("other", firstThree(cluster), 2);
      for (const { blocks } of [one, other]) cluster.data[0]!.held.delete(blocks[1]!);
      expect(shown(await run(client, { inode: one.inode, level: "presence" }))).toEqual([
        "corrected lostCopy /one 1",
      ]);
      expect(shown(await run(client, { inode: one.inode }))).toEqual([]);
      expect(shown(await run(client, { inode: ROOT_INODE }))).toEqual([
        "corrected lostCopy /other 1",
      ]);
    }));

  test("has its own blocks checked and no others, at each level", () =>
    withCluster(4, async (cluster) => {
      const { client } = cluster;
      const [server] = cluster.data;
      const body = { parent: ROOT_INODE, name: text("d"), mode: 0o755, uid: 0, gid: 0 };
      const d = (await client.change(mkdir, body)).attributes.inode;
      const wanted: BlockId[] = [];
      for (let round = 0; round < 3; round++) {
        const inside = await client.put(`in${round}`, firstThree(cluster), 20);
        const ends = { parent: ROOT_INODE, name: text(`in${round}`), newParent: d } as const;
        await client.change(rename, { ...ends, newName: text(`in${round}`), how: "replace" });
        wanted.push(...inside.blocks);
        await client.put(`out${round}`, firstThree(cluster), 300);
      }
      const listed: BlockId[] = [];
      server!.listed = (page) => {
        listed.push(...page.blocks.map(({ block }) => block));
        return page;
      };
      expect(shown(await run(client, { inode: d, level: "meta" }))).toEqual([]);
      expect([listed, server!.verified]).toEqual([[], []]);
      expect(shown(await run(client, { inode: d, level: "presence" }))).toEqual([]);
      expect(listed).toEqual(wanted);
      expect(server!.verified).toEqual([]);
      expect(shown(await run(client, { inode: d }))).toEqual([]);
      expect(listed).toEqual(wanted);
      expect(server!.verified.toSorted((a, b) => (a < b ? -1 : 1))).toEqual(wanted);
    }));

  test("has the record below it checked and nothing else of it, and names elsewhere counted all the same", () =>
    withCluster(4, async (cluster) => {
      const body = { parent: ROOT_INODE, name: text("d"), mode: 0o755, uid: 0, gid: 0 };
      const d = (await cluster.client.change(mkdir, body)).attributes.inode;
      const one = await cluster.client.put("one", firstThree(cluster), 2);
      const other = await cluster.client.put("other", firstThree(cluster), 2);
      const again = { inode: one.inode, parent: d, name: text("again") };
      await cluster.client.change(link, again);
      expect(shown(await run(cluster.client, { inode: d }))).toEqual([]);
      expect(shown(await run(cluster.client, { inode: one.inode }))).toEqual([]);
      // Nobody knows that these copies are missing: neither the server nor the record has them.
      for (const { blocks } of [one, other]) cluster.data[0]!.held.delete(blocks[0]!);
      await damage(
        cluster,
        `UPDATE inodes SET nlink = 7, allocated = 99 WHERE id IN (${one.inode}, ${other.inode});
         UPDATE blocks SET refs = 2 WHERE id IN (${one.blocks[0]}, ${other.blocks[0]});
         DELETE FROM replicas WHERE server = 1 AND block IN (${one.blocks[0]}, ${other.blocks[0]});
         INSERT INTO dentries VALUES (1, CAST('ghost' AS BLOB), 999, 8), (${d}, CAST('ghost' AS BLOB), 999, 8)`,
      );
      const found = (await run(cluster.client, { inode: d })).map(
        ({ outcome, kind }) => `${outcome} ${kind}`,
      );
      expect(found.toSorted()).toEqual([
        "corrected danglingName",
        "corrected missingCopies",
        "corrected wrongAllocated",
        "corrected wrongLinkCount",
        "left wrongRefs",
      ]);
      const { attributes } = await cluster.client.ask(getattr, { inode: one.inode });
      expect(attributes).toMatchObject({ nlink: 2, allocated: 2 });
      const rest = await run(cluster.client, { level: "meta", dryRun: true });
      expect(shown(rest)).toContain("left wrongLinkCount /other -");
      expect(shown(rest)).toContain("left danglingName /ghost -");
    }));

  test("that is not there is refused", () =>
    withCluster(3, async ({ client }) => {
      const error = await run(client, { inode: 4711n as InodeId }).catch(
        (failure: unknown) => failure,
      );
      expect(error).toMatchObject({ kind: "notFound" });
    }));
});
