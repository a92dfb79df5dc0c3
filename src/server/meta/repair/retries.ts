/**
 * Blocks whose repair has failed: when they are tried again, and with which servers not.
 *
 * Bounded: of too many the oldest is forgotten, which only means that it is tried again when the queue comes to it.
 */
import type { Clock } from "../../../base/clock.ts";
import type { BlockId, ServerId } from "../../../base/ids.ts";

const FIRST_MS = 1_000;
const MAX_MS = 60_000;
const MAX_REMEMBERED = 16_384;

interface Failure {
  readonly atMs: number;
  readonly delayMs: number;
  readonly servers: ReadonlySet<ServerId>;
  /** `due` has told that the time has come. */
  isTold: boolean;
}

const NONE: ReadonlySet<ServerId> = new Set();

export class Retries {
  private readonly clock: Clock;
  private readonly firstMs: number;
  private readonly failures = new Map<BlockId, Failure>();

  constructor(clock: Clock, firstMs = FIRST_MS) {
    this.clock = clock;
    this.firstMs = firstMs;
  }

  /** The repair of the block failed, through `server` if one is named. */
  failed(block: BlockId, server?: ServerId): void {
    const former = this.failures.get(block);
    this.failures.delete(block);
    const delayMs = Math.min(MAX_MS, former === undefined ? this.firstMs : former.delayMs * 2);
    const servers = new Set(former?.servers);
    if (server !== undefined) servers.add(server);
    const atMs = this.clock.monotonicMs() + delayMs;
    this.failures.set(block, { atMs, delayMs, servers, isTold: false });
    for (const oldest of this.failures.keys()) {
      if (this.failures.size <= MAX_REMEMBERED) break;
      this.failures.delete(oldest);
    }
  }

  succeeded(block: BlockId): void {
    this.failures.delete(block);
  }

  /** True while the block has to wait. */
  waits(block: BlockId): boolean {
    return (this.failures.get(block)?.atMs ?? 0) > this.clock.monotonicMs();
  }

  /** Up to `limit` blocks whose time has come. Each is told once, unless it fails again. */
  due(limit: number): BlockId[] {
    const nowMs = this.clock.monotonicMs();
    const blocks: BlockId[] = [];
    for (const [block, failure] of this.failures) {
      if (blocks.length >= limit) break;
      if (failure.isTold || failure.atMs > nowMs) continue;
      failure.isTold = true;
      blocks.push(block);
    }
    return blocks;
  }

  /** Servers that failed: others are tried before them. After some time nothing is held against them any more. */
  failedServers(block: BlockId): ReadonlySet<ServerId> {
    const failure = this.failures.get(block);
    return failure === undefined || failure.delayMs >= MAX_MS ? NONE : failure.servers;
  }

  /** Servers have changed: everything is worth another try. */
  clear(): void {
    this.failures.clear();
  }
}
