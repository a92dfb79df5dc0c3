/**
 * The names of a run: first those that are wrong, then what has no path; each is looked for when the former have been mended.
 * What that leaves of wrong link counts is found after it, with all others.
 */
import { inodeId, type InodeId } from "../../../base/ids.ts";
import { MOST_OF_A_CHECK } from "../store/sqlite/checks.ts";
import type { FaultyName, Stray } from "../store/sqlite/names.ts";
import type { Operation } from "../store/store.ts";
import type { Finding, Findings } from "./findings.ts";
import { mendName, reunite, type MendContext } from "./name-steps.ts";
import { mendNamespace, type RunParts } from "./parts.ts";

/** Transactions under way: they share syncs. */
const AT_ONCE = 64;

/** Finds wrong names and inodes without a path, mends them unless the run only looks, and tells of them. */
export async function checkNames(parts: RunParts): Promise<void> {
  const { record, top, isRecovering } = parts;
  const names = await record.ask({ kind: "names", inode: top });
  await settle(parts, names, nameFinding, mendName);
  if (top !== undefined) return; // what has no path is not below one
  await settle(parts, await record.ask({ kind: "strays" }), strayFinding, reunite);
  // As long as sessions may still say what they have open, nobody knows what is left over.
  if (isRecovering()) return;
  const left = await record.ask({ kind: "leftovers" });
  if (!isRecovering()) await settle(parts, left, strayFinding, reunite);
}

/** Of one kind there may be more than were told. */
export async function tellIfMany(findings: Findings, found: number): Promise<void> {
  if (found < MOST_OF_A_CHECK) return;
  const detail = `more than ${MOST_OF_A_CHECK} findings may be of one kind: those behind them were not looked at`;
  await findings.tell([{ kind: "unchecked", detail }], "note");
}

async function settle<Found>(
  parts: RunParts,
  found: readonly Found[],
  findingOf: (found: Found) => Finding,
  mend: (context: MendContext, found: Found) => Operation<boolean>,
): Promise<void> {
  const { engine, findings, counts, dryRun, signal } = parts;
  const scoped = findings.inScope(found.map((raw) => ({ ...findingOf(raw), raw })));
  counts.found += scoped.length;
  const nextInode = (): InodeId => engine.idSource.nextInode();
  const mendOne = (raw: Found): Promise<boolean> =>
    mendNamespace(parts, () => mend({ nowNs: engine.nowNs, nextInode }, raw));
  for (let at = 0; at < scoped.length && !signal.aborted; at += AT_ONCE) {
    const page = scoped.slice(at, at + AT_ONCE);
    const isMended = dryRun
      ? page.map(() => false)
      : await Promise.all(page.map(({ raw }) => mendOne(raw)));
    const those = (mended: boolean): Finding[] =>
      page.filter((_, index) => isMended[index] === mended).map(({ raw }) => findingOf(raw));
    await findings.tell(those(true), "corrected");
    await findings.tell(those(false), "left");
  }
  await tellIfMany(findings, found.length);
}

function nameFinding({ parent, name, detail }: FaultyName): Finding {
  return { kind: "danglingName", inode: inodeId(parent), name, detail };
}

function strayFinding({ id, detail }: Stray): Finding {
  return { kind: "unreachableInode", inode: inodeId(id), detail };
}
