// Everything that comes over a wire: frames, and the bodies of all messages and errors.

import { MAX_FRAME_BYTES, MAX_HELLO_FRAME_BYTES } from "../../src/base/limits.ts";
import type { Random } from "../../src/base/random.ts";
import {
  decodeBody,
  encodeHead,
  FRAME_KINDS,
  parseFrame,
  type Frame,
} from "../../src/protocol/cbor.ts";
import { decodeError, encodeError } from "../../src/protocol/error-body.ts";
import { FrameParser } from "../../src/protocol/frame.ts";
import type { Item, RecordSchema } from "../../src/protocol/schema.ts";
import { DfsError } from "../../src/base/errors.ts";
import { allMessages, isRequest } from "../protocol/messages.ts";
import { anyCbor, anyItem, joined, mutatedItem, pick, valueOf } from "./generate.ts";
import { about, mustHold, refusalOf, type Target } from "./target.ts";

interface Body {
  readonly name: string;
  readonly schema: RecordSchema<unknown>;
}

const bodies: readonly Body[] = (await allMessages()).flatMap((message) =>
  isRequest(message)
    ? [
        { name: `${message.name} request`, schema: message.request },
        { name: `${message.name} reply`, schema: message.reply },
      ]
    : [{ name: message.name, schema: message.body }],
);

/** What a parser hands out of a stream that is cut in one way. */
function framesIn(stream: Uint8Array, chunkBytes: number, limit: number): string[] {
  const seen: string[] = [];
  let held = 0;
  const parser = new FrameParser(
    limit,
    (buffer, start, end) => {
      mustHold(
        start >= 0 && end <= buffer.length && end - start <= limit,
        "a frame lies in its buffer",
      );
      const frame = parseFrame(buffer, start, end);
      seen.push(shown(frame, start, end));
    },
    {
      mayBegin: (length) => {
        mustHold(length > 0 && length <= limit, "no memory is taken beyond the limit");
        return true;
      },
      onHeld: (bytes) => (held += bytes),
    },
  );
  try {
    for (let at = 0; at < stream.length; at += chunkBytes) {
      parser.push(stream.slice(at, at + chunkBytes));
      mustHold(held >= 0 && held <= limit, "memory is held for one frame at most");
    }
  } catch (error) {
    seen.push(refusalOf(error, "protocol"));
  }
  parser.stop();
  mustHold(held === 0, "a parser that is stopped holds no memory");
  return seen;
}

function shown(frame: Frame, start: number, end: number): string {
  const { kind, buffer, bodyStart, bodyEnd, bulk } = frame;
  mustHold(bodyStart >= start && bodyEnd <= end, "a body lies in its frame");
  mustHold((bulk?.length ?? 0) <= end - bodyEnd, "bulk bytes lie in their frame");
  const item = decodeBody(frame);
  // The same bytes among others must be the same frame: nothing behind the end is looked at.
  const among = joined([
    Uint8Array.of(0xff, 0xff),
    buffer.subarray(start, end),
    Uint8Array.of(0x9f, 0xff, 0x00),
  ]);
  const again = parseFrame(among, 2, 2 + end - start);
  mustHold(Bun.deepEquals(decodeBody(again), item), "what lies around a frame does not matter");
  return `${kind} ${typeOf(item)}${bulk === undefined ? "" : " bulk"}`;
}

function typeOf(item: unknown): string {
  if (Array.isArray(item)) return `array ${about(item.length)}`;
  return item instanceof Uint8Array ? "bytes" : typeof item;
}

function frameOf(random: Random): Uint8Array {
  const body = random.below(3) === 0 ? anyItem(random) : bodyItem(random);
  const kind = random.below(4);
  const bulk = kind < 2 && random.below(3) === 0 ? random.bytes(random.below(50)) : undefined;
  const id = kind === FRAME_KINDS.notice ? 0 : random.below(2 ** 16);
  const code = kind === FRAME_KINDS.reply ? 0 : random.below(2 ** 16);
  const head = encodeHead(kind, id, code, body, bulk?.length);
  const prefix = new Uint8Array(4);
  new DataView(prefix.buffer).setUint32(0, head.length + (bulk?.length ?? 0));
  return joined([prefix, head, bulk ?? new Uint8Array()]);
}

