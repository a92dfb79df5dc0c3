// Compares the copies that data servers hold with those that metadata has on record, in the files of servers that have
// ended: the question of what `status` says cannot be put to `status`.

import { Database } from "bun:sqlite";
import { join } from "node:path";
import { realDisk } from "../../src/base/disk.ts";
import { blockId, clusterId, serverId, type ServerId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { systemRandom } from "../../src/base/random.ts";
import { describeCorruption } from "../../src/log/corruption.ts";
import { openLog, type BlockInfo } from "../../src/log/log.ts";

/** A server's id and its directory. */
export interface EndedServer {
  readonly server: number;
  readonly dir: string;
}

/** What does not fit together; copies are named "block server". */
export interface CopyDifferences {
  /** Live blocks without a single copy that is on record and held. */
  readonly lost: string[];
  /** Copies on record as present that the server does not hold so, and damage in its files. */
  readonly lacking: string[];
  /** Blocks with too few good copies, and no record of that. */
  readonly unnoticed: string[];
  /** Copies held and not on record: late ones. */
  readonly unrecorded: string[];
}

interface PresentRow {
  readonly block: bigint;
  readonly server: bigint;
  readonly length: bigint;
  readonly checksum: bigint;
}

/** What metadata has on record. */
interface Record {
  readonly cluster: string;
  readonly replicas: number;
  readonly live: readonly bigint[];
  readonly missing: ReadonlyMap<bigint, number>;
  readonly present: ReadonlyMap<string, PresentRow>;
}

/** Compares the directory of a metadata server with those of all data servers. */
export async function copyDifferences(
  metaDir: string,
  servers: readonly EndedServer[],
): Promise<CopyDifferences> {
  const record = recordIn(metaDir);
  const found: CopyDifferences = { lost: [], lacking: [], unnoticed: [], unrecorded: [] };
  const confirmed = new Set<string>();
  const good = new Map<bigint, number>();
  for (const { server, dir } of servers) {
    const blocks = await heldBlocks(record.cluster, server, dir, found.lacking);
    for (const { block, length, checksum } of blocks) {
      const key = `${block} ${server}`;
      const row = record.present.get(key);
      if (row === undefined) found.unrecorded.push(key);
      if (row?.length !== BigInt(length) || row.checksum !== BigInt.asIntN(64, checksum)) continue;
      confirmed.add(key);
      good.set(block, (good.get(block) ?? 0) + 1);
    }
  }
  found.lacking.push(...[...record.present.keys()].filter((key) => !confirmed.has(key)));
  for (const block of record.live) {
    const copies = good.get(block) ?? 0;
    if (copies === 0) found.lost.push(String(block));
    if (copies + (record.missing.get(block) ?? 0) < record.replicas) {
      found.unnoticed.push(String(block));
    }
  }
  return found;
}

function recordIn(metaDir: string): Record {
  const database = new Database(join(metaDir, "meta.db"), { safeIntegers: true });
  const all = <Row>(sql: string): Row[] => database.query<Row, []>(sql).all();
  const settings = new Map(
    all<{ key: string; value: string }>("SELECT key, value FROM meta").map((row) => [
      row.key,
      row.value,
    ]),
  );
  const repairs = all<{ block: bigint; missing: bigint }>("SELECT block, missing FROM repairs");
  const present = all<PresentRow>(
    "SELECT block, server, length, checksum FROM replicas JOIN blocks ON id = block " +
      "WHERE replicas.state = 1 AND blocks.state = 0",
  );
  const live = all<{ id: bigint }>("SELECT id FROM blocks WHERE state = 0").map(({ id }) => id);
  database.close();
  return {
    cluster: settings.get("cluster")!,
    replicas: Number(settings.get("replicas")),
    live,
    missing: new Map(repairs.map(({ block, missing }) => [block, Number(missing)])),
    present: new Map(present.map((row) => [`${row.block} ${row.server}`, row])),
  };
}

async function heldBlocks(
  cluster: string,
  server: number,
  dir: string,
  damage: string[],
): Promise<BlockInfo[]> {
  const id: ServerId = serverId(server);
  const log = await openLog({
    disk: realDisk,
    directory: join(dir, "log"),
    cluster: clusterId(cluster),
    server: id,
    random: systemRandom,
    logger: silentLogger,
    reporter: { report: (found) => void damage.push(`${server}: ${describeCorruption(found)}`) },
  });
  const { blocks } = log.list(blockId(0n), Number.MAX_SAFE_INTEGER);
  await log.close();
  return blocks;
}
