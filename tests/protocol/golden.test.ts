// The bytes of every message are frozen: tests/golden/protocol has one file per message with the frames that carry the
// example of examples.ts, and one for errors. When a message is added or gets a field at its end, write them anew with
//
//     DFS_UPDATE_GOLDEN=1 bin/test tests/protocol/golden.test.ts
//
// and look at the difference before it is committed: bytes that were there before must not have changed, except for a
// longer array. Anything else breaks every other version.

import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DfsError, ERROR_KINDS, type ErrorKind } from "../../src/base/errors.ts";
import {
  decodeBody,
  encodeHead,
  FRAME_KINDS,
  parseFrame,
  type Frame,
} from "../../src/protocol/cbor.ts";
import { decodeError, encodeError } from "../../src/protocol/error-body.ts";
import { FrameParser } from "../../src/protocol/frame.ts";
import { SendQueue } from "../../src/protocol/send-queue.ts";
import { noticeExamples, requestExamples } from "./examples.ts";
import { allMessages } from "./messages.ts";
import { eventually } from "./support.ts";

const FOLDER = join(import.meta.dir, "../golden/protocol");
const UPDATE = process.env["DFS_UPDATE_GOLDEN"] === "1";
const HEX_PER_LINE = 64;
const REQUEST_ID = 0x01020304;

/** The bytes that a connection writes for a frame, length and all. */
async function wireBytes(head: Uint8Array, bulk?: Uint8Array): Promise<Uint8Array> {
  const written: Uint8Array[] = [];
  const ignore = (): void => undefined;
  const queue = new SendQueue({ onProgress: ignore, onBlocked: ignore, onBroken: ignore });
  queue.attach({
    remoteAddress: "",
    write: (bytes) => {
      written.push(bytes.slice());
      return bytes.length;
    },
    pause: ignore,
    resume: ignore,
    end: ignore,
    terminate: ignore,
  });
  queue.push(head, bulk);
  await eventually(() => queue.bytes === 0, "the frame is written");
  return Buffer.concat(written);
}

function frameIn(bytes: Uint8Array): Frame {
  const frames: Frame[] = [];
  const parser = new FrameParser(2 ** 31, (buffer, start, end) => {
    frames.push(parseFrame(buffer, start, end));
  });
  parser.push(bytes);
  expect(frames).toHaveLength(1);
  return frames[0]!;
}

/** Named frames as a text: hex in lines, so that a difference can be read. */
function goldenText(frames: readonly (readonly [name: string, bytes: Uint8Array])[]): string {
  const sections = frames.map(([name, bytes]) => {
    const lines = bytes.toHex().match(new RegExp(`.{1,${HEX_PER_LINE}}`, "g")) ?? [];
    return [`# ${name}`, ...lines].join("\n");
  });
  return `${sections.join("\n\n")}\n`;
}

function compareWithFile(name: string, frames: readonly (readonly [string, Uint8Array])[]): void {
  const path = join(FOLDER, `${name}.hex`);
  const text = goldenText(frames);
  if (UPDATE) {
    mkdirSync(FOLDER, { recursive: true });
    writeFileSync(path, text);
  }
  expect(existsSync(path) ? readFileSync(path, "utf8") : "no such file").toBe(text);
}

