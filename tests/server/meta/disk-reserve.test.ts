// The disk of the metadata database is full, wholly so, by what others write there: a small file system of its own.
//
// What was found: sessions are written down, so nobody who was not connected already could read, ask for the status or remove
// anything, while the error said that reading goes on; nor could the service be started.

import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { silentLogger } from "../../../src/base/logger.ts";
import { ROOT_INODE } from "../../../src/base/ids.ts";
import { DiskReserve } from "../../../src/server/meta/disk-reserve.ts";
import { status } from "../../../src/protocol/messages/cluster.ts";
import { lookup, unlink } from "../../../src/protocol/messages/namespace.ts";
import { canRun, whyNotAsRoot } from "../../support/conditions.ts";
import { failureOf, temporaryDirectory } from "./support/durable.ts";
import { startMeta, TestClient, text } from "./support/service.ts";

const PIECE = new Uint8Array(64 * 1024);
const MIB = 1024 * 1024;

/** Fills the disk to its last block. */
function fill(path: string): void {
  for (const length of [PIECE.length, 4096]) {
    let isFull = false;
    while (!isFull) {
      try {
        appendFileSync(path, PIECE.subarray(0, length));
      } catch {
        isFull = true;
      }
    }
  }
}

test.if(canRun("metadata on a full disk", whyNotAsRoot()))(
  "new clients read and remove, other changes are refused; it starts again, and goes on when there is room",
  async () => {
    using dir = temporaryDirectory();
    const disk = join(dir.path, "disk");
    mkdirSync(disk);
    expect(spawnSync("mount", ["-t", "tmpfs", "-o", "size=32m", "tmpfs", disk]).status).toBe(0);
    try {
      const metaDir = join(disk, "meta");
      const reserve = join(metaDir, "reserve");
      const filler = join(disk, "filler");
      let meta = await startMeta(metaDir);
      const first = await TestClient.open(meta.address);
      await first.create("kept");
      await first.create("gone");
      expect(statSync(reserve)).toMatchObject({ size: 2 * MIB });
      expect(statSync(reserve).blocks * 512).toBe(2 * MIB); // room that is really taken

      const look = (client: TestClient, name: string): Promise<unknown> =>
        client.ask(lookup, { parent: ROOT_INODE, name: text(name) });
      const diskOf = async (client: TestClient) => (await client.ask(status, {})).metadataDisk;
      expect(await diskOf(first)).toMatchObject({ full: false, neededBytes: 4 * MIB });
      const onFullDisk = async (): Promise<void> => {
        const client = await TestClient.open(meta.address);
        let refused: unknown;
        // What room the log has already is used up first.
        while (refused === undefined) {
          const name = `more-${client.operation}`;
          refused = await client.create(name).then(
            () => undefined,
            (error: unknown) => error,
          );
        }
        const message = expect.stringContaining("reading and removing go on") as string;
        expect(refused).toMatchObject({ kind: "noSpace", message });
        expect(existsSync(reserve)).toBe(false);
        const other = await TestClient.open(meta.address);
        await look(other, "kept");
        expect(await diskOf(other)).toMatchObject({ full: true });
        expect(await failureOf(other.create("another"))).toMatchObject({ kind: "noSpace" });
      };
      fill(filler);
      await onFullDisk();
      const remover = await TestClient.open(meta.address);
      await remover.change(unlink, { parent: ROOT_INODE, name: text("gone") });
      expect(await failureOf(look(remover, "gone"))).toMatchObject({ kind: "notFound" });

      await meta.stop();
      fill(filler); // what the reserve was, and the log
      expect(await failureOf(startMeta(metaDir))).toMatchObject({ kind: "noSpace" });
      rmSync(filler);
      meta = await startMeta(metaDir);
      expect(statSync(reserve).size).toBe(2 * MIB);
      fill(filler);
      await meta.stop();
      fill(filler);
      meta = await startMeta(metaDir); // in the room of the reserve
      await onFullDisk();

      rmSync(filler);
      const last = await TestClient.open(meta.address);
      expect(await diskOf(last)).toMatchObject({ full: false });
      await last.create("after");
      await look(last, "after");
      expect(statSync(reserve).size).toBe(2 * MIB);
      await meta.stop();
    } finally {
      spawnSync("umount", ["-l", disk]);
    }
  },
);

test.if(canRun("a full disk without a reserve", whyNotAsRoot()))(
  "without a reserve a disk is full from the first change without room until there is room for a reserve, which is made then",
  () => {
    using dir = temporaryDirectory();
    expect(spawnSync("mount", ["-t", "tmpfs", "-o", "size=32m", "tmpfs", dir.path]).status).toBe(0);
    try {
      const filler = join(dir.path, "filler");
      fill(filler);
      const reserve = new DiskReserve(dir.path, silentLogger);
      reserve.relieve();
      reserve.prepare();
      expect(reserve.condition()).toEqual({ full: false, freeBytes: 0, neededBytes: 4 * MIB });
      expect(reserve.spend()).toBe(false);
      expect(reserve.condition().full).toBe(true);
      expect(reserve.refuses()).toBe(false); // each change is tried
      rmSync(filler);
      expect(reserve.condition().full).toBe(false);
      expect(statSync(join(dir.path, "reserve")).size).toBe(2 * MIB);
    } finally {
      spawnSync("umount", ["-l", dir.path]);
    }
  },
);
