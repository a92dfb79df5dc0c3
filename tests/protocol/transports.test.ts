// The rules of a ByteStream, the same for every transport, and what each transport adds.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { formatAddress, isLoopback, parseAddress } from "../../src/protocol/address.ts";
import { memoryNetwork } from "../../src/protocol/transports/memory.ts";
import { tcpTransport } from "../../src/protocol/transports/tcp.ts";
import type { ByteStream, StreamEvents, Transport } from "../../src/protocol/transport.ts";
import { StillClock } from "./still-clock.ts";
import {
  connectedPair,
  connectTo,
  DEFAULT_HANDLERS,
  echo,
  eventually,
  failureOf,
  later,
  listenFor,
  patterned,
  TIMEOUT_MS,
  TRANSPORTS,
} from "./support.ts";

/** One end of a stream that keeps what happens to it. */
class Recorder implements StreamEvents {
  stream!: ByteStream;
  readonly chunks: Uint8Array[] = [];
  readonly closes: (Error | undefined)[] = [];
  writables = 0;
  /** True while one of our own calls runs: no callback may come then. */
  inCall = false;
  calledBackInside = false;

  onData(chunk: Uint8Array): void {
    this.note();
    this.chunks.push(chunk);
  }
  onWritable(): void {
    this.note();
    this.writables++;
  }
  onClose(error: Error | undefined): void {
    this.note();
    this.closes.push(error);
  }

  get received(): Buffer {
    return Buffer.concat(this.chunks);
  }

  call<T>(work: () => T): T {
    this.inCall = true;
    try {
      return work();
    } finally {
      this.inCall = false;
    }
  }

  /** Writes all of `bytes`, waiting for room as often as need be. */
  async writeAll(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const before = this.writables;
      const count = this.call(() => this.stream.write(bytes.subarray(at)));
      if (count < 0) throw new Error("the stream has ended");
      at += count;
      if (at < bytes.length) await eventually(() => this.writables > before, "there is room again");
    }
  }

  private note(): void {
    if (this.inCall) this.calledBackInside = true;
  }
}

async function streamPair(transport: Transport): Promise<{ here: Recorder; there: Recorder }> {
  const here = new Recorder();
  const there = new Recorder();
  const listener = await transport.listen("127.0.0.1:0", (stream) => {
    there.stream = stream;
    return there;
  });
  later(() => listener.close());
  here.stream = await transport.connect(listener.address, here, TIMEOUT_MS);
  later(() => here.stream.terminate());
  await eventually(() => there.stream !== undefined, "the stream is accepted");
  return { here, there };
}

