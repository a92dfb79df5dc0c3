/**
 * Which commands of the metadata service are still valid.
 *
 * A command carries the reign that gave it, the instance of this server that it is for, and a number that rises within a
 * reign. So one that was delayed, repeated, or given by a service that has been replaced meanwhile does nothing.
 */
import { DfsError } from "../../base/errors.ts";
import type { InstanceId, ReignId } from "../../base/ids.ts";

/** A command's place in the order of commands. */
export interface CommandPlace {
  readonly reign: ReignId;
  readonly instance: InstanceId;
  readonly number: bigint;
}

export class CommandOrder {
  private readonly instance: InstanceId;
  private reign: ReignId | undefined;
  private last = 0n;

  constructor(instance: InstanceId) {
    this.instance = instance;
  }

  /** This server has registered with the service of this reign: only its commands count from now on. */
  begin(reign: ReignId): void {
    if (reign !== this.reign) this.last = 0n;
    this.reign = reign;
  }

  /** Accepts a command and all that follow it. @throws DfsError `wrongPeer` when it is stale. */
  accept({ reign, instance, number }: CommandPlace): void {
    if (instance !== this.instance) throw stale(`it is for instance ${instance} of this server`);
    if (reign !== this.reign) throw stale(`it is of reign ${reign}`);
    if (number <= this.last) throw stale(`its number ${number} is not above ${this.last}`);
    this.last = number;
  }
}

function stale(why: string): DfsError {
  return new DfsError("wrongPeer", `refused a stale command: ${why}`);
}
