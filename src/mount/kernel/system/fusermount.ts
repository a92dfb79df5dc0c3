/**
 * Mounting and unmounting by an ordinary user, through `fusermount3` of the package fuse3, which is setuid root. It opens
 * /dev/fuse, mounts, and sends the descriptor back over a socket whose number it finds in _FUSE_COMMFD.
 */
import { closeSync } from "node:fs";
import { constants } from "node:os";

import { DfsError, messageOf } from "../../../base/errors.ts";
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

const PROGRAM = "fusermount3";
const SCM_RIGHTS = 1;
const SOL_SOCKET = 1;
const CMSG_HEADER_BYTES = 16;

interface Outcome {
  readonly exitCode: number;
  readonly complaint: string;
}

async function runFusermount(args: readonly string[], socket?: number): Promise<Outcome> {
  let child;
  try {
    child = Bun.spawn([PROGRAM, ...args], {
      stdin: socket ?? "ignore",
      stdout: "ignore",
      stderr: "pipe",
      env: { ...process.env, LC_ALL: "C", ...(socket !== undefined && { _FUSE_COMMFD: "0" }) },
    });
  } catch (error) {
    throw new DfsError(
      "notSupported",
      `cannot run ${PROGRAM}, which ordinary users need for mounting: ${messageOf(error)}. ` +
        `Install the package fuse3, or mount as root`,
      { cause: error },
    );
  }
  const complaint = (await new Response(child.stderr).text()).trim();
  return { exitCode: await child.exited, complaint };
}

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
  throw new DfsError("io", `cannot mount: ${PROGRAM} has sent no descriptor (${reason})`);
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
        `cannot mount on ${mountPoint}: ${outcome.complaint || `${PROGRAM} has failed`}`,
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

/** Returns 0 or a negative errno: fusermount3 says only in words what went wrong. */
export async function unmountByFusermount(mountPoint: string, lazy: boolean): Promise<number> {
  const args = ["-u", ...(lazy ? ["-z"] : []), "--", mountPoint];
  const { exitCode, complaint } = await runFusermount(args);
  if (exitCode === 0) return 0;
  const { EBUSY, EPERM, EINVAL } = constants.errno;
  if (/busy/i.test(complaint)) return -EBUSY;
  if (/not found in|not mounted|invalid argument/i.test(complaint)) return -EINVAL;
  return -EPERM;
}