for (const [name, transport] of TRANSPORTS) {
  describe(`a ${name} stream`, () => {
    test("delivers bytes in order, both ways, and knows the other end's address", async () => {
      const { here, there } = await streamPair(transport());
      const up = patterned(3_000_000, 1);
      const down = patterned(3_000_000, 2);
      await Promise.all([here.writeAll(up), there.writeAll(down)]);
      await eventually(
        () => here.received.length === down.length && there.received.length === up.length,
        "everything arrives",
      );
      expect(Buffer.compare(there.received, up)).toBe(0);
      expect(Buffer.compare(here.received, down)).toBe(0);
      expect(here.calledBackInside || there.calledBackInside).toBe(false);
      for (const end of [here, there]) parseAddress(end.stream.remoteAddress);
    });

    test("takes only what fits while the reader pauses, and says when there is room", async () => {
      const { here, there } = await streamPair(transport());
      there.stream.pause();
      const bytes = patterned(20_000_000);
      let taken = 0;
      for (let count = 1; count > 0;) {
        count = here.stream.write(bytes.subarray(taken));
        taken += count;
        await Bun.sleep(5);
      }
      expect(taken).toBeLessThan(bytes.length);
      const before = here.writables;
      there.stream.resume();
      await eventually(() => here.writables > before, "there is room again");
      await here.writeAll(bytes.subarray(taken));
      await eventually(() => there.received.length === bytes.length, "everything arrives");
      expect(Buffer.compare(there.received, bytes)).toBe(0);
    });

    test("copies what it takes", async () => {
      const { here, there } = await streamPair(transport());
      const bytes = Uint8Array.of(1, 2, 3);
      expect(here.stream.write(bytes)).toBe(3);
      bytes.fill(9);
      await eventually(() => there.received.length === 3, "it arrives");
      expect([...there.received]).toEqual([1, 2, 3]);
    });

    test("delivers everything before it ends, and tells each end exactly once", async () => {
      const { here, there } = await streamPair(transport());
      const bytes = patterned(1_000_000);
      await here.writeAll(bytes);
      here.call(() => here.stream.end());
      expect(here.stream.write(bytes)).toBe(-1);
      await eventually(() => there.closes.length > 0 && here.closes.length > 0, "both ends close");
      expect(Buffer.compare(there.received, bytes)).toBe(0);
      expect(there.closes).toEqual([undefined]);
      here.stream.terminate();
      here.stream.end();
      await Bun.sleep(5);
      expect([here.closes.length, there.closes.length]).toEqual([1, 1]);
      expect(there.stream.write(bytes)).toBe(-1);
      expect(here.calledBackInside || there.calledBackInside).toBe(false);
    });

    test("delivers everything before it ends to a reader that had paused, too", async () => {
      const { here, there } = await streamPair(transport());
      there.stream.pause();
      const bytes = patterned(100_000);
      await here.writeAll(bytes);
      here.stream.end();
      await Bun.sleep(5);
      there.stream.resume();
      await eventually(() => there.closes.length > 0 && here.closes.length > 0, "both ends close");
      expect(Buffer.compare(there.received, bytes)).toBe(0);
    });

    test("that is terminated ends at both ends at once", async () => {
      const { here, there } = await streamPair(transport());
      there.stream.pause();
      here.stream.write(patterned(10));
      here.call(() => here.stream.terminate());
      there.stream.resume();
      await eventually(() => there.closes.length > 0 && here.closes.length > 0, "both ends close");
      expect(here.stream.write(patterned(1))).toBe(-1);
      expect(here.calledBackInside).toBe(false);
    });

    test("cannot be opened where nobody listens: unreachable, naming the address", async () => {
      const made = transport();
      const listener = await made.listen("127.0.0.1:0", () => new Recorder());
      listener.close();
      const error = await failureOf(made.connect(listener.address, new Recorder(), TIMEOUT_MS));
      expect(error.kind).toBe("unreachable");
      expect(error.message).toContain(listener.address);
    });

    test("listener refuses a port that is taken, naming it, and lets open streams live on", async () => {
      const made = transport();
      const first = new Recorder();
      const listener = await made.listen("127.0.0.1:0", (stream) => {
        first.stream = stream;
        return first;
      });
      const error = await failureOf(made.listen(listener.address, () => new Recorder()));
      expect(error.kind).toBe("locked");
      expect(error.message).toContain(`port ${parseAddress(listener.address).port}`);
      const here = new Recorder();
      here.stream = await made.connect(listener.address, here, TIMEOUT_MS);
      later(() => here.stream.terminate());
      await eventually(() => first.stream !== undefined, "the stream is accepted");
      listener.close();
      await here.writeAll(patterned(10));
      await eventually(() => first.received.length === 10, "bytes still arrive");
    });

    test("cannot be asked for at something that is no address", async () => {
      const made = transport();
      for (const address of ["", "localhost", "1.2.3.4:70000", "::1:4000", "a b:1", "[::1]"]) {
        expect((await failureOf(made.listen(address, () => new Recorder()))).kind).toBe("invalid");
      }
    });
  });
}

