// What a stranger can throw at a port. Each attack goes on until its time is over, with as many connections as it likes, and
// expects nothing: whether the server has borne it, others see (measure.ts).

import { seededRandom, type Random } from "../../src/base/random.ts";
import {
  MAX_BLOCK_BYTES,
  MAX_ENTRIES_PER_PAGE,
  MAX_FRAME_BYTES,
  MAX_HEAD_BYTES,
  MAX_HELLO_FRAME_BYTES,
  MAX_REQUESTS_IN_FLIGHT,
  PIECE_BYTES,
} from "../../src/base/limits.ts";
import { makeProof } from "../../src/protocol/authentication.ts";
import { encodeHead, FRAME_KINDS } from "../../src/protocol/cbor.ts";
import { blockGet, blockPut } from "../../src/protocol/messages/data.ts";
import { auth, hello } from "../../src/protocol/messages/hello.ts";
import { readdir } from "../../src/protocol/messages/namespace.ts";
import { sessionOpen, sessionWatch } from "../../src/protocol/messages/session.ts";
import type { Item } from "../../src/protocol/schema.ts";
import { anyCbor, joined, mutatedItem, valueOf } from "../fuzz/generate.ts";
import { allMessages, isRequest } from "../protocol/messages.ts";
import { LONG_QUESTIONS } from "./long-questions.ts";
import { counts, framed, HELLO, lengthBytes, open, RawSocket } from "./raw-socket.ts";

/** What an attack works on. */
export interface Target {
  readonly address: string;
  readonly role: "meta" | "data";
  /** A block that a data server holds whole, and its length. */
  readonly block: { readonly id: bigint; readonly length: number };
  /** Where a cluster with a key listens, and its key, for attacks that need one to fail. */
  readonly seed: number;
  readonly seconds: number;
  /** After that, how long connections are followed to their end, to know of which the log must tell. */
  readonly settleSeconds: number;
  /** The key of the cluster: to listen to a right conversation, not to hold one. */
  readonly key: Uint8Array | undefined;
}

interface Round {
  readonly target: Target;
  readonly random: Random;
  /** True until the time is over. */
  readonly going: () => boolean;
  /** Waits, but not beyond the end. */
  readonly pause: (ms: number) => Promise<void>;
  /** How long the end of a connection may be waited for. */
  readonly leftMs: () => number;
}

export interface Attack {
  readonly name: string;
  /** Needs a cluster with a key. */
  readonly keyed?: boolean;
  /** Connections at a time. */
  readonly width: number;
  /** What one of them does, again and again: from its opening to its end. */
  readonly attempt: (round: Round) => Promise<void>;
}

const BUSY_PAUSE_MS = 20;

/** Runs an attack until its time is over, and follows its connections to their end. */
export async function run(attack: Attack, target: Target): Promise<void> {
  const endMs = performance.now() + target.seconds * 1000;
  const going = (): boolean => performance.now() < endMs;
  const pause = (ms: number): Promise<void> =>
    Bun.sleep(Math.max(1, Math.min(ms, endMs - performance.now())));
  const leftMs = (): number => endMs + target.settleSeconds * 1000 - performance.now();
  const lane = async (number: number): Promise<void> => {
    const random = seededRandom(target.seed + number);
    while (going()) {
      await attack.attempt({ target, random, going, pause, leftMs });
      await Bun.sleep(0);
    }
  };
  const lanes = Array.from({ length: attack.width }, (_, number) => lane(number));
  await Promise.race([
    Promise.all(lanes),
    Bun.sleep((target.seconds + target.settleSeconds) * 1000),
  ]);
  counts.unsettled += open.size;
}

/** Opens a connection, does something with it, and ends it. */
async function connected(round: Round, work: (raw: RawSocket) => Promise<unknown>): Promise<void> {
  const raw = await RawSocket.open(round.target.address);
  if (raw === undefined) return round.pause(BUSY_PAUSE_MS);
  try {
    await work(raw);
  } finally {
    await raw.leave(Math.max(1, round.leftMs()));
  }
}

