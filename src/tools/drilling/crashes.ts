/**
 * Faults of data servers: they are killed with SIGKILL, stay away for longer than the out-delay, lose their disk.
 */
import { DfsError, messageOf } from "../../base/errors.ts";
import { chooseTargets, inject, mend, readable } from "./copies.ts";
import type { DrillServer } from "./cluster.ts";
import { blockKey, pathText, type Laid } from "./reading.ts";
import { ownCluster, type Fault, type Stage } from "./stage.ts";

/** A write that must not be acknowledged is given up after so long. */
const REFUSAL_MS = 1_000;

const NUMBERS = ["no", "one", "two", "three"];

/** Kills data servers, and starts them again after a while. */
export function crashFault(count: number): Fault {
  const isMost = count === 3;
  return {
    name: `crash-${count}`,
    summary: `${NUMBERS[count]} data ${count === 1 ? "server is" : "servers are"} killed, and later started again`,
    expected: isMost
      ? "EIO where all copies are away, the rest right; no write succeeds"
      : "everything right; a file is stored meanwhile",
    ownCluster: true,
    async play(stage, laid) {
      const cluster = ownCluster(stage);
      const victims = cluster.some(count, stage.random);
      await cluster.crash(victims);
      const left = cluster.servers.length - victims.length;
      return {
        unreadable: unreachable(laid, victims),
        observed: `${names(victims)} killed`,
        meanwhile: () => (left < 2 ? mustNotStore(stage) : storeOne(stage)),
        heal: () => cluster.startMissing(),
      };
    },
  };
}

/** One copy of a block of every file is damaged, and a server that has another one is killed. */
export const crashAndRot: Fault = {
  name: "crash-and-rot",
  summary:
    "one data server is killed, and one copy of a block of each file on another one is damaged",
  expected: "everything right; a file is stored meanwhile",
  ownCluster: true,
  async play(stage, laid) {
    const cluster = ownCluster(stage);
    const [victim] = cluster.some(1, stage.random);
    const onOthers = laid.map(({ file, rows }) => ({
      file,
      rows: rows.map((row) => ({
        ...row,
        replicas: row.replicas.filter(({ server }) => server !== victim!.id),
      })),
    }));
    const targets = chooseTargets(onOthers, 1, stage.random);
    await inject(stage, "body", targets);
    await cluster.crash([victim!]);
    return {
      unreadable: new Set(),
      observed: `${names([victim!])} killed, ${targets.length} blocks hit`,
      meanwhile: () => storeOne(stage),
      heal: async () => {
        await cluster.startMissing();
        await mend(stage);
      },
    };
  },
};

/** A server stays away until the others have what it had. */
export const goneFault: Fault = {
  name: "gone",
  summary: "one data server is killed and does not come back until the others have its copies",
  expected: "everything right; three copies without it",
  ownCluster: true,
  servers: 4,
  async play(stage) {
    const cluster = ownCluster(stage);
    const victims = cluster.some(1, stage.random);
    await cluster.crash(victims);
    return {
      unreadable: new Set(),
      observed: `${names(victims)} killed`,
      heal: () => Promise.resolve(), // nobody does anything: that is the point
      after: () => cluster.startMissing(),
    };
  },
};

/** A server loses its disk and is started again with nothing. */
export const diskFault: Fault = {
  name: "disk",
  summary: "one data server is killed and loses its disk; it is started with --recover",
  expected: "everything right; a file is stored meanwhile",
  ownCluster: true,
  async play(stage) {
    const cluster = ownCluster(stage);
    const [victim] = cluster.some(1, stage.random);
    await cluster.crash([victim!]);
    cluster.loseDisk(victim!);
    return {
      unreadable: new Set(),
      observed: `disk of ${names([victim!])} lost`,
      meanwhile: () => storeOne(stage),
      heal: () => cluster.recover(victim!),
    };
  },
};

/** Blocks whose copies are all on these servers. */
function unreachable(laid: readonly Laid[], away: readonly DrillServer[]): Set<string> {
  const ids = new Set(away.map(({ id }) => id));
  return new Set(
    laid.flatMap(({ file, rows }) =>
      rows
        .filter((row) => readable(row).every((server) => ids.has(server)))
        .map(({ offset }) => blockKey(file, offset)),
    ),
  );
}

async function storeOne(stage: Stage): Promise<string> {
  await stage.connections.with((client) =>
    stage.files.put(client, stage.files.another(stage.random)),
  );
  return "a file stored";
}

/** Tries to store a file when too few servers are left. @throws DfsError when that succeeds, or leaves a name behind. */
async function mustNotStore(stage: Stage): Promise<string> {
  const file = stage.files.another(stage.random);
  const path = pathText(file);
  const store = async (): Promise<void> =>
    stage.connections.with(
      async (client) => {
        const refusal = await client
          .put(file.path, [new Uint8Array(1)], { mode: 0o600, uid: 0, gid: 0, keepReplaced: false })
          .then(() => undefined, messageOf);
        if (refusal !== undefined) return;
        throw new DfsError(
          "io",
          `${path} was acknowledged with fewer servers than the write quorum`,
        );
      },
      { retryTimeoutMs: REFUSAL_MS },
    );
  await store();
  await stage.connections.with(async (client) => {
    const found = await client.stat(file.path).then(
      () => true,
      () => false,
    );
    if (found) throw new DfsError("io", `${path} is there although its writing was refused`);
  });
  return "a write refused";
}

function names(servers: readonly DrillServer[]): string {
  const ids = servers.map(({ id }) => id).toSorted((one, other) => one - other);
  return `data server${ids.length === 1 ? "" : "s"} ${ids.join(", ")}`;
}