function bodyItem(random: Random): Item {
  const { schema } = pick(bodies, random);
  return schema.encode(valueOf(schema.shape, random));
}

const frames: Target = {
  name: "frames",
  generate: (random) => {
    if (random.below(4) === 0) {
      const body = joined([Uint8Array.of(0x84, random.below(5), 7, 9), anyCbor(random)]);
      return joined([Uint8Array.of(0, 0, body.length >> 8, body.length), body]);
    }
    return joined(Array.from({ length: 1 + random.below(3) }, () => frameOf(random)));
  },
  read: (input) => {
    const limit = input.length % 2 === 0 ? MAX_HELLO_FRAME_BYTES : MAX_FRAME_BYTES;
    const whole = framesIn(input, Math.max(1, input.length), limit);
    for (const chunkBytes of [1, 7]) {
      const cut = framesIn(input, chunkBytes, limit);
      mustHold(
        Bun.deepEquals(cut, whole),
        `a stream cut into ${chunkBytes} bytes is the same stream`,
      );
    }
    return whole.join("; ");
  },
};

/** The first two bytes say which message, the rest is the body as it stands in a frame. */
const messages: Target = {
  name: "messages",
  generate: (random) => {
    const index = random.below(bodies.length);
    const { name, schema } = bodies[index]!;
    const value = valueOf(schema.shape, random);
    const item = schema.encode(value);
    const decoded = schema.decode(decodeBody(parseFrame(encodeHead(0, 1, 2, item))));
    mustHold(Bun.deepEquals(decoded, value), `a ${name} that was encoded is decoded to the same`);
    const sent = random.below(2) === 0 ? item : mutatedItem(item, random);
    return joined([Uint8Array.of(index >> 8, index), bytesOf(sent)]);
  },
  read: (input) => {
    const { name, schema } = bodies[(((input[0] ?? 0) << 8) | (input[1] ?? 0)) % bodies.length]!;
    try {
      const frame = parseFrame(joined([Uint8Array.of(0x84, 0, 1, 2), input.subarray(2)]));
      const value = schema.decode(decodeBody(frame));
      const again = schema.decode(
        decodeBody(parseFrame(encodeHead(0, 1, 2, schema.encode(value)))),
      );
      mustHold(Bun.deepEquals(again, value), `a ${name} stays the same when it is sent on`);
      return `${name}: taken`;
    } catch (error) {
      return `${name}: ${refusalOf(error, "protocol")}`;
    }
  },
};

/** A body as it stands in a frame. */
function bytesOf(item: Item): Uint8Array {
  const { buffer, bodyStart, bodyEnd } = parseFrame(encodeHead(0, 1, 2, item));
  return buffer.slice(bodyStart, bodyEnd);
}

const errors: Target = {
  name: "errors",
  generate: (random) => {
    const error = new DfsError(
      pick(["io", "stale", "busy"] as const, random),
      "x".repeat(random.below(9)),
      {
        details: { address: "a", count: random.below(9) },
      },
    );
    const { body } = encodeError(error);
    return joined([Uint8Array.of(random.below(60)), bytesOf(mutatedItem(body, random))]);
  },
  read: (input) => {
    try {
      const frame = parseFrame(joined([Uint8Array.of(0x84, 2, 1, 2), input.subarray(1)]));
      const error = decodeError(input[0] ?? 0, decodeBody(frame));
      mustHold(error instanceof DfsError, "an error that is received is one of ours");
      return error.kind;
    } catch (error) {
      return refusalOf(error, "protocol");
    }
  },
};

export const WIRE_TARGETS: readonly Target[] = [frames, messages, errors];
