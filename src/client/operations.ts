/**
 * Numbers for the operations of one session, and the mark below which all of them are settled.
 *
 * The service keeps the reply to an operation until it is acknowledged, so that a request sent twice is executed once.
 * The mark only ever covers operations that will not be sent again: answered, or given up.
 */
export class OperationNumbers {
  private last = 0n;
  private settledUpTo = 0n;
  private readonly settledAbove = new Set<bigint>();

  /** The next number, from 1. */
  next(): bigint {
    this.last += 1n;
    return this.last;
  }

  /** `operation` will not be sent again. */
  settle(operation: bigint): void {
    this.settledAbove.add(operation);
    while (this.settledAbove.delete(this.settledUpTo + 1n)) this.settledUpTo += 1n;
  }

  /** All operations up to this one are settled. */
  get acknowledged(): bigint {
    return this.settledUpTo;
  }
}
