/**
 * "Whole again": every block of the drill's files has as many copies as it should have on servers that are up, and each copy
 * was read on its own server and is right.
 */
import { DfsError } from "../../base/errors.ts";
import type { DfsClient, ExplainRow } from "../../client/api.ts";
import { layoutOf } from "./reading.ts";
import { inParallel } from "./parallel.ts";
import type { DrillFile } from "./files.ts";

const LOOK_EVERY_MS = 50;
const CHECKS_AT_ONCE = 16;

export interface Healing {
  readonly client: DfsClient;
  readonly files: readonly DrillFile[];
  readonly signal: AbortSignal;
  /** For how long to wait. */
  readonly patienceMs: number;
}

/** Waits until all files are whole. @throws DfsError `timeout` with what is still lacking. */
export async function untilWhole({ client, files, signal, patienceMs }: Healing): Promise<void> {
  const order = [...files];
  await waitFor("three verified copies of everything", { signal, patienceMs }, async () => {
    for (const [index, file] of order.entries()) {
      const lack = await lackOf(client, file);
      if (lack === undefined) continue;
      order.unshift(...order.splice(index, 1)); // it is looked at first the next time
      return lack;
    }
    return undefined;
  });
}

/** What a file lacks of its verified copies; undefined when it has all. */
async function lackOf(client: DfsClient, file: DrillFile): Promise<string | undefined> {
  const laid = await layoutOf(client, [file]);
  const rows = laid.flatMap((each) => each.rows);
  const thin = rows.find((row) => upCopies(row).length < client.replicas);
  if (thin !== undefined) return `block ${thin.block} has copies on ${copiesText(thin)}`;
  const bad = await inParallel(rows, CHECKS_AT_ONCE, (row) => badCopy(client, row));
  return bad.find((each) => each !== undefined);
}

/**
 * Waits until the service of a cluster that nobody else uses has nothing left to repair, and no block has a copy too many.
 * @throws DfsError `timeout` with what is still to be done.
 */
export async function untilQuiet({ client, files, signal, patienceMs }: Healing): Promise<void> {
  await waitFor("nothing left to repair", { signal, patienceMs }, async () => {
    const [{ repair, missingCopies }, servers] = await Promise.all([
      client.status(),
      client.servers(),
    ]);
    const away = servers.find(({ state }) => state !== "up");
    if (away !== undefined) return `data server ${away.server} is ${away.state}`;
    const left = repair?.queue.map(({ urgency, blocks }) => `${blocks} of urgency ${urgency}`);
    if (missingCopies > 0 || (left?.length ?? 0) > 0) {
      return `${missingCopies} copies are missing; blocks on record for repair: ${left?.join(", ")}`;
    }
    const { copying = 0, suspects = 0 } = repair ?? {};
    if (copying + suspects > 0) return `${copying} being copied, ${suspects} in doubt`;
    const rows = (await layoutOf(client, files)).flatMap((each) => each.rows);
    const odd = rows.find(({ replicas }) => replicas.length !== client.replicas);
    return odd === undefined ? undefined : `block ${odd.block} has copies on ${copiesText(odd)}`;
  });
}

/** Looks until `lacking` finds nothing. @throws DfsError `timeout` with what it found last; the signal's reason. */
async function waitFor(
  what: string,
  { signal, patienceMs }: Pick<Healing, "signal" | "patienceMs">,
  lacking: () => Promise<string | undefined>,
): Promise<void> {
  const end = performance.now() + patienceMs;
  for (;;) {
    signal.throwIfAborted();
    const lack = await lacking();
    if (lack === undefined) return;
    if (performance.now() > end) {
      throw new DfsError("timeout", `no ${what} after ${patienceMs / 1000} s: ${lack}`);
    }
    await Bun.sleep(LOOK_EVERY_MS);
  }
}

function upCopies({ replicas }: ExplainRow): ExplainRow["replicas"] {
  return replicas.filter(({ state, serverState }) => state === "present" && serverState === "up");
}

async function badCopy(client: DfsClient, row: ExplainRow): Promise<string | undefined> {
  const servers = upCopies(row).map(({ server }) => server);
  const votes = await client.checkCopies(row, servers);
  const bad = votes.find(({ state }) => state !== "right");
  if (bad === undefined) return undefined;
  return `the copy of block ${row.block} on server ${bad.server} is ${bad.state}: ${bad.reason}`;
}

function copiesText({ replicas }: ExplainRow): string {
  const texts = replicas.map(({ server, state, serverState }) =>
    serverState === "up" ? `${server} (${state})` : `${server} (${state}, server ${serverState})`,
  );
  return texts.length === 0 ? "no server" : texts.join(", ");
}
