/**
 * The newest backup of the metadata: is it on as many data servers as it should be, and does every chunk of it verify there?
 *
 * Backups are made while this looks. A look during which one was made is taken again, so nothing is told of a backup that was
 * merely not sent everywhere yet, or has just been followed by a newer one.
 */
import { backupName } from "../../../base/backup.ts";
import { messageOf } from "../../../base/errors.ts";
import type { ServerId } from "../../../base/ids.ts";
import type { Inspection } from "../backup/inspect.ts";
import { ask } from "../store/store.ts";
import type { Finding } from "./findings.ts";
import type { RunParts } from "./parts.ts";

/** Looks that are disturbed by backups being made; then that is told instead. */
const ATTEMPTS = 3;

/** What was found, and how many servers should hold the newest backup. */
interface Look extends Inspection {
  readonly wanted: number;
  readonly overdue: boolean;
  /** Servers that are not connected, are not out, and have not said what they hold: they may hold it. */
  readonly unknown: readonly ServerId[];
}

export class BackupsCheck {
  private readonly parts: RunParts;

  constructor(parts: RunParts) {
    this.parts = parts;
  }

  /** Resolves when the newest backup is as it should be, or what is wrong with it has been told. */
  async run(): Promise<void> {
    const { findings, counts, signal, dryRun } = this.parts;
    const look = await this.look();
    if (look === undefined || signal.aborted) return;
    await this.tellUnchecked(look);
    const found = findingsOf(look);
    counts.found += found.length;
    if (found.length === 0) return;
    if (dryRun) return findings.tell(found, "left");
    const why = await this.mend(look);
    if (why === undefined) return findings.tell(found, "corrected");
    const left = found.map((each) => ({ ...each, detail: `${each.detail}; ${why}` }));
    await findings.tell(left, "left");
  }

  /** Undefined when backups were made all the time, which is told. */
  private async look(): Promise<Look | undefined> {
    const { backups, level, findings } = this.parts;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      await backups.idle();
      const before = backups.begun;
      const inspection = await backups.inspect(level === "full");
      const { wanted, overdue } = await backups.status();
      const unknown = await this.unknownServers(inspection);
      if (backups.begun === before) return { ...inspection, wanted, overdue, unknown };
    }
    const detail = "backups of the metadata were made all the time: the newest was not checked";
    await findings.tell([{ kind: "unchecked", detail }], "note");
    return undefined;
  }

  private async unknownServers({ away }: Inspection): Promise<ServerId[]> {
    const { engine, members } = this.parts;
    const servers = await engine.question(() => ask("server.list"));
    return servers
      .filter(({ id, state }) => state !== "out" && !members.isConnected(id) && !away.includes(id))
      .map(({ id }) => id);
  }

  private async tellUnchecked(look: Look): Promise<void> {
    const { newest, silent, unknown, wanted } = look;
    if (newest === undefined) return;
    if (holdersOf(look).length < wanted) {
      for (const server of unknown) {
        const detail =
          "the server is away: whether it holds the newest backup of the metadata is not known";
        await this.parts.findings.tell([{ kind: "unchecked", server, detail }], "note");
      }
    }
    for (const { server, reason } of silent) {
      const detail = `the server does not tell its backups of the metadata (${reason})`;
      await this.parts.findings.tell([{ kind: "unchecked", server, detail }], "note");
    }
  }

  /** Returns why it could not be mended; undefined when it was. */
  private async mend(look: Look): Promise<string | undefined> {
    const { backups } = this.parts;
    try {
      await backups.mend(look);
    } catch (error) {
      return messageOf(error).split("\n", 1)[0];
    }
    const after = await this.look();
    if (after === undefined || findingsOf(after).length === 0) return undefined;
    return "it was sent again, and is still not as it should be";
  }
}

function findingsOf(look: Look): Finding[] {
  const { newest, bad, wanted, vanished, overdue, unknown } = look;
  if (vanished !== undefined) {
    const detail = `backup ${backupName(vanished.backup)} of the metadata, the newest, is on no data server any more`;
    return [{ kind: "missingBackup", detail }];
  }
  if (newest === undefined) {
    const detail = "no data server holds a backup of the metadata";
    return overdue ? [{ kind: "missingBackup", detail }] : [];
  }
  const name = `backup ${backupName(newest.backup)} of the metadata, the newest,`;
  const found: Finding[] = bad.map(({ server }) => ({
    kind: "damagedBackup",
    server,
    detail: `${name} is not on this server as it was written`,
  }));
  const servers = holdersOf(look);
  if (servers.length + unknown.length < wanted) {
    const where =
      servers.length === 0
        ? "no data server"
        : `data server${servers.length === 1 ? "" : "s"} ${servers.join(", ")} only`;
    found.push({
      kind: "missingBackup",
      detail: `${name} is on ${where}; ${wanted} should hold it`,
    });
  }
  return found;
}

/** The servers that hold the newest backup or, being away, held it: damaged or not, in order of id. */
function holdersOf({ good, bad, away }: Inspection): ServerId[] {
  return [
    ...good.map(({ server }) => server),
    ...bad.map(({ server }) => server),
    ...away,
  ].toSorted((one, other) => one - other);
}