/** As `connected`, after a hello that is right. */
function admitted(round: Round, work: (raw: RawSocket) => Promise<unknown>): Promise<void> {
  return connected(round, async (raw) => {
    if ((await raw.hello()) !== undefined) await work(raw);
  });
}

/** Keeps a connection open until the server ends it or the time is over. */
function stay(round: Round, raw: RawSocket): Promise<unknown> {
  return Promise.race([raw.whenClosed, round.pause(Infinity)]);
}

/** The head of a frame that dfs would not send: `array` head, kind, number, code, and any body. */
function oddFrame(code: number, body: Uint8Array): Uint8Array {
  return framed(joined([Uint8Array.of(0x84, 0, 7, 0x19, code >> 8, code), body]));
}

const helloFrame = framed(
  encodeHead(FRAME_KINDS.request, 1, hello.code, hello.request.encode(HELLO)),
);

const FORBIDDEN = [
  "a0",
  "a10102",
  "c11a514b67b0",
  "c24101",
  "d9010280",
  "f7",
  "f93c00",
  "fb3ff199999999999a",
  "9f01ff",
  "5f4101ff",
  "7f6161ff",
  "bf0102ff",
  "d81c80",
  "d81d00",
  "d9d9f780",
  "e0",
  "f0",
  "f818",
  "fc",
  "ff",
  "1c",
  "9bffffffffffffffff",
  "5bffffffffffffffff",
  "7bffffffffffffffff",
  "62c328",
  "63eda080",
  "d820676a6176613a2f2f",
  "d9df7f8301026403",
].map((hex) => Uint8Array.fromHex(hex));

const HUGE_LENGTHS = [
  0,
  MAX_HELLO_FRAME_BYTES + 1,
  MAX_FRAME_BYTES + 1,
  0x7fff_ffff,
  0x8000_0000,
  0xffff_ffff,
];

/** What somebody may ask for who is let in, and what ends a server or damages it because that was asked for. */
const MEANT_TO_HARM = new Set(["data.stop", "data.corrupt", "cluster.setServer"]);

/** So many listings of nothing make the server believe that listings are short. */
const SHORT_LISTINGS = 100;
const SECOND_MS = 1000;
const LAST_NAME = new Uint8Array(255).fill(0xff);

/** A page of the root, of the names behind one. */
const listing = (after: Uint8Array | null): Item => [1n, after, MAX_ENTRIES_PER_PAGE, true];

const messages = (await allMessages()).filter(({ name }) => !MEANT_TO_HARM.has(name));

/** A body for a message that is nearly right, or not at all. */
function oddBody(round: Round): { code: number; body: Item; kind: number } {
  const { random } = round;
  const message = messages[random.below(messages.length)]!;
  const schema = isRequest(message) ? message.request : message.body;
  const right = schema.encode(valueOf(schema.shape, random));
  const kind = isRequest(message) ? FRAME_KINDS.request : FRAME_KINDS.notice;
  return { code: message.code, body: mutatedItem(right, random), kind };
}

