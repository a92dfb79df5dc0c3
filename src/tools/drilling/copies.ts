/**
 * Faults in copies: one, two or three copies of a block of every file are damaged, or lost behind the back of metadata, as
 * `dfs corrupt` does it. They need no process to be killed, so they can be played in a live cluster as well.
 */
import { DfsError, isDfsError } from "../../base/errors.ts";
import type { Random } from "../../base/random.ts";
import type { DfsClient, ExplainRow } from "../../client/api.ts";
import { shuffled } from "./cluster.ts";
import { inParallel } from "./parallel.ts";
import { blockKey, type Laid } from "./reading.ts";
import { type Fault, type Stage } from "./stage.ts";

const SEEDS = 2 ** 32;
const FAULTS_AT_ONCE = 8;
/** Repairs that make no progress for so long are given up. */
const PATIENCE_MS = 30_000;

export interface Target {
  readonly file: Laid["file"];
  readonly row: ExplainRow;
  /** Servers whose copies are hit. */
  readonly servers: readonly ExplainRow["replicas"][number]["server"][];
}

type Kind = "body" | "lose";

const NUMBERS = ["no", "one", "two", "three"];

/** Damages or loses `copies` copies of a block of every file. */
export function copyFault(kind: Kind, copies: number): Fault {
  const word = kind === "body" ? "rot" : "lose";
  const verb = { body: ["is damaged", "are damaged"], lose: ["vanishes", "vanish"] }[kind];
  const isAll = copies === 3;
  return {
    name: `${word}-${copies}`,
    summary: `${NUMBERS[copies]} of the copies of a block of each file ${verb[copies === 1 ? 0 : 1]}`,
    expected: isAll
      ? "EIO for these blocks, the rest right; whole when written again"
      : "everything right",
    ownCluster: false,
    async play(stage, laid) {
      const targets = chooseTargets(laid, copies, stage.random);
      await inject(stage, kind, targets);
      const lost = targets.filter(({ row, servers }) => servers.length === readable(row).length);
      const unreadable = new Set(lost.map(({ file, row }) => blockKey(file, row.offset)));
      return {
        unreadable,
        observed: `${targets.length} blocks hit`,
        heal: async () => {
          await writeAgain(stage, new Set(lost.map(({ file }) => file)));
          await mend(stage);
        },
      };
    },
  };
}

/** One block of each file that has any, at random, and some of its copies. */
export function chooseTargets(laid: readonly Laid[], copies: number, random: Random): Target[] {
  return laid
    .filter(({ rows }) => rows.length > 0)
    .map(({ file, rows }) => {
      const row = rows[random.below(rows.length)]!;
      const servers = readable(row);
      return { file, row, servers: shuffled(servers, random).slice(0, copies) };
    });
}

/** Servers whose copies of a block are read. */
export function readable({ replicas }: ExplainRow): Target["servers"] {
  return replicas.filter(({ state }) => state === "present").map(({ server }) => server);
}

/** Makes the faults. @throws DfsError `notPermitted` when a server does not allow them, saying what to do. */
export async function inject(stage: Stage, kind: Kind, targets: readonly Target[]): Promise<void> {
  const faults = targets.flatMap(({ row, servers }) =>
    servers.map((server) => ({ row, server, seed: stage.random.below(SEEDS) })),
  );
  await stage.connections.with((client) =>
    inParallel(faults, FAULTS_AT_ONCE, async ({ row, server, seed }) => {
      try {
        await client.injectFault(server, { block: row.block, fault: kind, seed });
      } catch (error) {
        if (!isDfsError(error, "notPermitted")) throw error;
        throw new DfsError(
          "notPermitted",
          `cannot damage copies on data server ${server}: it does not allow that\n` +
            "start the data servers with --allow-faults, or leave --scratch out for a cluster of the drill's own",
          { cause: error },
        );
      }
    }),
  );
}

/** Stores files again that have lost every copy of a block. */
export async function writeAgain(stage: Stage, lost: ReadonlySet<Laid["file"]>): Promise<void> {
  if (lost.size === 0) return;
  await stage.connections.with(async (client) => {
    for (const file of lost) await stage.files.put(client, file);
  });
}

/** Has fsck find and mend what is wrong with the drill's files. @throws DfsError `io` when it leaves errors. */
export function mend(stage: Stage): Promise<void> {
  return stage.connections.with(async (client) => {
    const left = await fsckErrors(client, stage, false);
    if (left.length === 0) return;
    throw new DfsError("io", `fsck could not mend ${left.length} errors: ${left[0]}`);
  });
}

/** The errors that fsck leaves in the drill's directory; all that there are when it only looks. */
export async function fsckErrors(
  client: DfsClient,
  { files, signal, own }: Stage,
  dryRun: boolean,
): Promise<string[]> {
  const errors: string[] = [];
  const options = { level: "full", dryRun, patienceMs: PATIENCE_MS, signal } as const;
  const path = own === undefined ? files.root : undefined;
  for await (const { findings } of client.fsck(path, options)) {
    for (const { outcome, kind, detail } of findings) {
      if (outcome === "left") errors.push(`${kind}: ${detail}`);
    }
  }
  return errors;
}
