/**
 * Names that a command has given already. Two of several sources may have one name, and the second would take the place of the
 * first: with mv that would be the end of it.
 */
import { Reason } from "./errors.ts";

export class JustMade {
  readonly #names = new Set<string>();

  /** @throws Reason `exists` when the name is among those that were given. */
  refuse(name: Uint8Array): void {
    if (!this.#names.has(keyOf(name))) return;
    throw new Reason("exists", "another source of that name has just been put there");
  }

  add(name: Uint8Array): void {
    this.#names.add(keyOf(name));
  }
}

function keyOf(name: Uint8Array): string {
  return Buffer.from(name).toString("latin1");
}
