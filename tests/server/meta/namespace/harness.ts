/**
 * A metadata store with four servers and a placement table, and operations run against it as the service would: changes
 * once, in a transaction of their own, through a synchronous or an asynchronous driver.
 */
import { incarnationId, instanceId, serverId, sessionId } from "../../../../src/base/ids.ts";
import { blockId, inodeId, type SessionId } from "../../../../src/base/ids.ts";
import { PLACEMENT_GROUPS } from "../../../../src/base/limits.ts";
import { encodeRows } from "../../../../src/base/placement.ts";
import { OperationNumbers } from "../../../../src/client/operations.ts";
import type { MutationHead, RequestDefinition } from "../../../../src/protocol/message.ts";
import type { ClusterSettings } from "../../../../src/protocol/messages/common.ts";
import type {
  Body,
  Done,
  OperationContext,
} from "../../../../src/server/meta/namespace/context.ts";
import {
  CutPending,
  cutStep,
  endSession,
  executeOnce,
  formatNamespace,
  reclaimStep,
} from "../../../../src/server/meta/namespace/operations.ts";
import {
  createSqliteStore,
  type SqliteStore,
} from "../../../../src/server/meta/store/sqlite/store.ts";
import {
  runAsync,
  runSync,
  type AsyncPrimitives,
  type Operation,
  type Primitives,
} from "../../../../src/server/meta/store/store.ts";

export const SERVERS = [1, 2, 3, 4].map((each) => serverId(each));

/** How a server can be as far as copies are concerned, for tests that draw lots: most often up. */
export const STANDINGS = [
  {},
  {},
  { filling: true },
  { state: "down" },
  { state: "draining" },
  { state: "out" },
  { state: "out", filling: true },
] as const;

export interface HarnessOptions {
  /** Where the database is; in memory by default. */
  readonly path?: string;
  /** Drive operations with `runAsync` over promises. */
  readonly async?: boolean;
  readonly blockSize?: number;
}

type Change<Definition> = (
  context: OperationContext,
  body: Body<Definition>,
) => Operation<Done<Definition>>;

export type Question<Request, Reply> = (
  context: OperationContext,
  body: Request,
) => Operation<Reply>;

export class Harness {
  readonly store: SqliteStore;
  readonly settings: ClusterSettings;
  /** The service's clock; each operation moves it on by a microsecond unless `frozen`. */
  nowNs = 1_000_000_000_000n;
  frozen = false;
  readonly #runSafely: <T>(operation: Operation<T>) => Promise<T>;
  #nextInode = 2n;
  #nextBlock = 1n;
  #nextSession = 1n;

