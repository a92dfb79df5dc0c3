/**
 * What an operation changes that clients want to know of, seen in the requests that it makes to the store.
 *
 * Watching these means that no operation has to tell anything by itself, and none can forget to. What was seen is only worth
 * telling when the operation's transaction is durable; an operation that is run again is watched anew.
 */
import type { Lock } from "./store/rows.ts";
import type { Operation, StoreRequest } from "./store/store.ts";

export class Changes {
  /** Locks that were granted. */
  readonly locks: Lock[] = [];

  /** Takes note of a request to the store. */
  note({ name, args }: StoreRequest): void {
    if (name === "lock.put") this.locks.push(args[0] as Lock);
  }
}

/** The operation, whose requests are noted in `changes`. */
export function* watched<T>(operation: Operation<T>, changes: Changes): Operation<T> {
  let step = operation.next();
  while (!step.done) {
    changes.note(step.value);
    let result: unknown;
    try {
      result = yield step.value;
    } catch (error) {
      step = operation.throw(error);
      continue;
    }
    step = operation.next(result);
  }
  return step.value;
}
