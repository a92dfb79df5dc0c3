// Copies that are ended while they are being written: nobody is told that they have ended before it is known whether they did.

import { afterEach, expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { serverId } from "../../../src/base/ids.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { systemRandom } from "../../../src/base/random.ts";
import { tcpTransport } from "../../../src/protocol/transports/tcp.ts";
import { Replication } from "../../../src/server/data/replication.ts";
import { FaultDisk } from "../../log/fault-disk.ts";
import { cleanUp, idsOf, makeBlock, openTestLog, temporaryFolder } from "../../log/support.ts";
import { cleanUpRigs, Rig, sourceOf } from "./copy-rig.ts";
import { eventually, identityOf, putBlock } from "./support.ts";

afterEach(cleanUpRigs);
afterEach(cleanUp);

const blocks = [1, 2, 3].map((id) => makeBlock(id, 1000));

/** A log whose syncs wait, into which blocks are being copied. */
async function storing() {
  const rig = await Rig.start();
  const from = await rig.add();
  for (const block of blocks) await putBlock(from.caller, block);
  const disk = new FaultDisk();
  const { log } = await openTestLog(temporaryFolder(), { disk });
  const replication = new Replication({
    identity: () => identityOf("data", { server: serverId(98) }),
    transport: tcpTransport(systemClock),
    key: undefined,
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
  });
  disk.holdSyncs = true;
  const rows = blocks.map((block) => ({ ...block, source: 0 }));
  const copying = replication.copyMany(log, { sources: [sourceOf(from)], blocks: rows });
  await eventually("they are being synced", () => disk.syncsHeld === 1);
  return { disk, log, replication, copying };
}

test.each(["all", "some"])(
  "who ends %s of a batch waits for those that are being stored",
  async (which) => {
    const { disk, log, replication, copying } = await storing();
    let ended = false;
    const ending = which === "all" ? replication.endAll() : replication.end([blocks[1]!.block]);
    const seen = ending.finally(() => (ended = true));
    await Bun.sleep(20);
    expect(ended).toBe(false);
    disk.holdSyncs = false;
    disk.releaseSyncs();
    await seen;
    expect(idsOf(log)).toContain(2);
    expect(await copying).toEqual(["stored", "stored", "stored"]);
    await replication.close();
  },
);

test("a sync that fails stores none of a batch, and leaves none under way", async () => {
  const { disk, log, replication, copying } = await storing();
  disk.syncErrors = ["EIO"];
  disk.holdSyncs = false;
  disk.releaseSyncs();
  expect(await copying).toEqual(["notStored", "notStored", "notStored"]);
  await replication.endAll();
  expect(idsOf(log)).toEqual([]);
  await replication.close();
});