export const ATTACKS: readonly Attack[] = [
  {
    name: "random bytes",
    width: 16,
    attempt: (round) =>
      connected(round, async (raw) => {
        if (round.random.below(2) === 0) await raw.hello();
        while (
          round.going() &&
          (await raw.send(round.random.bytes(1 + round.random.below(4096))))
        ) {
          raw.offends = true;
        }
      }),
  },
  {
    name: "random items in frames",
    width: 16,
    attempt: (round) =>
      admitted(round, async (raw) => {
        while (round.going() && !raw.closed) {
          const body = anyCbor(round.random);
          const asBody = round.random.below(2) === 0;
          const bytes = asBody
            ? oddFrame(0x0203, body)
            : framed(body.length > 0 ? body : Uint8Array.of(0));
          if (!(await raw.send(bytes))) return;
        }
      }),
  },
  {
    name: "half a hello",
    width: 300,
    attempt: (round) =>
      connected(round, async (raw) => {
        await raw.send(helloFrame.subarray(0, 1 + round.random.below(helloFrame.length - 1)));
        await stay(round, raw);
      }),
  },
  {
    name: "half a large frame",
    width: 40,
    attempt: (round) =>
      admitted(round, async (raw) => {
        await raw.send(lengthBytes(MAX_FRAME_BYTES));
        const part = new Uint8Array(64 * 1024).fill(0x80);
        for (let sent = 0; sent < MAX_BLOCK_BYTES && round.going(); sent += part.length) {
          if (!(await raw.send(part))) return;
        }
        await stay(round, raw);
      }),
  },
  {
    name: "huge lengths",
    width: 16,
    attempt: (round) =>
      connected(round, async (raw) => {
        if (round.random.below(2) === 0) await raw.hello();
        raw.offends = true;
        await raw.send(lengthBytes(HUGE_LENGTHS[round.random.below(HUGE_LENGTHS.length)]!));
        await stay(round, raw);
      }),
  },
  {
    name: "deep nesting",
    width: 8,
    attempt: (round) =>
      admitted(round, async (raw) => {
        const depth = [17, 1000, MAX_HEAD_BYTES - 100, MAX_FRAME_BYTES - 100][
          round.random.below(4)
        ]!;
        raw.offends = true;
        await raw.send(
          oddFrame(0x0203, new Uint8Array(depth).fill(round.random.below(2) === 0 ? 0x81 : 0x9f)),
        );
        await stay(round, raw);
      }),
  },
  {
    name: "forbidden types and tags",
    width: 16,
    attempt: (round) =>
      admitted(round, async (raw) => {
        raw.offends = true;
        await raw.send(oddFrame(0x0203, FORBIDDEN[round.random.below(FORBIDDEN.length)]!));
        await stay(round, raw);
      }),
  },
  {
    name: "wrong types in every message",
    width: 16,
    attempt: (round) =>
      admitted(round, async (raw) => {
        if (round.target.role === "meta" && round.random.below(2) === 0) {
          await raw.ask(2, sessionOpen.code, sessionOpen.request.encode({ label: "odd" }));
        }
        for (let id = 3; round.going() && !raw.closed; id++) {
          const { kind, code, body } = oddBody(round);
          const isNotice = kind === FRAME_KINDS.notice;
          await raw.send(framed(encodeHead(kind, isNotice ? 0 : id, code, body)));
          if (id % 32 === 0) await round.pause(1);
        }
      }),
  },
  {
    name: "wrong order",
    width: 16,
    attempt: (round) =>
      connected(round, async (raw) => {
        const { random } = round;
        const ask = (id: number, code: number): Uint8Array =>
          framed(encodeHead(FRAME_KINDS.request, id, code, [1]));
        const steps: (() => Promise<unknown>)[] = [
          () => raw.send(ask(1, blockGet.code)),
          () =>
            raw.send(framed(encodeHead(FRAME_KINDS.request, 2, auth.code, [new Uint8Array(32)]))),
          () => raw.send(framed(encodeHead(FRAME_KINDS.reply, 9, 0, []))),
          () => raw.send(framed(encodeHead(FRAME_KINDS.notice, 0, 0x0901, []))),
          async () => void raw.hello(), // may not be answered, when it is not the first one
          () => raw.send(Buffer.concat([ask(5, readdir.code), ask(5, readdir.code)])),
        ];
        if (random.below(2) === 0) await raw.hello();
        for (let step = 0; step < 4 && !raw.closed; step++)
          await steps[random.below(steps.length)]!();
        await Promise.race([stay(round, raw), round.pause(BUSY_PAUSE_MS)]);
      }),
  },
  {
    name: "replayed hello",
    keyed: true,
    width: 8,
    attempt: (round) =>
      connected(round, async (first) => {
        const reply = await first.hello();
        if (reply === undefined) return;
        const right = makeProof(round.target.key!, "caller", HELLO, reply);
        const taken = await first.ask(2, auth.code, [right]);
        if (taken?.kind !== FRAME_KINDS.reply) throw new Error("the right proof was not taken");
        first.admitted = true;
        for (let again = 0; again < 20 && round.going(); again++) {
          await connected(round, async (raw) => {
            await raw.hello(); // the same words and nonce
            const answer = await raw.ask(2, auth.code, [right]);
            if (answer?.kind === FRAME_KINDS.reply) throw new Error("an old proof was taken");
            await raw.whenClosed;
          });
        }
      }),
  },
  {
    name: "wrong key",
    keyed: true,
    width: 16,
    attempt: (round) =>
      connected(round, async (raw) => {
        const reply = await raw.hello();
        if (reply === undefined) return;
        const answer = await raw.ask(2, auth.code, [
          makeProof(round.random.bytes(32), "caller", HELLO, reply),
        ]);
        if (answer?.kind === FRAME_KINDS.reply) throw new Error("a wrong key was taken");
        await raw.whenClosed;
      }),
  },
  {
    name: "slow senders",
    width: 300,
    attempt: (round) =>
      connected(round, async (raw) => {
        const late = round.random.below(2) === 0;
        if (late) await raw.hello();
        const bytes = late
          ? framed(encodeHead(FRAME_KINDS.request, 3, blockGet.code, [1, 0, 0, "x".repeat(500)]))
          : helloFrame;
        for (let at = 0; at < bytes.length && round.going(); at++) {
          if (!(await raw.send(bytes.subarray(at, at + 1)))) return;
          await round.pause(500);
        }
      }),
  },
  {
    name: "idle strangers",
    width: 1000,
    attempt: (round) => connected(round, (raw) => stay(round, raw)),
  },
  {
    name: "idle peers",
    width: 1000,
    attempt: (round) => admitted(round, (raw) => stay(round, raw)),
  },
  {
    name: "a reader that never reads",
    width: 16,
    attempt: (round) =>
      admitted(round, async (raw) => {
        const { block, role } = round.target;
        if (role === "meta") {
          await raw.ask(2, sessionOpen.code, sessionOpen.request.encode({ label: "deaf" }));
          for (let id = 3; id < 3 + SHORT_LISTINGS; id++)
            await raw.ask(id, readdir.code, listing(LAST_NAME));
          await round.pause(SECOND_MS - (Date.now() % SECOND_MS)); // all of them at once
        }
        raw.stopReading();
        // It ends when the server has given it up: what it has asked for is far too much to be read afterwards.
        for (let id = 3 + SHORT_LISTINGS; !raw.closed; id += MAX_REQUESTS_IN_FLIGHT) {
          const requests = Array.from({ length: MAX_REQUESTS_IN_FLIGHT }, (_, at) => {
            const [code, body]: [number, Item] =
              role === "data"
                ? [blockGet.code, [block.id, 0, block.length]]
                : [readdir.code, listing(null)];
            return framed(encodeHead(FRAME_KINDS.request, id + at, code, body));
          });
          if (!(await raw.send(joined(requests)))) return;
        }
      }),
  },
  {
    name: "questions that are much work",
    width: 32,
    attempt: (round) =>
      admitted(round, async (raw) => {
        const { random, target } = round;
        if (target.role === "meta") {
          await raw.ask(2, sessionOpen.code, sessionOpen.request.encode({ label: "curious" }));
          await raw.ask(3, sessionWatch.code, [2 ** 31]);
        }
        const questions = LONG_QUESTIONS[target.role];
        for (let id = 4; round.going() && !raw.closed; id += 64) {
          const asked = Array.from({ length: 64 }, (_, at) => {
            const [code, body] = questions[random.below(questions.length)]!;
            return raw.ask(id + at, code, body);
          });
          await Promise.race([Promise.all(asked), round.pause(Infinity)]);
        }
      }),
  },
  {
    name: "large blocks with wrong checksums",
    width: 8,
    attempt: (round) =>
      admitted(round, async (raw) => {
        const bulk = new Uint8Array(MAX_BLOCK_BYTES);
        const body = [
          1n,
          bulk.length,
          1n,
          1n,
          0,
          new Uint8Array((MAX_BLOCK_BYTES / PIECE_BYTES) * 8),
        ];
        for (let id = 3; round.going() && !raw.closed; id++) {
          const head = encodeHead(FRAME_KINDS.request, id, blockPut.code, body, bulk.length);
          await raw.send(framed(head, bulk));
        }
      }),
  },
  {
    name: "connections that come and go",
    width: 64,
    attempt: (round) =>
      connected(round, async (raw) => {
        if (round.random.below(2) === 0) await raw.hello();
        raw.close();
      }),
  },
];
