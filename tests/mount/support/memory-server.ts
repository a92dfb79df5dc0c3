// A process that serves a file system in memory on a mount point, and does what it is told on standard input, one JSON object
// a line; it answers each with one line. Run by `memory-mount.ts`.

import { createInterface } from "node:readline";

import { systemClock } from "../../../src/base/clock.ts";
import { messageOf } from "../../../src/base/errors.ts";
import { lineLogger } from "../../../src/base/logger.ts";
import { mountKernel } from "../../../src/mount/kernel/mount.ts";
import { MemoryFileSystem } from "./memory-file-system.ts";
import { nameOf } from "./memory-inodes.ts";
import type { ServerCommand, ServerOptions } from "./memory-mount.ts";

/** A test that hangs in a system call on the mount is freed by this: the mount's answers become ENOTCONN. */
const LIFETIME_MS = 120_000;
setTimeout(() => process.exit(9), LIFETIME_MS).unref();

const options = JSON.parse(process.argv[2] ?? "{}") as ServerOptions;
const fileSystem = new MemoryFileSystem(options.timeoutMs);
if (options.firstInode !== undefined) fileSystem.inodes.startAt(BigInt(options.firstInode));
fileSystem.fillRoot(options.files ?? 0);

function answer(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

const logger = lineLogger(systemClock, "mount", (line) => process.stderr.write(line), "debug");
const mount = await mountKernel({
  mountPoint: options.mountPoint,
  fileSystem,
  logger,
  readOnly: options.readOnly ?? false,
  allowOther: options.allowOther ?? process.getuid?.() === 0,
  defaultPermissions: true,
  fsname: "dfs#127.0.0.1:4000",
  dev: true,
  suid: true,
  cache: options.cache ?? "auto",
}).catch((error: unknown) => {
  answer({ failed: messageOf(error) });
  process.exit(1);
});
answer({ ready: true });

/** Another client has changed the content; the kernel is told of it or not. */
async function changeContent(path: string, text: string, tell: boolean): Promise<void> {
  const inode = fileSystem.at(path);
  inode.content.resize(0);
  inode.content.write(0, new TextEncoder().encode(text));
  fileSystem.inodes.touched(inode);
  // The kernel has dropped what it holds when this is answered.
  if (tell) await fileSystem.invalidations?.inode(inode.id, true);
}

/** Another client has renamed. */
async function renameAway(from: string, to: string, tell: boolean): Promise<void> {
  const root = fileSystem.at("/").id;
  const names = { from: nameOf(from), to: nameOf(to) };
  await fileSystem.rename(
    { parent: root, name: names.from },
    { parent: root, name: names.to },
    "replace",
  );
  if (!tell) return;
  fileSystem.invalidations?.entry(root, names.from);
  fileSystem.invalidations?.entry(root, names.to);
}

async function carryOut(command: ServerCommand): Promise<unknown> {
  switch (command.do) {
    case "change":
      return changeContent(command.path, command.text, command.tell);
    case "rename":
      return renameAway(command.from, command.to, command.tell);
    case "all":
      return fileSystem.invalidations?.all();
    case "hold":
      return fileSystem.hold.begin();
    case "letGo":
      return fileSystem.hold.letGo();
    case "unmount":
      return mount.unmount(command);
    case "state":
      return fileSystem.state();
  }
}

async function obey(line: string): Promise<void> {
  try {
    answer({ done: (await carryOut(JSON.parse(line) as ServerCommand)) ?? null });
  } catch (error) {
    answer({ error: messageOf(error) });
  }
}

/** The command that is being carried out; one that ends the mount is answered first. */
let current = Promise.resolve();

async function sayHowItEnds(): Promise<never> {
  const end = await mount.ended;
  await current;
  answer({ ended: end.reason, stopped: fileSystem.stopped });
  process.exit(0);
}
void sayHowItEnds();

for await (const line of createInterface({ input: process.stdin })) {
  current = obey(line);
  await current;
}
// Whoever started us is gone.
process.exit(3);
