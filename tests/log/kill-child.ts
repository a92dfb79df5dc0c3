// A process with a log that is going to be killed. Sixteen writers put blocks and delete some of them, and every
// acknowledgement is a line on standard output, written at once:
//
//     put ID        the put of block ID was acknowledged
//     deleting ID   a deletion is about to be asked for
//     deleted ID    it was acknowledged
//
// Arguments: the directory, the first id to use, a seed.

import { writeSync } from "node:fs";
import { realDisk } from "../../src/base/disk.ts";
import { blockId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { seededRandom, systemRandom } from "../../src/base/random.ts";
import { openLog } from "../../src/log/log.ts";
import { killedBlock, KILL_SEGMENT_BYTES } from "./blocks.ts";
import { CLUSTER, SERVER } from "./identity.ts";

const [directory, firstId, seed] = process.argv.slice(2);
const random = seededRandom(Number(seed));
let nextId = Number(firstId);

const log = await openLog({
  disk: realDisk,
  directory: directory!,
  cluster: CLUSTER,
  server: SERVER,
  random: systemRandom,
  logger: silentLogger,
  reporter: { report: ({ kind }) => say(`damage ${kind}`) },
  reserveBytes: 0,
  segmentBytes: KILL_SEGMENT_BYTES,
});

function say(line: string): void {
  writeSync(1, `${line}\n`);
}

async function writer(): Promise<never> {
  for (;;) {
    const id = nextId++;
    await log.put(killedBlock(id));
    say(`put ${id}`);
    if (random.below(3) > 0) continue;
    say(`deleting ${id}`);
    await log.delete([blockId(BigInt(id))]);
    say(`deleted ${id}`);
  }
}

await Promise.all(Array.from({ length: 16 }, writer));
