/**
 * The randomness seam. Servers and clients use the system's generator; tests and the simulator pass a seeded one.
 */

export interface Random {
  /** `count` random bytes. */
  bytes(count: number): Uint8Array;
  /** A random unsigned 64-bit integer that is not 0. */
  id64(): bigint;
  /** A random integer from 0 to `bound` - 1. */
  below(bound: number): number;
}

/** Random ids stay below 2^63 so that they fit the signed integers of the metadata store. */
function idFrom(bytes: Uint8Array): bigint {
  const value = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0) >> 1n;
  return value === 0n ? 1n : value;
}

/** The system's cryptographic generator. */
export const systemRandom: Random = {
  bytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
  id64: () => idFrom(crypto.getRandomValues(new Uint8Array(8))),
  below: (bound) => {
    const word = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
    return Math.floor((word / 2 ** 32) * bound);
  },
};

/**
 * A small seeded generator (mulberry32 by Tommy Ettinger, public domain) for tests and fault injection.
 * The same seed gives the same sequence on every machine. Not for secrets.
 */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const word = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const bytes = (count: number): Uint8Array =>
    Uint8Array.from({ length: count }, () => word() & 0xff);
  return {
    bytes,
    id64: () => idFrom(bytes(8)),
    below: (bound) => Math.floor((word() / 2 ** 32) * bound),
  };
}
