/**
 * The copies on all data servers at a time, and what cannot be checked because a server is away.
 */
import { sleep } from "../../../base/clock.ts";
import { isDfsError, messageOf } from "../../../base/errors.ts";
import { blockId } from "../../../base/ids.ts";
import type { Member } from "../members.ts";
import { ask } from "../store/store.ts";
import { CopyCheck } from "./copies.ts";
import type { Mending } from "./mending.ts";
import type { RunParts } from "./parts.ts";

/** How often a server is tried that goes away again and again. */
const ATTEMPTS = 5;

/** After a start of the service, or when one has gone away, data servers are waited for, for so long. */
const SETTLE_MS = 5_000;
const SETTLE_INTERVAL_MS = 50;

/** Blocks without a copy within reach, in one page. */
const PAGE = 256;

export class ServersCheck {
  private readonly parts: RunParts;
  private readonly mending: Mending;

  constructor(parts: RunParts, mending: Mending) {
    this.parts = parts;
    this.mending = mending;
  }

  /** Resolves when everything on record has been checked on the servers that can be asked. */
  async run(): Promise<void> {
    const { counts, record, blocks } = this.parts;
    const members = await this.settledMembers();
    const servers = members.map(({ server }) => server);
    const total = await record.ask({ kind: "copies", servers, blocks });
    counts.totalCopies = total.copies;
    counts.totalBytes = total.bytes;
    counts.phase = "copies";
    await this.tellUnchecked(servers);
    await Promise.all(members.map((member) => this.checkServer(member)));
  }

  /** A server that goes away meanwhile is waited for a little, and told of; the run goes on with the others. */
  private async checkServer(first: Member): Promise<void> {
    const { findings, signal } = this.parts;
    const check = new CopyCheck(this.parts, this.mending, first);
    let member: Member | undefined = first;
    for (let attempt = 1; member !== undefined; attempt++) {
      try {
        return await check.run(member);
      } catch (error) {
        if (signal.aborted) return;
        if (!isOfServer(error)) throw error;
        const { server }: Member = member;
        member = attempt < ATTEMPTS ? await this.returned(member) : undefined;
        if (member !== undefined) continue;
        const detail = `the server went away or did not answer: not all of its copies were checked (${messageOf(error)})`;
        await findings.tell([{ kind: "unchecked", server, detail }], "note");
      }
    }
  }

  /** The server on a new connection, as soon as it has been compared with the record. */
  private async returned({ server, peer }: Member): Promise<Member | undefined> {
    const { members, clock, signal } = this.parts;
    const untilMs = clock.monotonicMs() + SETTLE_MS;
    while (clock.monotonicMs() < untilMs && !signal.aborted) {
      const member = members.settled().find((each) => each.server === server);
      if (member !== undefined && member.peer !== peer) return member;
      await sleep(clock, SETTLE_INTERVAL_MS);
    }
    return undefined;
  }

  /** Waits a little for servers that are up and have not been compared with the record yet. */
  private async settledMembers(): Promise<readonly Member[]> {
    const { engine, members, clock, signal } = this.parts;
    const untilMs = clock.monotonicMs() + SETTLE_MS;
    const up = (await engine.question(() => ask("server.list"))).filter(
      ({ state }) => state === "up" || state === "suspect" || state === "draining",
    );
    for (;;) {
      const settled = members.settled();
      const complete = up.every(({ id }) => settled.some(({ server }) => server === id));
      if (complete || clock.monotonicMs() > untilMs || signal.aborted) return settled;
      await sleep(clock, SETTLE_INTERVAL_MS);
    }
  }

  /** Servers that cannot be asked, and blocks that have copies on no others. */
  private async tellUnchecked(servers: readonly number[]): Promise<void> {
    const { engine, record, findings, counts, blocks } = this.parts;
    const all = await engine.question(() => ask("server.list"));
    const absent = all.filter(({ id }) => !servers.includes(id));
    if (absent.length === 0) return;
    for (const { id: server, state } of absent) {
      const copies =
        blocks === undefined
          ? await engine.question(() => ask("replica.countByServer", server))
          : (await record.ask({ kind: "copies", servers: [server], blocks })).copies;
      if (copies === 0) continue;
      const word = state === "up" ? "not connected" : state;
      const detail = `the server is ${word}: its ${copies} copies were not checked`;
      await findings.tell([{ kind: "unchecked", server, detail }], "note");
    }
    for await (const page of this.pagesWithoutCopy(servers)) {
      const detail = "no copy that counts is on a server that can be reached";
      const lost = findings.inScope(
        page.map((id) => ({ kind: "unavailableBlock", block: blockId(id), detail }) as const),
      );
      counts.found += lost.length;
      await findings.tell(lost, "left");
    }
  }

  /** Blocks of the run that have no copy on these servers. */
  private async *pagesWithoutCopy(
    servers: readonly number[],
  ): AsyncGenerator<readonly bigint[], void> {
    const { record, blocks, signal } = this.parts;
    if (blocks !== undefined) {
      for (let at = 0; at < blocks.length && !signal.aborted; at += PAGE) {
        const part = blocks.slice(at, at + PAGE);
        yield await record.ask({ kind: "withoutCopyAmong", blocks: part, servers });
      }
      return;
    }
    for (let after = 0n, more = true; more && !signal.aborted;) {
      const page = await record.ask({ kind: "withoutCopy", after, servers, limit: PAGE });
      yield page;
      more = page.length === PAGE;
      after = page.at(-1) ?? after;
    }
  }
}

/** What a request to a data server fails with when it has gone or cannot do it. */
function isOfServer(error: unknown): boolean {
  return (
    isDfsError(error, "unreachable") ||
    isDfsError(error, "timeout") ||
    isDfsError(error, "cancelled")
  );
}
