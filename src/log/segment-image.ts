/**
 * One segment of the ledger as words of 64 bits: what a checkpoint keeps of it.
 *
 *     number, salt, bytes, end (all ones: none), flags (1 sealed, 2 damaged, 4 tombstones), live puts, their bytes,
 *     bytes of tombstones, and the lengths of the four lists that follow:
 *     covers (segment, count), suspects (segment), dead puts (block), older copies of live blocks (block)
 *
 * The words are those of this machine's memory. Frozen: it is a part of a checkpoint's bytes.
 */
import type { BlockId } from "../base/ids.ts";
import { IdList } from "./id-list.ts";
import type { SegmentState } from "./ledger.ts";

export interface SegmentImage {
  readonly salt: bigint;
  readonly state: Readonly<SegmentState>;
  /** Live blocks of which there is another record in this segment, older than the live one or the same. */
  readonly olderCopies: ReadonlySet<BlockId>;
}

const NO_END = 0xffff_ffff_ffff_ffffn;
const SEALED = 1n;
const DAMAGED = 2n;
const TOMBSTONES = 4n;
const FIXED_WORDS = 12;

const NO_BLOCKS: ReadonlySet<BlockId> = new Set();

/** The segment as it is now. Nothing of the image changes later; that the list of dead puts only grows saves copying it. */
export function imageOf(
  state: Readonly<SegmentState>,
  salt: bigint,
  olderCopies: ReadonlySet<BlockId>,
): SegmentImage {
  return {
    salt,
    state: {
      ...state,
      covers: new Map(state.covers),
      suspects: new Set(state.suspects),
      dead: IdList.of(state.dead.values),
    },
    olderCopies: olderCopies.size === 0 ? NO_BLOCKS : new Set(olderCopies),
  };
}

export function encodeSegmentImage({ salt, state, olderCopies }: SegmentImage): BigUint64Array {
  const { covers, suspects, dead } = state;
  const listWords = covers.size * 2 + suspects.size + dead.length + olderCopies.size;
  const words = new BigUint64Array(FIXED_WORDS + listWords);
  const flags =
    (state.sealed ? SEALED : 0n) |
    (state.damaged ? DAMAGED : 0n) |
    (state.tombstones ? TOMBSTONES : 0n);
  const numbers = [
    state.number,
    state.bytes,
    state.livePuts,
    state.liveBytes,
    state.tombstoneBytes,
  ];
  const [number, bytes, livePuts, liveBytes, tombstoneBytes] = numbers.map(BigInt);
  const end = state.end === undefined ? NO_END : BigInt(state.end);
  words.set([number!, salt, bytes!, end, flags, livePuts!, liveBytes!, tombstoneBytes!]);
  words.set([covers.size, suspects.size, dead.length, olderCopies.size].map(BigInt), 8);
  let at = FIXED_WORDS;
  for (const [segment, count] of covers) {
    words[at++] = BigInt(segment);
    words[at++] = BigInt(count);
  }
  for (const segment of suspects) words[at++] = BigInt(segment);
  words.set(dead.values, at);
  at += dead.length;
  for (const block of olderCopies) words[at++] = block;
  return words;
}

/** The segment that `words` are of, or undefined when they are none. */
export function decodeSegmentImage(words: BigUint64Array): SegmentImage | undefined {
  if (words.length < FIXED_WORDS) return undefined;
  const fixed = Array.from(words.subarray(0, FIXED_WORDS), Number);
  const [coverCount, suspectCount, deadCount, olderCount] = fixed.slice(8) as [
    number,
    number,
    number,
    number,
  ];
  const listWords = coverCount * 2 + suspectCount + deadCount + olderCount;
  if (words.length !== FIXED_WORDS + listWords) return undefined;
  const suspectsAt = FIXED_WORDS + coverCount * 2;
  const deadAt = suspectsAt + suspectCount;
  const olderAt = deadAt + deadCount;
  const covers = new Map<number, number>();
  for (let at = FIXED_WORDS; at < suspectsAt; at += 2) {
    covers.set(Number(words[at]), Number(words[at + 1]));
  }
  const flags = words[4]!;
  return {
    salt: words[1]!,
    state: {
      number: fixed[0]!,
      bytes: fixed[2]!,
      end: words[3] === NO_END ? undefined : fixed[3]!,
      sealed: (flags & SEALED) !== 0n,
      damaged: (flags & DAMAGED) !== 0n,
      livePuts: fixed[5]!,
      liveBytes: fixed[6]!,
      tombstones: (flags & TOMBSTONES) !== 0n,
      tombstoneBytes: fixed[7]!,
      covers,
      suspects: new Set(Array.from(words.subarray(suspectsAt, deadAt), Number)),
      dead: IdList.of(words.subarray(deadAt, olderAt)),
    },
    olderCopies: new Set(words.subarray(olderAt) as Iterable<bigint> as Iterable<BlockId>),
  };
}
