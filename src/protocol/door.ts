/**
 * The door of a listener: how many connections there may be, and which must go.
 *
 * A connection that is one too many is not refused as long as there is one that does nothing: of the address that has most, the
 * stranger who has waited longest for its hello goes, or else the peer that has been idle for longest. So somebody who opens
 * thousands of connections takes them from himself.
 *
 * Every LOOK_MS all connections are looked at (progress-watch.ts).
 */
import type { Clock, Timer } from "../base/clock.ts";
import { DfsError } from "../base/errors.ts";
import { MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS } from "../base/limits.ts";
import type { Connection } from "./connection.ts";

export const LOOK_MS = 500;

export class Door {
  private readonly clock: Clock;
  /** Open connections by the host that they come from, the oldest first. */
  private readonly hosts = new Map<string, Set<Connection>>();
  private count = 0;
  private timer: Timer | undefined;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /**
   * Takes a connection in; others may have to go for it.
   * @throws DfsError `busy` when there is no room, because all do something.
   */
  enter(connection: Connection, host: string): void {
    const own = this.hosts.get(host);
    if (own !== undefined && own.size >= MAX_CONNECTIONS_PER_ADDRESS) this.makeRoom(own, host);
    if (this.count >= MAX_CONNECTIONS) this.makeRoom(...this.greatest());
    const connections = this.hosts.get(host) ?? new Set();
    this.hosts.set(host, connections.add(connection));
    this.count++;
    void connection.closed.then(() => this.left(connection, host));
    this.timer ??= this.planLook();
  }

  private left(connection: Connection, host: string): void {
    const connections = this.hosts.get(host);
    if (connections?.delete(connection) !== true) return;
    this.count--;
    if (connections.size === 0) this.hosts.delete(host);
    if (this.count > 0) return;
    this.timer?.cancel();
    this.timer = undefined;
  }

  private makeRoom(connections: ReadonlySet<Connection>, host: string): void {
    const [victim] = [...connections]
      .filter((connection) => connection.isStranger || connection.idleLooks > 0)
      .sort(byUselessness);
    if (victim === undefined) {
      throw new DfsError("busy", `there are too many connections from ${host}`);
    }
    victim.fail(
      new DfsError("busy", `it does nothing, and there are too many connections from ${host}`),
    );
    this.left(victim, host); // `closed` resolves later
  }

  private greatest(): [ReadonlySet<Connection>, string] {
    let greatest: [Set<Connection>, string] = [new Set(), ""];
    for (const [host, connections] of this.hosts) {
      if (connections.size > greatest[0].size) greatest = [connections, host];
    }
    return greatest;
  }

  private planLook(): Timer {
    return this.clock.setTimer(LOOK_MS, () => this.look(), { background: true });
  }

  private look(): void {
    for (const connections of this.hosts.values()) {
      for (const connection of connections) connection.look();
    }
    this.timer = this.count > 0 ? this.planLook() : undefined;
  }
}

/** Strangers before peers; those that came first, or have been idle for longest, first. Sorting is stable. */
function byUselessness(one: Connection, other: Connection): number {
  const strangers = Number(other.isStranger) - Number(one.isStranger);
  return strangers === 0 && !one.isStranger ? other.idleLooks - one.idleLooks : strangers;
}
