// put is killed with SIGKILL while it replaces symbolic links. A link cannot take the place of another in one request, so a temporary
// name may stay in the cluster; dfs help transfers says so, and how such names are removed. What is checked is that this is all:
// each link is the old one or the new one, the same command completes the work, and what the help says removes the rest.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { TEXT } from "../../src/tools/topics/transfers.ts";
import { LocalCluster } from "../support/local-cluster.ts";
import { dfsIn, rowsIn } from "./support/mirror.ts";

const LINKS = 300;

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.up("--data-servers", "3", "--block-size", "64K");
});
afterAll(() => cluster.stop());

/** The directory `links` on this machine, with links to `target`. */
function makeLinks(target: string): void {
  rmSync(cluster.path("links"), { recursive: true, force: true });
  mkdirSync(cluster.path("links"));
  for (let link = 0; link < LINKS; link++) {
    symlinkSync(target, cluster.path("links", String(link)));
  }
}

/** Where the links in the cluster lead: how many lead where, those with temporary names apart. */
async function targets(): Promise<{ links: Record<string, number>; temporary: number }> {
  const links: Record<string, number> = {};
  let temporary = 0;
  for (const { name, target } of await rowsIn<{ name: string; target: string }>(
    cluster,
    "ls",
    "-a",
    "/links",
  )) {
    if (name.startsWith(".dfs-put.")) temporary++;
    else links[target] = (links[target] ?? 0) + 1;
  }
  return { links, temporary };
}

test("links that were being replaced are the old ones or the new ones; what is left beside them can be removed", async () => {
  makeLinks("old");
  await cluster.ok("put", "-r", "links", "/");
  makeLinks("new");
  const child = cluster.spawn(["put", "-r", "links", "/"]);
  while (child.exitCode === null && (await targets()).links["new"] === undefined);
  child.kill("SIGKILL");
  await child.exited;
  const after = await targets();
  expect((after.links["old"] ?? 0) + (after.links["new"] ?? 0)).toBe(LINKS);
  await cluster.ok("put", "-r", "links", "/");
  expect((await targets()).links).toEqual({ new: LINKS });
  const [, words = ""] = /: dfs (find .*)$/m.exec(TEXT) ?? [];
  expect(words).toContain(".dfs-put.");
  const advice = words.replaceAll("'", "").split(" ");
  expect(await dfsIn(cluster, ...advice)).toMatchObject({ code: 0, stderr: "" });
  expect(await targets()).toEqual({ links: { new: LINKS }, temporary: 0 });
});
