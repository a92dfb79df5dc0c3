/**
 * Local files that get their name when they are whole. Until then they have none (O_TMPFILE of open(2)), so that whatever ends
 * the process leaves nothing behind, kill -9 and a power cut too. Where the file system cannot do that (NFS, FUSE, FAT), they
 * have a temporary name, which only a process that ends by itself removes.
 */
import { closeSync, constants, openSync, renameSync, unlinkSync } from "node:fs";
import { systemCodeOf } from "../../base/errors.ts";
import { forgetTemporary, rememberTemporary } from "../shared/interruption.ts";
import { linkDescriptor } from "./native.ts";

const TEMPORARY_PREFIX = ".dfs-get.";
const PRIVATE = 0o600;
/** fcntl.h, asm-generic; constants has no name for it. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;
/** What file systems and kernels without it answer. */
const UNSUPPORTED = ["EOPNOTSUPP", "ENOTSUP", "EISDIR", "EINVAL", "ENOENT"];

/** A name that nothing has, in the directory whose prefix is `prefix`. */
export function temporaryName(prefix: Buffer): Buffer {
  return Buffer.concat([prefix, Buffer.from(`${TEMPORARY_PREFIX}${crypto.randomUUID()}`)]);
}

export class UnnamedFile {
  readonly descriptor: number;
  readonly #prefix: Buffer;
  /** Undefined for a file without any name. */
  readonly #temporary: Buffer | undefined;

  private constructor(descriptor: number, prefix: Buffer, temporary: Buffer | undefined) {
    this.descriptor = descriptor;
    this.#prefix = prefix;
    this.#temporary = temporary;
  }

  /** An empty file in the directory whose prefix is `prefix`, to be written. @throws system errors */
  static open(prefix: Buffer): UnnamedFile {
    const here = Buffer.concat([prefix, Buffer.from(".")]);
    try {
      const descriptor = openSync(here, O_TMPFILE | constants.O_WRONLY, PRIVATE);
      return new UnnamedFile(descriptor, prefix, undefined);
    } catch (error) {
      if (!UNSUPPORTED.includes(systemCodeOf(error) ?? "")) throw error;
    }
    const temporary = temporaryName(prefix);
    const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW;
    rememberTemporary(temporary);
    try {
      return new UnnamedFile(openSync(temporary, flags, PRIVATE), prefix, temporary);
    } catch (error) {
      forgetTemporary(temporary);
      throw error;
    }
  }

  /** A link to the file, for calls that take paths; it is to be followed. */
  get path(): Buffer {
    return Buffer.from(`/proc/self/fd/${this.descriptor}`);
  }

  /** Gives the file its name, replacing what has it. @throws system errors */
  giveName(place: Buffer): void {
    if (this.#temporary !== undefined) return renameSync(this.#temporary, place);
    try {
      linkDescriptor(this.descriptor, place);
    } catch (error) {
      if (systemCodeOf(error) !== "EEXIST") throw error;
      this.#replace(place);
    }
  }

  /** A file without a name cannot replace one: it gets another name first, for a moment. */
  #replace(place: Buffer): void {
    const temporary = temporaryName(this.#prefix);
    linkDescriptor(this.descriptor, temporary);
    try {
      renameSync(temporary, place);
    } catch (error) {
      unlinkSync(temporary);
      throw error;
    }
  }

  /** Gives the file up, unless it has got its name. */
  close(): void {
    closeSync(this.descriptor);
    if (this.#temporary === undefined) return;
    try {
      unlinkSync(this.#temporary);
    } catch (error) {
      if (systemCodeOf(error) !== "ENOENT") throw error;
    } finally {
      forgetTemporary(this.#temporary);
    }
  }
}
