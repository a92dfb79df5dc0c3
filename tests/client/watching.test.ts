// Notices of what other clients change: to whom, of what, and what a lost connection means.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { ROOT_INODE, type InodeId } from "../../src/base/ids.ts";
import type { ChangeListener } from "../../src/client/api.ts";
import {
  bytesOf,
  OWNER,
  startCluster,
  until,
  type Cluster,
  type TestClient,
} from "../support/cluster.ts";
import { DeafTransport } from "./support/deaf-transport.ts";

let cluster: Cluster;
let transport: DeafTransport;
let watching: TestClient;
let other: TestClient;
let heard: string[];
beforeEach(async () => {
  cluster = await startCluster({ servers: 3, settings: { blockSize: 4096 } });
  transport = new DeafTransport(cluster.transport("client"));
  watching = await cluster.client({}, transport);
  other = await cluster.client();
  heard = [];
  watching.inodes.listen(listener);
  await watching.inodes.watch(60_000);
});
afterEach(() => cluster.stop());

const listener: ChangeListener = {
  contentChanged: (inode) => void heard.push(`content ${inode}`),
  attributesChanged: (inode, version) => void heard.push(`attributes ${inode} ${version}`),
  entryChanged: (parent, name) =>
    void heard.push(`entry ${parent} ${new TextDecoder().decode(name)}`),
  everythingChanged: () => void heard.push("everything"),
};

const at = (name: string) => ({ parent: ROOT_INODE, name: bytesOf(name) });

/** Waits until what was changed before has been told: notices to a client come in the order of the changes. */
async function everythingTold(): Promise<void> {
  const mark = at(`mark-${heard.length}-${Math.floor(performance.now())}`);
  await watching.inodes.lookup(mark).catch(() => undefined);
  await other.inodes.mkdir(mark, OWNER);
  const name = new TextDecoder().decode(mark.name);
  await until("the mark has been told", () => heard.includes(`entry 1 ${name}`));
  heard = heard.filter((line) => !line.includes("mark-") && !line.startsWith("attributes 1 "));
}

async function madeByOther(name: string): Promise<InodeId> {
  const { file } = await other.inodes.create(at(name), OWNER, true);
  await file.close();
  return file.inode;
}

describe("a client that watches", () => {
  test("is told of names that it looked for, found or not, and of inodes that it knows", async () => {
    await watching.inodes.lookup(at("new")).catch(() => undefined);
    const inode = await madeByOther("new");
    const known = await watching.inodes.lookup(at("new"));
    expect(known.inode).toBe(inode);
    await other.inodes.setattr(inode, { mode: 0o600 });
    await watching.inodes.getattr(inode);
    await other.inodes.rename(at("new"), at("renamed"), "replace");
    await everythingTold();
    expect(heard).toEqual([
      "entry 1 new",
      `attributes ${inode} ${known.version}`,
      "entry 1 new",
      "entry 1 renamed",
      `attributes ${inode} ${known.version}`,
    ]);
  });

  test("is told once, until it asks again; not of what it does not know, nor of its own changes", async () => {
    const unknown = await madeByOther("unknown");
    const known = await madeByOther("known");
    const { version } = await watching.inodes.getattr(known);
    await everythingTold();
    heard = [];
    await other.inodes.setattr(unknown, { mode: 0o600 });
    await other.inodes.setattr(known, { mode: 0o600 });
    await other.inodes.setattr(known, { mode: 0o644 });
    await watching.inodes.mkdir(at("own"), OWNER);
    await watching.inodes.setattr(known, { mode: 0o640 });
    await everythingTold();
    expect(heard).toEqual([`attributes ${known} ${version}`]);
  });

  test("that has a file open is told that its content has changed, and reads the new one", async () => {
    const inode = await madeByOther("f");
    const file = await watching.inodes.open(inode);
    const theirs = await other.inodes.open(inode);
    await theirs.write(0, bytesOf("new content"));
    await theirs.close();
    await until("the change has been told", () => heard.includes(`content ${inode}`));
    expect((await watching.inodes.getattr(inode)).size).toBe(11);
    expect(await file.read(0, 20)).toEqual(bytesOf("new content"));
    expect(heard.filter((line) => line === `content ${inode}`)).toHaveLength(1);
    await file.close();
  });

  test("is told that everything may have changed when it has a new connection, and watches on", async () => {
    const inode = await madeByOther("f");
    const { version } = await watching.inodes.getattr(inode);
    heard = [];
    transport.reconnect();
    await until("it is connected again", () => heard.includes("everything"));
    await watching.inodes.getattr(inode);
    await other.inodes.setattr(inode, { mode: 0o600 });
    await until("the change is told", () => heard.includes(`attributes ${inode} ${version}`));
    await cluster.stopMeta();
    await cluster.startMeta();
    await until("and once more", () => heard.filter((line) => line === "everything").length === 2);
  });

  test("that watches no more hears nothing", async () => {
    const inode = await madeByOther("f");
    await watching.inodes.watch(0);
    await watching.inodes.getattr(inode);
    await other.inodes.setattr(inode, { mode: 0o600 });
    await watching.inodes.watch(60_000);
    await everythingTold();
    expect(heard.filter((line) => line.startsWith(`attributes ${inode}`))).toEqual([]);
  });
});