describe("a tcp transport", () => {
  test("gives what has come behind a chunk straight into memory, in order, and then goes on with chunks", async () => {
    const transport = tcpTransport(systemClock);
    const sent = new Uint8Array(24 * 1024 * 1024).map((_, at) => (at * 31 + (at >> 8)) & 255);
    const received = new Uint8Array(sent.length);
    let filled = 0;
    let direct = 0;
    const accepted = Promise.withResolvers<ByteStream>();
    const end = Promise.withResolvers<Error | undefined>();
    const listener = await transport.listen("127.0.0.1:0", (stream) => {
      accepted.resolve(stream);
      return {
        onData: (chunk) => {
          received.set(chunk, filled);
          filled += chunk.length;
          Bun.sleepSync(1); // so that more comes
          for (let count = -1; count !== 0;) {
            count = stream.receive!(received, filled);
            filled += count;
            direct += count;
          }
        },
        onWritable: () => undefined,
        onClose: (error) => end.resolve(error),
      };
    });
    later(() => listener.close());
    const sender = `
      const { port, bytes } = JSON.parse(process.argv[1]);
      const content = new Uint8Array(bytes).map((_, at) => (at * 31 + (at >> 8)) & 255);
      let at = 0;
      const send = (socket) => {
        while (at < content.length) {
          const count = socket.write(content.subarray(at, at + 65536));
          if (count <= 0) return;
          at += count;
        }
        socket.shutdown();
      };
      await Bun.connect({ hostname: "127.0.0.1", port, socket: { open: send, drain: send, data() {} } });
    `;
    const { port } = parseAddress(listener.address);
    const options = JSON.stringify({ port, bytes: sent.length });
    const child = Bun.spawn([process.execPath, "-e", sender, options], {
      stdio: ["ignore", "inherit", "inherit"],
    });
    later(() => child.kill());
    expect(await end.promise).toBeUndefined();
    expect(filled).toBe(sent.length);
    expect(direct).toBeGreaterThan(0);
    expect(Buffer.compare(received, sent)).toBe(0);
    await accepted.promise;
  });

  test("gives up connecting when its clock says so, and drops the socket if it comes later", async () => {
    const clock = new StillClock();
    const accepted = new Recorder();
    const listener = await tcpTransport(systemClock).listen("127.0.0.1:0", () => accepted);
    later(() => listener.close());
    const failing = failureOf(tcpTransport(clock).connect(listener.address, new Recorder(), 300));
    clock.advance(300); // before the event loop has had a chance to finish connecting
    const error = await failing;
    expect(error.kind).toBe("timeout");
    expect(error.message).toContain("300 ms");
    await eventually(() => accepted.closes.length === 1, "the late socket is dropped");
  });

  test("says which address cannot be listened on", async () => {
    const error = await failureOf(
      tcpTransport(systemClock).listen("192.0.2.1:0", () => new Recorder()),
    );
    expect(error.kind).toBe("invalid");
    expect(error.message).toContain("192.0.2.1:0");
  });

  test("says which host does not exist", async () => {
    const error = await failureOf(
      tcpTransport(systemClock).connect("no-such-host.invalid:1", new Recorder(), TIMEOUT_MS),
    );
    expect(error.kind).toBe("unreachable");
    expect(error.message).toContain("no-such-host.invalid:1");
  });

  // With too low a limit every server was said not to be running, the ones that ran very well.
  test("says when it is this process that may open no more files", async () => {
    const listener = await tcpTransport(systemClock).listen("127.0.0.1:0", (stream) => {
      stream.end();
      return { onData: () => undefined, onWritable: () => undefined, onClose: () => undefined };
    });
    const from = (path: string): string => JSON.stringify(join(import.meta.dir, "../../src", path));
    const script = `
      import { openSync } from "node:fs";
      import { systemClock } from ${from("base/clock.ts")};
      import { tcpTransport } from ${from("protocol/transports/tcp.ts")};
      const events = { onData() {}, onWritable() {}, onClose() {} };
      const connect = () => tcpTransport(systemClock).connect("${listener.address}", events, 10_000);
      (await connect()).end();
      try { for (;;) openSync("/dev/null", "r"); } catch {}
      await connect().catch((error) => console.log(error.message));
      process.exit(0);`;
    const child = Bun.spawn(
      ["bash", "-c", `ulimit -n 64; exec "$0" -e "$1"`, process.execPath, script],
      { stdout: "pipe", stderr: "pipe" },
    );
    const told = [await child.stdout.text(), await child.stderr.text()];
    listener.close();
    expect(told).toEqual([
      `cannot connect to ${listener.address}: this process may open no more files (ulimit -n)\n`,
      "",
    ]);
  });

  test("works over IPv6, when the machine has it", async () => {
    const transport = tcpTransport(systemClock);
    const listener = await transport.listen("[::1]:0", () => new Recorder()).catch(() => undefined);
    if (listener === undefined) return; // this machine has no IPv6
    later(() => listener.close());
    expect(listener.address).toMatch(/^\[::1\]:\d+$/);
    const here = new Recorder();
    here.stream = await transport.connect(listener.address, here, TIMEOUT_MS);
    here.stream.terminate();
  });

  test("ends a stream whose owner fails on its bytes", async () => {
    const transport = tcpTransport(systemClock);
    const closes: (Error | undefined)[] = [];
    const listener = await transport.listen("127.0.0.1:0", () => ({
      onData: () => {
        throw new Error("cannot take these");
      },
      onWritable: () => undefined,
      onClose: (error) => closes.push(error),
    }));
    later(() => listener.close());
    const here = new Recorder();
    here.stream = await transport.connect(listener.address, here, TIMEOUT_MS);
    here.stream.write(patterned(10));
    await eventually(() => here.closes.length === 1 && closes.length === 1, "both ends close");
    expect(String(closes[0])).toContain("cannot take these");
  });
});

