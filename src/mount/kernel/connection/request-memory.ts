/**
 * Memory for requests: one piece into which the next request is read, spare ones, and those that large writes keep until they
 * are answered.
 */
import { allocateMemory, type Memory } from "./memory.ts";

/** Spare pieces that are kept; a piece holds a write of 1 MiB. */
const MAX_SPARE = 8;

export class RequestMemory {
  private readonly pieceBytes: number;
  private readonly spare: Memory[] = [];
  private kept = 0;
  /** What the next request is read into. */
  current: Memory;

  constructor(pieceBytes: number) {
    this.pieceBytes = pieceBytes;
    this.current = allocateMemory(pieceBytes);
  }

  /** Bytes in the pieces that wait for an answer. */
  get keptBytes(): number {
    return this.kept * this.pieceBytes;
  }

  /** The current piece stays with its request; another one takes its place. */
  keepCurrent(): void {
    this.kept++;
    this.current = this.spare.pop() ?? allocateMemory(this.pieceBytes);
  }

  /** The request is answered. */
  giveBack(memory: Memory): void {
    this.kept--;
    if (this.spare.length < MAX_SPARE) this.spare.push(memory);
  }
}
