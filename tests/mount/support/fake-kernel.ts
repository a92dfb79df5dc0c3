// The kernel's end of a FUSE connection, played by a test: a socket pair that keeps the bounds of messages stands in for
// /dev/fuse, so that a test can send what no kernel would.

import { closeSync } from "node:fs";

import { systemClock } from "../../../src/base/clock.ts";
import type { Logger } from "../../../src/base/logger.ts";
import type { InodeId } from "../../../src/base/ids.ts";
import type { MountedFileSystem } from "../../../src/mount/file-system.ts";
import { Device } from "../../../src/mount/kernel/connection/device.ts";
import { allocateMemory } from "../../../src/mount/kernel/connection/memory.ts";
import { KnownInodes } from "../../../src/mount/kernel/operations/known-inodes.ts";
import { PosixLockOwners } from "../../../src/mount/kernel/operations/lock-owners.ts";
import { presentationOf } from "../../../src/mount/kernel/protocol/attributes.ts";
import { OPCODE } from "../../../src/mount/kernel/protocol/constants.ts";
import { Session } from "../../../src/mount/kernel/session.ts";
import {
  AF_UNIX,
  F_GETFL,
  F_SETFL,
  O_NONBLOCK,
  SOCK_CLOEXEC,
  sys,
} from "../../../src/mount/kernel/system/libc.ts";

const SOCK_SEQPACKET = 5;

export interface KernelReply {
  readonly unique: bigint;
  /** A positive errno, or 0. */
  readonly errno: number;
  readonly body: Uint8Array;
}

/** A request, header and body. */
export function frame(opcode: number, unique: bigint, inode: bigint, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(40 + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint32(4, opcode, true);
  view.setBigUint64(8, unique, true);
  view.setBigUint64(16, inode, true);
  bytes.set(body, 40);
  return bytes;
}

/** Little-endian fields: `u32(1)`, `u64(2n)`, text with its NUL. */
export function body(...parts: readonly (number | bigint | string)[]): Uint8Array {
  return Buffer.concat(
    parts.map((part) => {
      if (typeof part === "string") return Buffer.from(`${part}\0`, "latin1");
      const field = Buffer.alloc(typeof part === "bigint" ? 8 : 4);
      if (typeof part === "bigint") field.writeBigUInt64LE(BigInt.asUintN(64, part));
      else field.writeUInt32LE(part);
      return field;
    }),
  );
}

/** The body of an INIT. */
export function initBody(major: number, minor: number, flags: bigint): Uint8Array {
  const words = [major, minor, 131_072, Number(flags & 0xffff_ffffn), Number(flags >> 32n)];
  return body(...words, ...Array.from({ length: 11 }, () => 0));
}

export class FakeKernel {
  readonly session: Session;
  private readonly fd: number;
  private readonly device: Device;
  private readonly memory = allocateMemory(1024 * 1024);

  constructor(fileSystem: MountedFileSystem, logger: Logger, maxKeptBytes = 2 ** 27) {
    const pair = new Int32Array(new ArrayBuffer(8));
    const made = sys.socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
    if (made < 0) throw new Error("no socket pair");
    const [ours = -1, theirs = -1] = pair;
    for (const fd of pair) sys.fcntl(fd, F_SETFL, sys.fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
    this.fd = ours;
    this.device = new Device(theirs, 65_536);
    const context = {
      fileSystem,
      presentation: presentationOf(fileSystem.timeouts, fileSystem.blockSize),
      known: new KnownInodes(),
      dropAttributes: (inode: InodeId) => this.device.dropAttributes(inode),
      posixLockOwners: new PosixLockOwners(),
      largestReplyBytes: 65_536,
      uncached: false,
    };
    const wishes = { maxWriteBytes: 65_536, cache: "auto" } as const;
    const options = { device: this.device, context, wishes, clock: systemClock, logger };
    this.session = new Session({ ...options, maxKeptBytes });
  }

  send(bytes: Uint8Array): void {
    this.memory.bytes.set(bytes);
    const sent = sys.write(this.fd, this.memory.address, bytes.length);
    if (sent !== bytes.length) throw new Error(`the request was not sent: ${sent}`);
  }

  /** The next reply. Notices, which look like replies to request 0, are passed over. */
  async receive(): Promise<KernelReply> {
    for (;;) {
      const got = sys.read(this.fd, this.memory.address, this.memory.bytes.length);
      const reply = got >= 16 ? this.decode(got) : undefined;
      if (reply !== undefined && reply.unique !== 0n) return reply;
      if (reply === undefined) await Bun.sleep(1);
    }
  }

  async ask(
    opcode: number,
    unique: bigint,
    inode: bigint,
    ...parts: readonly (number | bigint | string)[]
  ): Promise<KernelReply> {
    this.send(frame(opcode, unique, inode, body(...parts)));
    return this.receive();
  }

  /** Says hello as a kernel of today does. */
  async init(): Promise<void> {
    this.send(frame(OPCODE.INIT, 2n, 0n, initBody(7, 45, (1n << 42n) - 1n)));
    const reply = await this.receive();
    if (reply.errno !== 0) throw new Error(`INIT was refused: ${reply.errno}`);
    await this.session.agreed;
  }

  /** Closes the connection and waits until the driver has seen it. */
  async close(): Promise<void> {
    closeSync(this.fd);
    await this.session.ended;
    await this.session.stop();
    this.device.close();
  }

  private decode(length: number): KernelReply {
    const { view, bytes } = this.memory;
    if (view.getUint32(0, true) !== length) throw new Error("a reply with a wrong length");
    return {
      unique: view.getBigUint64(8, true),
      errno: Math.abs(view.getInt32(4, true)),
      body: bytes.slice(16, length),
    };
  }
}