describe("the bytes of", () => {
  for (const { definition, request, reply, bulk } of requestExamples) {
    const { name, code } = definition;
    test(`${name} are as they were, and are read back as what was written`, async () => {
      const up = definition.bulk === "request" ? bulk : undefined;
      const down = definition.bulk === "reply" ? bulk : undefined;
      const requestItem = definition.request.encode(request);
      const replyItem = definition.reply.encode(reply);
      const { request: requestKind, reply: replyKind } = FRAME_KINDS;
      const requestBytes = await wireBytes(
        encodeHead(requestKind, REQUEST_ID, code, requestItem, up?.length),
        up,
      );
      const replyBytes = await wireBytes(
        encodeHead(replyKind, REQUEST_ID, 0, replyItem, down?.length),
        down,
      );
      const requestFrame = frameIn(requestBytes);
      expect([requestFrame.kind, requestFrame.id, requestFrame.code]).toEqual([
        0,
        REQUEST_ID,
        code,
      ]);
      expect(definition.request.decode(decodeBody(requestFrame))).toEqual(request);
      expect(requestFrame.bulk).toEqual(up);
      const replyFrame = frameIn(replyBytes);
      expect([replyFrame.kind, replyFrame.id, replyFrame.code]).toEqual([1, REQUEST_ID, 0]);
      expect(definition.reply.decode(decodeBody(replyFrame))).toEqual(reply);
      expect(replyFrame.bulk).toEqual(down);
      compareWithFile(name, [
        ["request", requestBytes],
        ["reply", replyBytes],
      ]);
    });
  }

  for (const { definition, body } of noticeExamples) {
    test(`${definition.name} are as they were, and are read back as what was written`, async () => {
      const item = definition.body.encode(body);
      const bytes = await wireBytes(encodeHead(FRAME_KINDS.notice, 0, definition.code, item));
      const frame = frameIn(bytes);
      expect([frame.kind, frame.id, frame.code]).toEqual([3, 0, definition.code]);
      expect(definition.body.decode(decodeBody(frame))).toEqual(body);
      compareWithFile(definition.name, [["notice", bytes]]);
    });
  }

  test("errors of every kind are as they were, and are read back as what was written", async () => {
    const frames: [string, Uint8Array][] = [];
    for (const kind of Object.keys(ERROR_KINDS) as ErrorKind[]) {
      const details = { text: "ü", small: 7, large: 1n << 40n, negative: -2n, yes: true };
      const error = new DfsError(kind, `an error of kind ${kind}`, { details });
      const { code, body } = encodeError(error);
      const bytes = await wireBytes(encodeHead(FRAME_KINDS.error, REQUEST_ID, code, body));
      const frame = frameIn(bytes);
      expect([frame.kind, frame.id]).toEqual([2, REQUEST_ID]);
      const back = decodeError(frame.code, decodeBody(frame));
      expect([back.kind, back.message]).toEqual([kind, error.message]);
      expect(back.details).toEqual(details);
      frames.push([kind, bytes]);
    }
    compareWithFile("errors", frames);
  });
});

describe("the golden files", () => {
  test("cover every message, and nothing else", async () => {
    const names = (await allMessages()).map((message) => message.name);
    const examples = [...requestExamples, ...noticeExamples].map((each) => each.definition.name);
    expect(examples.sort()).toEqual(names.sort());
    expect(readdirSync(FOLDER).sort()).toEqual(
      [...names, "errors"].map((name) => `${name}.hex`).sort(),
    );
  });

  test("are of messages with codes and names of their own", async () => {
    const messages = await allMessages();
    expect(new Set(messages.map((message) => message.code)).size).toBe(messages.length);
    expect(new Set(messages.map((message) => message.name)).size).toBe(messages.length);
  });
});

describe("an error read from the wire", () => {
  test("of a kind that only newer peers know is internal", () => {
    expect(decodeError(9999, ["new", []]).kind).toBe("internal");
  });

  test("cannot reach a prototype through its details", () => {
    const error = decodeError(11, [
      "x",
      [
        ["__proto__", "polluted"],
        ["constructor", 1],
      ],
    ]);
    expect(Object.getPrototypeOf(error.details)).toBe(Object.prototype);
    expect(Object.hasOwn(error.details, "__proto__")).toBe(true);
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });

  test("that is malformed is a protocol error", () => {
    for (const body of [
      null,
      [],
      ["x"],
      [1, []],
      ["x", [["key"]]],
      ["x", [["key", null]]],
      ["x", [5]],
    ]) {
      expect(() => decodeError(11, body)).toThrow("the peer sent an error");
    }
  });

  test("was cut to a bounded size by its sender, and is valid text whatever it was made of", () => {
    const long = new DfsError("io", "x".repeat(100_000) + "\ud800", {
      details: Object.fromEntries(
        Array.from({ length: 100 }, (_, index) => [`key${index}`, "\udc00"]),
      ),
    });
    const { code, body } = encodeError(long);
    const frame = parseFrame(encodeHead(FRAME_KINDS.error, 1, code, body));
    const error = decodeError(frame.code, decodeBody(frame));
    expect(error.message.length).toBe(4096);
    expect(Object.keys(error.details)).toHaveLength(32);
    expect(error.details["key0"]).toBe("\ufffd");
  });
});
