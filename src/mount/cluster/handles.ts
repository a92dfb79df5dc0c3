/**
 * Numbers for what is open, from 1, each used once.
 */
import { DfsError } from "../../base/errors.ts";
import type { Handle } from "../file-system.ts";

export class HandleTable<T> {
  private readonly open = new Map<Handle, T>();
  private last = 0;

  add(item: T): Handle {
    this.last++;
    this.open.set(this.last, item);
    return this.last;
  }

  /** @throws DfsError `invalid` when there is none of this number. */
  get(handle: Handle): T {
    const item = this.open.get(handle);
    if (item === undefined) throw new DfsError("invalid", `nothing is open under handle ${handle}`);
    return item;
  }

  /** Takes the number away; undefined when there is none. */
  remove(handle: Handle): T | undefined {
    const item = this.open.get(handle);
    this.open.delete(handle);
    return item;
  }

  numbers(): Handle[] {
    return [...this.open.keys()];
  }

  items(): Iterable<T> {
    return this.open.values();
  }
}
