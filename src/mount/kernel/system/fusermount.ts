/**
 * Mounting by an ordinary user, through `fusermount3` of the package fuse3, which is setuid root. It opens /dev/fuse, mounts, and sends the descriptor back over a socket whose number it finds in _FUSE_COMMFD.
 */
import { closeSync } from "node:fs";

import { DfsError } from "../../../base/errors.ts";
import { runFusermount } from "../../../base/mounts/fusermount.ts";
import { allocateMemory } from "../connection/memory.ts";
import {
  AF_UNIX,
  errnoName,
  F_GETFL,
  F_SETFL,
  MSG_CMSG_CLOEXEC,
  MSG_DONTWAIT,
  O_NONBLOCK,
  SOCK_CLOEXEC,
  SOCK_STREAM,
  sys,
} from "./libc.ts";

const SCM_RIGHTS = 1;
const SOL_SOCKET = 1;
const CMSG_HEADER_BYTES = 16;

/** Takes the descriptor that is waiting in the socket. `struct msghdr` as on 64-bit Linux. */
function receiveDescriptor(socket: number): number {
  const data = allocateMemory(8);
  const vector = allocateMemory(16);
  const control = allocateMemory(64);
  const message = allocateMemory(56);
  vector.view.setBigUint64(0, BigInt(data.address), true);
  vector.view.setBigUint64(8, 1n, true);
  message.view.setBigUint64(16, BigInt(vector.address), true); // msg_iov
  message.view.setBigUint64(24, 1n, true); // msg_iovlen
  message.view.setBigUint64(32, BigInt(control.address), true); // msg_control
  message.view.setBigUint64(40, BigInt(control.bytes.length), true); // msg_controllen
  const got = sys.recvmsg(socket, message.address, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  const isRights =
    got > 0 &&
    control.view.getBigUint64(0, true) === BigInt(CMSG_HEADER_BYTES + 4) &&
    control.view.getInt32(8, true) === SOL_SOCKET &&
    control.view.getInt32(12, true) === SCM_RIGHTS;
  if (isRights) return control.view.getInt32(CMSG_HEADER_BYTES, true);
  const reason = got < 0 ? errnoName(got) : "it sent something else";
  throw new DfsError("io", `cannot mount: fusermount3 has sent no descriptor (${reason})`);
}

function setNonBlocking(fd: number): void {
  const flags = sys.fcntl(fd, F_GETFL, 0);
  const failed = flags < 0 ? flags : sys.fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  if (failed < 0) throw new DfsError("io", `cannot set O_NONBLOCK: ${errnoName(failed)}`);
}

/**
 * Mounts and returns the open /dev/fuse, non-blocking. `options` are those of mount(8), the names of which fusermount3 checks.
 * @throws DfsError `accessDenied`, `notSupported` (no fusermount3) or `io`.
 */
export async function mountByFusermount(
  mountPoint: string,
  options: readonly string[],
): Promise<number> {
  const pair = new Int32Array(new ArrayBuffer(8));
  const failed = sys.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
  if (failed < 0) throw new DfsError("io", `cannot make a socket pair: ${errnoName(failed)}`);
  const [ours = -1, theirs = -1] = pair;
  try {
    const outcome = await runFusermount(["-o", options.join(","), "--", mountPoint], theirs);
    if (outcome.exitCode !== 0) {
      throw new DfsError(
        "accessDenied",
        `cannot mount on ${mountPoint}: ${outcome.complaint || `fusermount3 has failed`}`,
      );
    }
    const fd = receiveDescriptor(ours);
    setNonBlocking(fd);
    return fd;
  } finally {
    closeSync(ours);
    closeSync(theirs);
  }
}
