// Backups of the metadata in a data server's directory.

import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { backupChecksum, chunkCount, hashList } from "../../../src/base/backup.ts";
import { hash64 } from "../../../src/base/checksum.ts";
import { realDisk } from "../../../src/base/disk.ts";
import { DfsError } from "../../../src/base/errors.ts";
import { clusterId, instanceId, lsn, reignId } from "../../../src/base/ids.ts";
import { BACKUP_CHUNK_BYTES } from "../../../src/base/limits.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { HandlerTable } from "../../../src/protocol/endpoint.ts";
import { backupList } from "../../../src/protocol/messages/backup.ts";
import { clusterIdBytes } from "../../../src/protocol/messages/common.ts";
import { addBackupHandlers } from "../../../src/server/data/backup-handlers.ts";
import {
  decodeManifest,
  encodeManifest,
  type HeldBackup,
} from "../../../src/server/data/backup-file.ts";
import { BackupStore } from "../../../src/server/data/backups.ts";
import { CommandOrder } from "../../../src/server/data/command-order.ts";
import type { ServedLog } from "../../../src/server/data/handlers.ts";
import { connectTo, listenFor } from "../../protocol/support.ts";
import { patterned } from "../../support/cluster.ts";
import { cleanUp, expectError, freshDirectory } from "./support.ts";

afterEach(cleanUp);

const GOLDEN = join(import.meta.dir, "../../golden/backup/manifest-1.json");

function storeIn(dir: string, room = Infinity): BackupStore {
  return new BackupStore({ disk: realDisk, dir, logger: silentLogger, room: () => room });
}

function described(backup: bigint, bytes: Uint8Array, createdNs = 5n) {
  const hashes = Array.from({ length: chunkCount(bytes.length) }, (_, chunk) =>
    hash64(chunkOf(bytes, chunk)),
  );
  const chunks = hashList(hashes);
  const manifest = {
    backup,
    cluster: clusterIdBytes(clusterId("00112233445566778899aabbccddeeff")),
    reign: reignId(2n ** 62n + 1n),
    lsn: lsn(17n),
    createdNs,
    length: bytes.length,
    checksum: backupChecksum(bytes.length, chunks),
    address: "127.0.0.1:7000",
    files: 3,
  };
  return { manifest, chunks };
}

function chunkOf(bytes: Uint8Array, chunk: number): Uint8Array {
  return bytes.subarray(chunk * BACKUP_CHUNK_BYTES, (chunk + 1) * BACKUP_CHUNK_BYTES);
}

async function send(
  store: BackupStore,
  backup: bigint,
  bytes: Uint8Array,
  upTo = Infinity,
): Promise<void> {
  for (let chunk = 0; chunk < Math.min(upTo, chunkCount(bytes.length)); chunk++) {
    const part = chunkOf(bytes, chunk);
    const hash = hash64(part);
    await store.put({ backup, chunk, length: bytes.length, hash, bytes: part });
  }
}

async function keep(store: BackupStore, backup: bigint, bytes: Uint8Array, createdNs = 5n) {
  await send(store, backup, bytes);
  const { manifest, chunks } = described(backup, bytes, createdNs);
  await store.commit(manifest, chunks);
}

const long = patterned(2 * BACKUP_CHUNK_BYTES + 1000, 3);
const short = patterned(1000, 4);