describe("a memory network", () => {
  test("holds bytes back during a partition and delivers them after it", async () => {
    const network = memoryNetwork({ clock: systemClock });
    const { caller, listener } = await connectedPair(network.transport("here"), DEFAULT_HANDLERS);
    for (const where of ["here", listener.address]) {
      network.partition(where);
      const timeout = await failureOf(caller.request(echo, { value: 1 }, { timeoutMs: 20 }));
      expect(timeout.kind).toBe("timeout");
      const waiting = caller.request(echo, { value: 2 }, { timeoutMs: TIMEOUT_MS });
      network.heal(where);
      expect((await waiting).body.value).toBe(2);
    }
  });

  test("lets new connections time out during a partition", async () => {
    const network = memoryNetwork({ clock: systemClock });
    const listener = await listenFor({ transport: network.transport("server") });
    for (const where of ["client", "server", listener.address]) {
      network.partition(where);
      const error = await failureOf(
        connectTo(listener.address, { transport: network.transport("client"), timeoutMs: 20 }),
      );
      expect(error.kind).toBe("timeout");
      network.heal(where);
    }
    await connectTo(listener.address, { transport: network.transport("client") });
  });

  test("cuts the streams of one node only", async () => {
    const network = memoryNetwork({ clock: systemClock });
    const listener = await listenFor({ transport: network.transport("server") });
    const [a, b] = await Promise.all(
      ["a", "b"].map((name) => connectTo(listener.address, { transport: network.transport(name) })),
    );
    network.cut("a");
    expect((await a!.closed).message).toContain("was cut");
    expect((await b!.request(echo, { value: 1 }, { timeoutMs: TIMEOUT_MS })).body.value).toBe(1);
    expect(listener.peers.size).toBe(1);
  });

  test("delivers after the latency of its clock, and not before", async () => {
    const clock = new StillClock();
    const { here, there } = await (async () => {
      const transport = memoryNetwork({ clock, latencyMs: 10 }).transport();
      const opening = streamPair(transport);
      await eventually(() => clock.timers > 1, "the connection is being opened");
      clock.advance(10);
      return opening;
    })();
    here.stream.write(patterned(5));
    clock.advance(9);
    expect(there.received.length).toBe(0);
    clock.advance(1);
    expect(there.received.length).toBe(5);
  });
});

describe("addresses", () => {
  test("are split and put together again", () => {
    for (const address of ["127.0.0.1:0", "example.org:65535", "[::1]:4000", "a-b.c:1"]) {
      expect(formatAddress(parseAddress(address))).toBe(address);
    }
    expect(parseAddress("[::1]:4000")).toEqual({ host: "::1", port: 4000 });
  });

  test("that cannot be split are refused, saying how to write one", () => {
    for (const address of [
      "",
      ":1",
      "host",
      "host:",
      "host:x",
      "host:65536",
      "::1:1",
      "[x]:1",
      "h/p:1",
    ]) {
      expect(() => parseAddress(address)).toThrow("write HOST:PORT");
    }
  });

  test("are loopback or not", () => {
    for (const host of [
      "127.0.0.1",
      "127.9.8.7",
      "localhost",
      "LOCALHOST",
      "::1",
      "::ffff:127.0.0.1",
    ]) {
      expect(isLoopback(host)).toBe(true);
    }
    for (const host of [
      "0.0.0.0",
      "::",
      "128.0.0.1",
      "127.0.0.1.example.org",
      "localhost.example.org",
      "10.0.0.1",
    ]) {
      expect(isLoopback(host)).toBe(false);
    }
  });
});