  constructor(options: HarnessOptions = {}) {
    this.store = createSqliteStore(options.path ?? ":memory:");
    this.settings = {
      cluster: new Uint8Array(16),
      blockSize: options.blockSize ?? 8,
      replicas: 3,
      writeQuorum: 2,
      readQuorum: 1,
    };
    this.#runSafely = options.async ? asyncDriver(this.store) : syncDriver(this.store);
    this.store.transaction(() => this.#prepare());
  }

  get primitives(): Primitives {
    return this.store.primitives;
  }

  /** Runs any operation in a transaction. */
  run<T>(operation: Operation<T>): Promise<T> {
    return this.#runSafely(operation);
  }

  async openSession(): Promise<TestSession> {
    const id = sessionId(this.#nextSession++);
    this.store.transaction(() =>
      this.primitives["session.insert"]({
        id,
        token: 0xffff_ffff_ffff_fff0n,
        label: `test session ${id}`,
        state: "live",
        openedNs: this.nowNs,
        endedNs: undefined,
        acknowledged: 0n,
      }),
    );
    return new TestSession(this, id);
  }

  context(session: SessionId): OperationContext {
    if (!this.frozen) this.nowNs += 1_000n;
    return {
      session,
      nowNs: this.nowNs,
      settings: this.settings,
      ids: {
        nextInode: () => inodeId(this.#nextInode++),
        nextBlocks: (count) => {
          const first = blockId(this.#nextBlock);
          this.#nextBlock += BigInt(count);
          return first;
        },
      },
    };
  }

  /** Works off the reclaim queue, a few extents at a time. */
  async reclaimAll(limit = 5): Promise<void> {
    for (;;) {
      const step = await this.run(reclaimStep({ nowNs: this.nowNs }, limit));
      if (!step.more) return;
    }
  }

  close(): void {
    this.store.close();
  }

  #prepare(): void {
    runSync(this.primitives, formatNamespace(this.nowNs));
    for (const id of SERVERS) {
      this.primitives["server.put"]({
        id,
        incarnation: incarnationId(1n),
        instance: instanceId(1n),
        address: `127.0.0.1:${4000 + id}`,
        zone: `zone ${id}`,
        tags: [],
        state: "up",
        filling: false,
        registeredNs: this.nowNs,
      });
    }
    const rows = Array.from({ length: PLACEMENT_GROUPS }, (_, group) =>
      [0, 1, 2].map((rank) => serverId(((group + rank) % SERVERS.length) + 1)),
    );
    const table = { version: 1n, width: 3, rows };
    this.primitives["placement.put"]({ version: 1n, width: 3, rows: encodeRows(table) });
  }
}

/** A session whose changes carry operation numbers, as a client's do. */
export class TestSession {
  readonly harness: Harness;
  readonly id: SessionId;
  readonly #numbers = new OperationNumbers();

  constructor(harness: Harness, id: SessionId) {
    this.harness = harness;
    this.id = id;
  }

  /** Executes a change once, and once more as a retry, which must find the same reply. */
  async change<Definition>(
    definition: Definition,
    operation: Change<Definition>,
    body: Body<Definition>,
  ): Promise<Done<Definition>> {
    const { acknowledged } = this.#numbers;
    const head = { operation: this.#numbers.next(), acknowledged };
    try {
      return await this.#executeTwice(head, definition, operation, body);
    } finally {
      this.#numbers.settle(head.operation);
    }
  }

  async #executeTwice<Definition>(
    head: MutationHead,
    definition: Definition,
    operation: Change<Definition>,
    body: Body<Definition>,
  ): Promise<Done<Definition>> {
    const context = this.harness.context(this.id);
    const execute = (): Promise<Done<Definition>> =>
      this.harness.run(
        // oxlint-disable-next-line no-explicit-any -- every mutation's reply begins with the log position
        executeOnce(context, head, definition as RequestDefinition<any, any>, () =>
          operation(context, body),
        ) as Operation<Done<Definition>>,
      );
    const reply = await this.#behindCuts(execute);
    const repeated = await execute();
    const { lsn: _lsn, ...stored } = repeated as Done<Definition> & { readonly lsn?: bigint };
    if (!Bun.deepEquals(stored, reply)) {
      throw new Error(`a retried operation was answered with ${show(stored)}, not ${show(reply)}`);
    }
    return reply;
  }

  /** As the service does it: what would make a file grow over extents that were cut off waits until they are gone. */
  async #behindCuts<T>(run: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await run();
      } catch (error) {
        if (!(error instanceof CutPending)) throw error;
        await this.harness.run(cutStep(this.harness.context(this.id), error.inode));
      }
    }
  }

  /** Asks a question. */
  ask<Request, Reply>(operation: Question<Request, Reply>, body: Request): Promise<Reply> {
    return this.harness.run(operation(this.harness.context(this.id), body));
  }

  end(): Promise<void> {
    return this.harness.run(endSession({ nowNs: this.harness.nowNs }, this.id, "closed"));
  }
}

function show(value: unknown): string {
  return Bun.inspect(value, { depth: 4 });
}

type Run = <T>(operation: Operation<T>) => Promise<T>;

function syncDriver(store: SqliteStore): Run {
  return async (operation) =>
    store.transaction(() => store.savepoint(() => runSync(store.primitives, operation)));
}

/** Answers every primitive in a later turn, and runs one transaction after the other. */
function asyncDriver(store: SqliteStore): Run {
  const entries = Object.entries(store.primitives) as [string, (...args: unknown[]) => unknown][];
  const later = Object.fromEntries(
    entries.map(([name, primitive]) => [
      name,
      async (...args: unknown[]) => {
        await Promise.resolve();
        return primitive(...args);
      },
    ]),
  ) as unknown as AsyncPrimitives;
  let last: Promise<unknown> = Promise.resolve();
  const transaction = async <T>(operation: Operation<T>): Promise<T> => {
    store.begin();
    try {
      const result = await runAsync(later, operation);
      store.commit();
      return result;
    } catch (error) {
      store.rollback();
      throw error;
    }
  };
  return <T>(operation: Operation<T>): Promise<T> => {
    const mine = last.then(() => transaction(operation));
    last = mine.catch(() => undefined); // the caller of `mine` is told
    return mine;
  };
}