describe("a backup", () => {
  test("is held once it is committed, and comes back byte for byte after a restart", async () => {
    const dir = freshDirectory();
    mkdirSync(dir, { recursive: true });
    const store = storeIn(dir);
    await send(store, 1n, long);
    expect(store.list().held).toEqual([]);
    const { manifest, chunks } = described(1n, long);
    await store.commit(manifest, chunks);
    await keep(store, 2n, short, 6n);

    const again = storeIn(dir);
    await again.open();
    const { held, damaged } = again.list();
    expect(damaged).toEqual([]);
    expect(held.map((each) => each.manifest.backup)).toEqual([2n, 1n]);
    expect(held[1]).toEqual({ manifest, chunks });
    const parts: Uint8Array[] = [];
    for (let chunk = 0; chunk < 3; chunk++) parts.push((await again.get(1n, chunk)).bytes);
    expect(Buffer.concat(parts).equals(long)).toBe(true);
    expect(await Promise.all(held.map((each) => again.verify(each)))).toEqual(["whole", "whole"]);
    await expectError("notFound", again.get(3n, 0));
  });

  test("that was not finished is removed by the next start, and when the next one begins", async () => {
    const dir = freshDirectory();
    mkdirSync(dir, { recursive: true });
    const store = storeIn(dir);
    await keep(store, 1n, short);
    await send(store, 2n, long, 2);
    const path = join(dir, "backups", "0000000000000002.db");
    expect(existsSync(path)).toBe(true);
    await storeIn(dir).open();
    expect(existsSync(path)).toBe(false);

    const other = storeIn(dir);
    await send(other, 3n, long, 1);
    await keep(other, 4n, short, 7n);
    expect(existsSync(join(dir, "backups", "0000000000000003.db"))).toBe(false);
    expect(other.list().held.map((each) => each.manifest.backup)).toEqual([4n, 1n]);
  });

  test("is refused out of order, damaged on the way, without room, or twice; nothing of it stays", async () => {
    const dir = freshDirectory();
    mkdirSync(dir, { recursive: true });
    const store = storeIn(dir);
    const part = chunkOf(long, 1);
    const second = { backup: 1n, chunk: 1, length: long.length, hash: hash64(part), bytes: part };
    await expectError("invalid", store.put(second));
    await expectError(
      "badChecksum",
      store.put({ backup: 1n, chunk: 0, length: 1000, hash: 5n, bytes: short }),
    );
    const { manifest, chunks } = described(1n, long);
    await send(store, 1n, long, 2);
    await expectError("invalid", store.commit(manifest, chunks));
    await expectError("invalid", store.put({ ...second, chunk: 2 }));
    expect(existsSync(join(dir, "backups", "0000000000000001.db"))).toBe(false);
    await expectError("noSpace", send(storeIn(dir, 999), 1n, short));
    await keep(store, 1n, short);
    await expectError("invalid", send(store, 1n, short));
    expect(store.list().held).toHaveLength(1);
  });

  test("is deleted when that is asked for, and twice is once", async () => {
    const dir = freshDirectory();
    mkdirSync(dir, { recursive: true });
    const store = storeIn(dir);
    await keep(store, 1n, short);
    await keep(store, 2n, short, 6n);
    expect(await store.delete([1n, 9n])).toBe(1);
    expect(await store.delete([1n])).toBe(0);
    expect(store.list().held.map((each) => each.manifest.backup)).toEqual([2n]);
  });

  test("whose bytes have rotted is found out; one whose manifest has is named, the others stay", async () => {
    const dir = freshDirectory();
    mkdirSync(dir, { recursive: true });
    const store = storeIn(dir);
    await keep(store, 1n, long);
    await keep(store, 2n, short, 6n);
    const path = join(dir, "backups", "0000000000000001.db");
    const bytes = readFileSync(path);
    bytes[BACKUP_CHUNK_BYTES + 5]! ^= 1;
    writeFileSync(path, bytes);
    expect(await store.verify(store.list().held[1]!)).toBe("damaged");
    const manifest = join(dir, "backups", "0000000000000002.json");
    writeFileSync(manifest, readFileSync(manifest, "utf8").replace('"files": 3', '"files": 4'));
    const { held, damaged } = store.list();
    expect(held.map((each) => each.manifest.backup)).toEqual([1n]);
    expect(damaged).toHaveLength(1);
    expect(damaged[0]).toContain("0000000000000002.json");
  });
});

describe("a list of backups that are verified", () => {
  // Each that is read takes memory: with 32 at a time a data server grew to 324 MiB.
  test("is made one at a time, however many ask, and one that fails holds up nobody", async () => {
    let [reading, most, asked] = [0, 0, 0];
    class Watched extends BackupStore {
      override async verify(held: HeldBackup) {
        most = Math.max(most, ++reading);
        await Bun.sleep(1);
        reading--;
        if (++asked === 2) throw new DfsError("io", "cannot be read");
        return super.verify(held);
      }
    }
    const dir = freshDirectory();
    mkdirSync(dir, { recursive: true });
    const store = new Watched({
      disk: realDisk,
      dir,
      logger: silentLogger,
      room: () => Infinity,
    });
    await keep(store, 1n, short);
    const handlers = { forClients: new HandlerTable(), forService: new HandlerTable() };
    const served = { registered: async () => undefined } as unknown as ServedLog;
    const order = new CommandOrder(instanceId(1n));
    addBackupHandlers(handlers, { store, served, order, server: () => undefined });
    const listener = await listenFor({ handlers: handlers.forClients });
    const peer = await connectTo(listener.address);
    const outcomes = await Promise.allSettled(
      Array.from({ length: 8 }, () =>
        peer.request(backupList, { verify: true, backup: null }, { timeoutMs: 30_000 }),
      ),
    );
    expect(outcomes.filter(({ status }) => status === "rejected")).toHaveLength(1);
    for (const each of outcomes) {
      if (each.status !== "fulfilled") continue;
      expect(each.value.body.backups.map(({ state }) => state)).toEqual(["whole"]);
    }
    expect(most).toBe(1);
  });
});

describe("a manifest", () => {
  test("has the bytes that it had", () => {
    const held = described(0xb0n, long);
    const bytes = encodeManifest(held);
    if (process.env["DFS_UPDATE_GOLDEN"] === "1") {
      mkdirSync(join(GOLDEN, ".."), { recursive: true });
      writeFileSync(GOLDEN, bytes);
    }
    expect(new TextDecoder().decode(bytes)).toBe(readFileSync(GOLDEN, "utf8"));
    expect(decodeManifest(readFileSync(GOLDEN))).toEqual(held);
  });

  test("with any byte changed is damaged", () => {
    const bytes = encodeManifest(described(0xb0n, short));
    for (let at = 0; at < bytes.length; at++) {
      const changed = bytes.slice();
      changed[at]! ^= 2;
      let outcome = "as before";
      try {
        const { manifest } = decodeManifest(changed);
        if (manifest.backup !== 0xb0n || manifest.length !== short.length) outcome = "other";
      } catch {
        outcome = "damaged";
      }
      // White space between the fields is no content.
      if (outcome !== "damaged") expect([outcome, bytes[at]]).toEqual(["as before", 0x20]);
    }
  });
});
