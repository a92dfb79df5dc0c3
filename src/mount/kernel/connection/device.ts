/**
 * The open /dev/fuse of one mount: reads requests without blocking and writes replies.
 */
import { ptr } from "bun:ffi";
import { closeSync } from "node:fs";
import { constants } from "node:os";

import { DfsError } from "../../../base/errors.ts";
import type { InodeId } from "../../../base/ids.ts";
import { OUT_HEADER_BYTES } from "../protocol/constants.ts";
import { encodeHeader, ReplyBody, type Reply } from "../protocol/reply.ts";
import type { Request } from "../protocol/request.ts";
import { errnoName, F_DUPFD_CLOEXEC, sys } from "../system/libc.ts";
import { allocateMemory, type Memory } from "./memory.ts";
import { inodeNotice } from "./notices.ts";

const { EAGAIN, EINTR, ENOENT, ENODEV, ECONNABORTED } = constants.errno;

/** Why there are no more requests. */
export type DeviceEnd = "unmounted" | "aborted";

/** Bytes of a request, or why there is none: nothing there at the moment, the request was withdrawn, the mount is gone. */
export type Received = number | "nothing" | "withdrawn" | DeviceEnd;

export class Device {
  readonly fd: number;
  private readonly out: Memory;
  private readonly body: ReplyBody;
  /** Two `iovec`: header and payload. */
  private readonly vectors = allocateMemory(32);

  /** `largestReplyBytes`: the longest reply body that is encoded; payloads are not. */
  constructor(fd: number, largestReplyBytes: number) {
    this.fd = fd;
    this.out = allocateMemory(OUT_HEADER_BYTES + largestReplyBytes);
    this.body = new ReplyBody(this.out);
    this.setVector(0, this.out.address, OUT_HEADER_BYTES);
  }

  /** @throws DfsError `io` for an error that a reader of /dev/fuse cannot get. */
  receive(memory: Memory): Received {
    const got = sys.read(this.fd, memory.address, memory.bytes.length);
    if (got > 0) return got;
    if (got === -EAGAIN) return "nothing";
    if (got === -ENODEV || got === 0) return "unmounted";
    if (got === -ECONNABORTED) return "aborted";
    // ENOENT: its process was killed before it was read. EINTR: a signal of ours.
    if (got === -ENOENT || got === -EINTR) return "withdrawn";
    throw new DfsError("io", `cannot read requests from /dev/fuse: ${errnoName(got)}`);
  }

  /** Answers a request. Returns 0 or the negative errno with which the kernel has refused the answer. */
  reply(request: Request, reply: Reply): number {
    if (reply instanceof Uint8Array) return this.replyWithPayload(request, reply);
    this.body.reset();
    reply?.(this.body);
    return this.send(request, this.body.length, 0);
  }

  replyError(request: Request, errno: number): number {
    return this.send(request, OUT_HEADER_BYTES, -errno);
  }

  /**
   * Tells the kernel that the attributes that it holds of an inode are out of date; its content stays. Unlike notices that
   * drop pages it never waits, so it may be sent by the thread that answers.
   */
  dropAttributes(inode: InodeId): void {
    const notice = inodeNotice(inode, false);
    this.out.bytes.set(notice);
    sys.write(this.fd, this.out.address, notice.length); // ENOENT: the kernel has forgotten the inode, which is as good
  }

  /** A second descriptor of the same connection; it is the caller's to close. */
  duplicate(): number {
    const fd = sys.fcntl(this.fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) throw new DfsError("io", `cannot duplicate a descriptor: ${errnoName(fd)}`);
    return fd;
  }

  close(): void {
    closeSync(this.fd);
  }

  private send(request: Request, length: number, error: number): number {
    encodeHeader(this.out.view, length, error, request);
    return Math.min(0, sys.write(this.fd, this.out.address, length));
  }

  private replyWithPayload(request: Request, payload: Uint8Array): number {
    if (payload.length === 0) return this.send(request, OUT_HEADER_BYTES, 0);
    encodeHeader(this.out.view, OUT_HEADER_BYTES + payload.length, 0, request);
    this.setVector(1, ptr(payload), payload.length);
    return Math.min(0, sys.writev(this.fd, this.vectors.address, 2));
  }

  private setVector(index: number, address: number, length: number): void {
    const { view } = this.vectors;
    view.setBigUint64(index * 16, BigInt(address), true);
    view.setBigUint64(index * 16 + 8, BigInt(length), true);
  }
}
