// The driver `kernel` against a kernel that is played by the test: versions, broken and hostile requests, interrupts.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";

import type { CancelSignal } from "../../../src/base/cancellation.ts";
import { ERRNO } from "../../../src/base/errno.ts";
import { DfsError } from "../../../src/base/errors.ts";
import type { InodeId } from "../../../src/base/ids.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import type { Handle } from "../../../src/mount/file-system.ts";
import { INIT_FLAG, OPCODE } from "../../../src/mount/kernel/protocol/constants.ts";
import type { Attributes } from "../../../src/protocol/messages/common.ts";
import { messageOfFailure } from "../../support/failure.ts";
import { body, FakeKernel, frame, initBody } from "../support/fake-kernel.ts";
import { MemoryFileSystem } from "../support/memory-file-system.ts";

const ROOT = 1n;

describe("the driver", () => {
  let fileSystem: MemoryFileSystem;
  let kernel: FakeKernel;
  const logged: string[] = [];
  beforeEach(() => {
    logged.length = 0;
    fileSystem = new MemoryFileSystem();
    const error = (message: string): number => logged.push(message);
    kernel = new FakeKernel(fileSystem, { ...silentLogger, error });
  });
  afterEach(async () => {
    await kernel.close();
  });

  const words = (bytes: Uint8Array): number[] => [...new Uint32Array(bytes.slice().buffer)];

  describe("at INIT", () => {
    const init = async (major: number, minor: number, flags: bigint) => {
      kernel.send(frame(OPCODE.INIT, 2n, 0n, initBody(major, minor, flags)));
      return kernel.receive();
    };

    test("takes the version that is implemented and the flags that it knows", async () => {
      const reply = await init(7, 99, (1n << 63n) - 1n);
      const [major, minor, , flags = 0, , maxWrite, granularity, pages, flags2 = 0] = words(
        reply.body,
      );
      expect(reply.body).toHaveLength(64);
      expect([major, minor, maxWrite, granularity, pages]).toEqual([7, 38, 65_536, 1, 16]);
      const all = Object.values(INIT_FLAG).reduce((sum, flag) => sum | flag, 0n);
      const taken = (BigInt(flags2) << 32n) | BigInt(flags);
      expect(taken).toBe(all & ~INIT_FLAG.EXPLICIT_INVAL_DATA);
      const WRITEBACK_CACHE = 1n << 16n;
      expect(taken & WRITEBACK_CACHE).toBe(0n);
    });

    test("takes nothing that is not offered", async () => {
      const reply = await init(7, 31, INIT_FLAG.ASYNC_READ);
      expect(words(reply.body).slice(0, 4)).toEqual([7, 31, 131_072, 1]);
    });

    test("tells a later kernel the version, which then says hello again", async () => {
      expect(words((await init(8, 0, 0n)).body).slice(0, 2)).toEqual([7, 38]);
      expect((await init(7, 45, 0n)).errno).toBe(0);
      expect((await kernel.session.agreed).minor).toBe(38);
    });

    test("refuses kernels that are too old", async () => {
      const failure = messageOfFailure(kernel.session.agreed);
      expect((await init(7, 30, 0n)).errno).toBe(ERRNO.EPROTO);
      expect(await failure).toContain("this kernel speaks version 7.30");
    });
  });

  test("answers with the same 64 bits of unique, about the same 64 bits of inode", async () => {
    await kernel.init();
    const unique = 0xfedc_ba98_7654_3210n;
    const made = await kernel.ask(OPCODE.MKDIR, unique, ROOT, 0o755, 0, "dir");
    expect(made).toMatchObject({ unique, errno: 0 });
    fileSystem.inodes.startAt(0x7fff_ffff_ffff_fffdn);
    const far = await kernel.ask(OPCODE.MKNOD, 4n, ROOT, 0o100644, 0, 0, 0, "far");
    const view = new DataView(far.body.buffer);
    expect(view.getBigUint64(0, true)).toBe(0x7fff_ffff_ffff_fffdn); // nodeid
    expect(view.getBigUint64(40, true)).toBe(0x7fff_ffff_ffff_fffdn); // st_ino
    const link = [0x7fff_ffff_ffff_fffdn, "again"] as const;
    expect(await kernel.ask(OPCODE.LINK, 6n, ROOT, ...link)).toMatchObject({ errno: 0 });
  });

  describe("refuses", () => {
    const refused: readonly (readonly [
      title: string,
      errno: keyof typeof ERRNO,
      opcode: number,
      parts: readonly (number | bigint | string)[],
    ])[] = [
      ["a request that is not known", "ENOSYS", 9999, []],
      ["STATX, TMPFILE and the like for good", "ENOSYS", OPCODE.TMPFILE, [0, 0, 0, 0]],
      ["a body that is too short", "EINVAL", OPCODE.SETATTR, [1, 0]],
      ["an empty body", "EINVAL", OPCODE.READ, []],
      ["a name without an end", "EINVAL", OPCODE.LOOKUP, [0x41414141]],
      ["a second name that is missing", "EINVAL", OPCODE.RENAME, [1n, "a"]],
      ["a write that says more than it has", "EINVAL", OPCODE.WRITE, [1n, 0n, 65_000, 0, 0n, 0, 0]],
      ["a write of 4 GiB", "EINVAL", OPCODE.WRITE, [1n, 0n, 0xffff_ffff, 0, 0n, 0, 0]],
      ["a write beyond 2^53", "EFBIG", OPCODE.WRITE, [1n, 1n << 60n, 1, 0, 0n, 0, 0, 0]],
      ["a size beyond 2^53", "EFBIG", OPCODE.SETATTR, setSize(1n << 53n)],
      ["a node of no type", "EINVAL", OPCODE.MKNOD, [0o644, 0, 0, 0, "x"]],
      ["flags of rename", "EINVAL", OPCODE.RENAME2, [1n, 7, 0, "a", "b"]],
      ["a lock of no type", "EINVAL", OPCODE.SETLK, [1n, 1n, 0n, 9n, 7, 1, 0, 0]],
      ["a lock that ends before it starts", "EINVAL", OPCODE.SETLK, [1n, 1n, 9n, 3n, 0, 1, 0, 0]],
      ["a lock beyond 2^53", "EINVAL", OPCODE.SETLK, [1n, 1n, 1n << 60n, 1n << 61n, 0, 1, 0, 0]],
      ["a mode of fallocate", "EOPNOTSUPP", OPCODE.FALLOCATE, [1n, 0n, 1n, 0xff00, 0]],
      ["an allocation beyond 2^53", "EFBIG", OPCODE.FALLOCATE, [1n, 1n << 52n, 1n << 52n, 0, 0]],
      ["SEEK_SET", "EINVAL", OPCODE.LSEEK, [1n, 0n, 0, 0]],
      ["data behind the largest file", "ENXIO", OPCODE.LSEEK, [1n, 1n << 62n, 3, 0]],
      ["flags of copy_file_range", "EINVAL", OPCODE.COPY_FILE_RANGE, [1n, 0n, 1n, 1n, 0n, 1n, 1n]],
      ["an attribute shorter than it says", "EINVAL", OPCODE.SETXATTR, [99, 0, "user.a", 1]],
      ["an inode that nobody knows", "ESTALE", OPCODE.GETATTR, [0, 0, 0n]],
    ];
    function setSize(size: bigint): (number | bigint)[] {
      return [8, 0, 0n, size, 0n, 0n, 0n, 0n, 0, 0, 0, 0, 0, 0, 0, 0];
    }
    test.each(refused)("%s with %s", async (title, errno, opcode, parts) => {
      await kernel.init();
      const inode = title.includes("nobody knows") ? 77n : ROOT;
      const reply = await kernel.ask(opcode, 8n, inode, ...parts);
      expect(reply).toEqual({ unique: 8n, errno: ERRNO[errno], body: new Uint8Array() });
      expect(logged).toEqual([]);
    });

    test("to take an error of the file system for ENOSYS, which the kernel would remember", async () => {
      await kernel.init();
      fileSystem.mkdir = async () => {
        throw new DfsError("unsupported", "the server is older");
      };
      const reply = await kernel.ask(OPCODE.MKDIR, 8n, ROOT, 0o755, 0, "dir");
      expect(reply.errno).toBe(ERRNO.EOPNOTSUPP);
    });
  });

  test("answers EIO and logs when the file system throws what it should not", async () => {
    await kernel.init();
    fileSystem.getattr = async () => {
      throw new TypeError("undefined is not a function");
    };
    expect((await kernel.ask(OPCODE.GETATTR, 8n, ROOT, 0, 0, 0n)).errno).toBe(ERRNO.EIO);
    expect(logged).toEqual(["a request has failed by a mistake in dfs"]);
  });

  test("drops what is no request, and goes on", async () => {
    await kernel.init();
    kernel.send(new Uint8Array([1, 2, 3]));
    const lies = frame(OPCODE.LOOKUP, 6n, ROOT, body("x"));
    new DataView(lies.buffer).setUint32(0, 4096, true);
    kernel.send(lies);
    const extensions = frame(OPCODE.LOOKUP, 6n, ROOT, body("x"));
    new DataView(extensions.buffer).setUint16(36, 9999, true);
    kernel.send(extensions);
    kernel.send(frame(OPCODE.FORGET, 0n, ROOT, new Uint8Array(3)));
    expect((await kernel.ask(OPCODE.GETATTR, 8n, ROOT, 0, 0, 0n)).unique).toBe(8n);
    expect(logged).toEqual(Array.from({ length: 4 }, () => "a request was dropped"));
  });

  test("takes only as many inodes from BATCH_FORGET as there are", async () => {
    await kernel.init();
    const forgotten: [InodeId, bigint][] = [];
    fileSystem.forget = (inode, references) => void forgotten.push([inode, references]);
    const two = body(2, 0, 5n, 1n, 6n, 1n << 40n);
    kernel.send(frame(OPCODE.BATCH_FORGET, 0n, 0n, two));
    kernel.send(frame(OPCODE.BATCH_FORGET, 0n, 0n, body(0xffff_ffff, 0, 7n, 2n)));
    await kernel.ask(OPCODE.GETATTR, 8n, ROOT, 0, 0, 0n);
    expect(forgotten.map(String)).toEqual(["5,1", "6,1099511627776", "7,2"]);
  });

  test("passes INTERRUPT on to the request that it names, and passes over one that is answered", async () => {
    await kernel.init();
    const { promise: started, resolve: start } = Promise.withResolvers<void>();
    fileSystem.getattr = (_inode: InodeId, _handle?: Handle, signal?: CancelSignal) =>
      new Promise<Attributes>((_resolve, reject) => {
        signal?.addEventListener("abort", () => reject(new DfsError("cancelled", "given up")));
        start();
      });
    kernel.send(frame(OPCODE.INTERRUPT, 3n, 0n, body(999n)));
    kernel.send(frame(OPCODE.GETATTR, 10n, ROOT, body(0, 0, 0n)));
    await started;
    kernel.send(frame(OPCODE.INTERRUPT, 13n, 0n, body(12n)));
    kernel.send(frame(OPCODE.INTERRUPT, 11n, 0n, body(10n)));
    expect(await kernel.receive()).toMatchObject({ unique: 10n, errno: ERRNO.EINTR });
  });

  test("takes requests slowly when too many large writes wait, and still hears an interrupt", async () => {
    const maxKeptBytes = 200_000;
    const small = new FakeKernel(fileSystem, silentLogger, maxKeptBytes);
    try {
      await small.init();
      const waiting: { finish: () => void; signal: CancelSignal | undefined }[] = [];
      fileSystem.write = (_inode, _handle, _offset, _bytes, options) =>
        new Promise((resolve, reject) => {
          const giveUp = (): void => reject(new DfsError("cancelled", "given up"));
          options?.signal?.addEventListener("abort", giveUp);
          waiting.push({ finish: resolve, signal: options?.signal });
        });
      const write = body(1n, 0n, 65_536, 0, 0n, 0, 0);
      const request = (unique: bigint): Uint8Array =>
        frame(OPCODE.WRITE, unique, ROOT, Buffer.concat([write, Buffer.alloc(65_536)]));
      for (let i = 0n; i < 4n; i++) {
        small.send(request(100n + i * 2n));
        while (waiting.length <= Number(i)) await Bun.sleep(1);
      }
      small.send(frame(OPCODE.INTERRUPT, 103n, 0n, body(102n)));
      expect(await small.receive()).toMatchObject({ unique: 102n, errno: ERRNO.EINTR });
      for (const { finish } of waiting) finish();
      const rest = [await small.receive(), await small.receive(), await small.receive()];
      expect(rest.map(({ unique, errno }) => [unique, errno])).toEqual([
        [100n, 0],
        [104n, 0],
        [106n, 0],
      ]);
      // Nothing waits any more: requests are taken as ever.
      expect((await small.ask(OPCODE.GETATTR, 200n, ROOT, 0, 0, 0n)).errno).toBe(0);
    } finally {
      await small.close();
    }
  });

  test("survives any bytes behind a header, answering each request once", async () => {
    await kernel.init();
    const seed = Number(process.env["DFS_TEST_SEED"] ?? Date.now() % 1_000_000);
    console.log(`seed ${seed} (DFS_TEST_SEED=${seed} repeats it)`);
    let state = seed;
    const random = (below: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const noAnswer: readonly number[] = [OPCODE.FORGET, OPCODE.BATCH_FORGET, OPCODE.INTERRUPT];
    const skipped: readonly number[] = [OPCODE.INIT, OPCODE.SETLKW, ...noAnswer];
    fileSystem.forget = () => undefined;
    // In memory every page of a range would be taken.
    fileSystem.allocate = async () => undefined;
    for (let round = 0; round < 1500; round++) {
      let opcode = random(55);
      if (skipped.includes(opcode)) opcode = OPCODE.GETATTR;
      const bytes = new Uint8Array(random(120));
      for (let i = 0; i < bytes.length; i++) bytes[i] = random(4) === 0 ? random(256) : random(3);
      const unique = BigInt(round + 2) * 2n;
      kernel.send(frame(noAnswer[random(3)] ?? 2, 1n, BigInt(random(5)), bytes));
      kernel.send(frame(opcode, unique, BigInt(random(5)), bytes));
      const reply = await kernel.receive();
      expect(reply.unique).toBe(unique);
      expect(reply.errno).toBeGreaterThanOrEqual(0);
      expect(reply.errno).toBeLessThan(512);
    }
  });
});
