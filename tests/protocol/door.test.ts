// How many connections a listener takes, and which go for another.

import { describe, expect, test } from "bun:test";
import { MAX_CONNECTIONS_PER_ADDRESS } from "../../src/base/limits.ts";
import { hello } from "../../src/protocol/messages/hello.ts";
import { LOOK_MS } from "../../src/protocol/door.ts";
import { memoryNetwork } from "../../src/protocol/transports/memory.ts";
import { StillClock } from "./still-clock.ts";
import {
  connectTo,
  echo,
  eventually,
  helloBody,
  listenFor,
  RawPeer,
  recordingLogger,
  TIMEOUT_MS,
} from "./support.ts";

const options = { timeoutMs: TIMEOUT_MS };

async function full(greeted: boolean) {
  const clock = new StillClock();
  const transport = memoryNetwork({ clock }).transport();
  const { logger, lines } = recordingLogger();
  const listener = await listenFor({ transport, clock, logger });
  const idle: RawPeer[] = [];
  for (let number = 0; number < MAX_CONNECTIONS_PER_ADDRESS; number++) {
    const raw = await RawPeer.open(transport, listener.address);
    if (greeted) await raw.ask(1, hello, helloBody);
    idle.push(raw);
  }
  return { clock, transport, listener, lines, idle };
}

describe("a listener with as many connections from one address as it takes", () => {
  for (const greeted of [false, true]) {
    test(`ends the oldest ${greeted ? "idle peer" : "stranger"} for each that comes`, async () => {
      const { clock, transport, listener, lines, idle } = await full(greeted);
      for (let look = 0; look < 2; look++) clock.advance(LOOK_MS);
      for (let more = 0; more < 3; more++) {
        const peer = await connectTo(listener.address, { transport });
        expect((await peer.request(echo, { value: more }, options)).body.value).toBe(more);
      }
      await eventually(() => idle.filter(({ ended }) => ended).length === 3, "three have gone");
      expect(idle.slice(0, 3).every(({ ended }) => ended)).toBe(true);
      expect(lines.filter((line) => line.includes("too many connections from"))).toHaveLength(3);
    });
  }

  test("refuses another when all of them do something", async () => {
    const { transport, listener, lines } = await full(true);
    // No look has found any of them idle yet.
    const raw = await RawPeer.open(transport, listener.address);
    await eventually(() => raw.ended, "it is refused");
    expect(listener.peers.size).toBe(MAX_CONNECTIONS_PER_ADDRESS);
    expect(lines.filter((line) => line.includes("too many connections from"))).toHaveLength(1);
  });
});
