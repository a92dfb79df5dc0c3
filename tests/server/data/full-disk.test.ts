// A data server on a file system that is full: a small one in a file, mounted through a loop device. Needs root.

import { afterEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { blockId } from "../../../src/base/ids.ts";
import { isDfsError } from "../../../src/base/errors.ts";
import { blockDelete, blockGet, dataStats } from "../../../src/protocol/messages/data.ts";
import type { Peer } from "../../../src/protocol/peer.ts";
import { makeBlock } from "../../log/blocks.ts";
import {
  cleanUp,
  callerOf,
  eventually,
  expectError,
  putBlock,
  ScriptedService,
  startData,
  TIMEOUT_MS,
} from "./support.ts";

const DISK_BYTES = 48 * 1024 * 1024;
const SEGMENT_BYTES = 1024 * 1024;
const BLOCK_BYTES = 60_000;
const timeoutMs = TIMEOUT_MS;

const undo: (() => void)[] = [];

afterEach(async () => {
  await cleanUp();
  for (const each of undo.splice(0).toReversed()) each();
});

function run(...command: string[]): void {
  const PATH = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`; // where Debian has mkfs
  const streams = { stdout: "ignore", stderr: "pipe" } as const;
  const { exitCode, stderr } = Bun.spawnSync(command, { ...streams, env: { PATH } });
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr.toString().trim()}`);
}

/** Mounts a fresh ext4 of `DISK_BYTES` and returns its mount point. */
function mountSmallDisk(): string {
  const folder = mkdtempSync(join(tmpdir(), "dfs-full-disk-"));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  const image = join(folder, "image");
  const mountPoint = join(folder, "mnt");
  writeFileSync(image, "");
  truncateSync(image, DISK_BYTES);
  mkdirSync(mountPoint);
  run("mkfs.ext4", "-q", "-m", "0", image);
  run("mount", "-o", "loop", image, mountPoint);
  undo.push(() => run("umount", mountPoint)); // the loop device goes with it
  return mountPoint;
}

/** Why there can be no small disk here; undefined when there can. */
function obstacle(): string | undefined {
  if (process.getuid?.() !== 0) return "only root can mount a file system";
  try {
    mountSmallDisk();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    for (const each of undo.splice(0).toReversed()) each();
  }
}

const missing = obstacle();
if (missing !== undefined) console.log(`skipped: a full disk (${missing})`);

async function isRight(peer: Peer, id: number): Promise<boolean> {
  const { block, length, bytes } = makeBlock(id, BLOCK_BYTES);
  const { bulk } = await peer.request(blockGet, { block, offset: 0, length }, { timeoutMs });
  return Buffer.compare(bulk, bytes) === 0;
}

/** Puts blocks from `from` on until the disk is full; returns the first that was refused. */
async function fill(peer: Peer, from: number): Promise<number> {
  for (let id = from; ; id++) {
    try {
      await putBlock(peer, makeBlock(id, BLOCK_BYTES));
    } catch (error) {
      if (!isDfsError(error, "noSpace")) throw error;
      return id;
    }
  }
}

test.skipIf(missing !== undefined).each([
  ["with the usual reserve of segments", undefined],
  ["with a reserve of one segment", SEGMENT_BYTES],
])(
  "%s: puts are refused, reads and deletions go on, compaction brings space back",
  async (_, reserveBytes) => {
    const service = await ScriptedService.start();
    const dir = join(mountSmallDisk(), "data");
    const options = { segmentBytes: SEGMENT_BYTES, reserveBytes };
    const server = await startData(service, dir, { identity: "new", ...options });
    const peer = await callerOf(server);
    const end = await fill(peer, 1);
    expect(end).toBeGreaterThan(300);
    await expectError("noSpace", putBlock(peer, makeBlock(end + 1, BLOCK_BYTES)));
    expect(await isRight(peer, 1)).toBe(true);
    expect(await isRight(peer, end - 1)).toBe(true);

    // Of each segment three blocks of four: none of them is dead as a whole.
    const dead = Array.from({ length: end - 1 }, (_, at) => at + 1).filter((id) => id % 4 !== 0);
    const { instance } = service.registrations.at(-1)!;
    const { body } = await service.member.request(
      blockDelete,
      {
        reign: service.reign,
        instance,
        number: 1n,
        blocks: dead.map((id) => blockId(BigInt(id))),
        ranges: [],
      },
      { timeoutMs },
    );
    expect(body.deleted).toBe(dead.length);
    await eventually("space has come back", async () => {
      const { body: stats } = await peer.request(dataStats, {}, { timeoutMs });
      return stats.segmentBytes < 2 * stats.blockBytes + 2 * SEGMENT_BYTES;
    });
    const again = await fill(peer, end);
    expect(again - end).toBeGreaterThan(dead.length / 2);
    for (let id = 4; id < end; id += 4) expect(await isRight(peer, id)).toBe(true);
    await server.stop();

    const reopened = await startData(service, dir, options);
    const reader = await callerOf(reopened);
    for (let id = 4; id < end; id += 4) expect(await isRight(reader, id)).toBe(true);
    for (let id = end; id < again; id++) expect(await isRight(reader, id)).toBe(true);
    await expectError("noBlock", isRight(reader, 1));
    await reopened.stop();
  },
);
