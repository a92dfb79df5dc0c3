// Random work on files through several clients at once, compared with a model.
//
// Each step takes the paths that it works on for itself, so that the model always knows what a path must hold. A step
// that failed may or may not have been done: then the path may hold either, and the next read tells which.

import { isDfsError } from "../../src/base/errors.ts";
import type { Random } from "../../src/base/random.ts";
import type { DfsClient, OpenFile } from "../../src/client/api.ts";
import { bytesOf, collected, OWNER } from "./cluster.ts";

/** The content of a path; undefined when there is no such file. */
type Content = Uint8Array | undefined;

/** Errors that servers which are away cause; the content is another time's question. */
const AWAY = ["unreachable", "timeout", "quorum", "io", "outcomeUnknown", "stale", "busy"] as const;

/** For how long a read is tried again while servers are away. */
const READ_PATIENCE_MS = 90_000;

const PUT = { ...OWNER, keepReplaced: true };

export interface RandomFilesOptions {
  readonly clients: readonly DfsClient[];
  readonly random: Random;
  readonly blockSize: number;
  readonly paths: number;
}

export class RandomFiles {
  /** Steps done, by kind. */
  readonly done: Record<string, number> = {};
  /** Steps that failed because of servers that were away. */
  readonly failures: string[] = [];
  private readonly options: RandomFilesOptions;
  private readonly paths: string[];
  private readonly taken = new Set<string>();
  /** What each path may hold: one content, or several after a step that failed. */
  private readonly model = new Map<string, Content[]>();
  private nextFill = 1;

  constructor(options: RandomFilesOptions) {
    this.options = options;
    this.paths = Array.from({ length: options.paths }, (_, index) => `/d${index % 3}/f${index}`);
    for (const path of this.paths) this.model.set(path, [undefined]);
  }

  async prepare(): Promise<void> {
    for (const name of ["/d0", "/d1", "/d2"]) {
      await this.options.clients[0]!.mkdir(bytesOf(name), { ...OWNER, mode: 0o755 });
    }
  }

  /** Works until `stop` says so. @throws Error when content is not what it must be. */
  async run(workers: number, stop: () => boolean): Promise<void> {
    const work = async (): Promise<void> => {
      while (!stop()) await this.step();
    };
    await Promise.all(Array.from({ length: workers }, work));
  }

  /** Compares every path with the model through `client`. @throws Error where they differ. */
  async verifyAll(client: DfsClient): Promise<void> {
    for (const path of this.paths) await this.verify(client, path);
    const listed: string[] = [];
    for (const directory of ["/d0", "/d1", "/d2"]) {
      for await (const { name } of client.readdir(bytesOf(directory))) {
        listed.push(`${directory}/${Buffer.from(name).toString()}`);
      }
    }
    const expected = this.paths.filter((path) => this.model.get(path)![0] !== undefined);
    if (String(listed.toSorted()) !== String(expected.toSorted())) {
      throw new Error(`the listing is ${String(listed)} instead of ${String(expected)}`);
    }
  }

  private async step(): Promise<void> {
    const { random, clients } = this.options;
    const client = clients[random.below(clients.length)]!;
    const other = clients[random.below(clients.length)]!;
    const path = this.take();
    const second = this.take();
    const steps: [string, number, () => Promise<void>][] = [
      ["put", 6, () => this.put(client, path)],
      ["write", 8, () => this.write(client, path)],
      ["truncate", 3, () => this.truncate(client, path)],
      ["rename", 3, () => this.rename(client, path, second)],
      ["unlink", 2, () => this.unlink(client, path)],
      ["read", 8, () => this.verify(client, path)],
      ["held", 2, () => this.readReplaced(client, other, path)],
    ];
    let pick = random.below(steps.reduce((sum, [, weight]) => sum + weight, 0));
    const [name, , run] = steps.find(([, weight]) => (pick -= weight) < 0)!;
    try {
      await run();
      this.done[name] = (this.done[name] ?? 0) + 1;
    } finally {
      this.taken.delete(path);
      this.taken.delete(second);
    }
  }

  private take(): string {
    const free = this.paths.filter((path) => !this.taken.has(path));
    const path = free[this.options.random.below(free.length)]!;
    this.taken.add(path);
    return path;
  }

  private bytes(length: number): Uint8Array {
    // Different everywhere, so that bytes of another place or time are noticed.
    const bytes = new Uint8Array(length);
    let word = Math.imul(this.nextFill++, 0x9e3779b1) | 1;
    for (let at = 0; at < length; at++) {
      word = (Math.imul(word, 0x01000193) ^ at) | 1;
      bytes[at] = word >>> 13;
    }
    return bytes;
  }

  private size(): number {
    const { random, blockSize } = this.options;
    const sizes = [0, 1, blockSize - 1, blockSize, blockSize + 1, random.below(8 * blockSize)];
    return sizes[random.below(sizes.length)]!;
  }

  /** Does `work`, which turns the content of `path` into `after`, or leaves it. */
  private async change(path: string, after: Content, work: () => Promise<unknown>): Promise<void> {
    const before = this.model.get(path)!;
    try {
      await work();
      this.model.set(path, [after]);
    } catch (error) {
      this.noteAway(path, error);
      this.model.set(path, [...before, after]);
    }
  }

  private noteAway(path: string, error: unknown): void {
    if (!isDfsError(error) || !(AWAY as readonly string[]).includes(error.kind)) throw error;
    this.failures.push(`${path}: ${error.kind}: ${error.message.replace("\n", "; ")}`);
  }

  /** What `path` holds, after looking if that is uncertain. */
  private async known(client: DfsClient, path: string): Promise<Content> {
    if (this.model.get(path)!.length > 1) await this.verify(client, path);
    return this.model.get(path)![0];
  }

  private async put(client: DfsClient, path: string): Promise<void> {
    const content = this.bytes(this.size());
    await this.change(path, content, () => client.put(bytesOf(path), [content], PUT));
  }

  private async truncate(client: DfsClient, path: string): Promise<void> {
    const before = await this.known(client, path);
    if (before === undefined) return;
    const size = this.size();
    const after = resized(before, size);
    await this.change(path, after, () => client.setattr(bytesOf(path), { size }));
  }

  private async unlink(client: DfsClient, path: string): Promise<void> {
    if ((await this.known(client, path)) === undefined) return;
    await this.change(path, undefined, () => client.unlink(bytesOf(path)));
  }

  private async rename(client: DfsClient, from: string, to: string): Promise<void> {
    const content = await this.known(client, from);
    const target = await this.known(client, to);
    if (content === undefined) return;
    try {
      await client.rename(bytesOf(from), bytesOf(to));
      this.model.set(from, [undefined]);
      this.model.set(to, [content]);
    } catch (error) {
      this.noteAway(from, error);
      this.model.set(from, [content, undefined]);
      this.model.set(to, [target, content]);
    }
  }

  /** Writes and truncates through a handle, reading back what it has just written, with flushes in between. */
  private async write(client: DfsClient, path: string): Promise<void> {
    const { random, blockSize } = this.options;
    let now = (await this.known(client, path)) ?? new Uint8Array(0);
    const states: Content[] = [...this.model.get(path)!];
    let file: OpenFile | undefined;
    try {
      file = await client.create(bytesOf(path), OWNER);
      states.push(now);
      const flushes: Promise<void>[] = [];
      for (let left = 1 + random.below(6); left > 0; left--) {
        const kind = random.below(10);
        if (kind === 0) {
          now = resized(now, this.size());
          states.push(now);
          await file.truncate(now.length);
        } else {
          const bytes = this.bytes(1 + random.below(2 * blockSize));
          const offset = random.below(now.length + blockSize);
          now = written(now, offset, bytes);
          states.push(now);
          await file.write(offset, bytes);
        }
        if (kind < 4) flushes.push(file.flush());
        flushes.at(-1)?.catch(() => undefined); // met below
        await this.readPart(file, path, now);
      }
      await Promise.all(flushes);
      await file.close();
      this.model.set(path, [now]);
    } catch (error) {
      this.noteAway(path, error);
      await file?.close().catch((failure: unknown) => this.noteAway(path, failure));
      this.model.set(path, states.toReversed());
    }
  }

  private async readPart(file: OpenFile, path: string, now: Uint8Array): Promise<void> {
    const { random } = this.options;
    const offset = random.below(now.length + 1);
    const length = random.below(now.length + 1);
    const found = await file.read(offset, length);
    expectSame(`${path} at ${offset}`, found, [now.subarray(offset, offset + length)]);
  }

  /** A file that is replaced and unlinked keeps its content for who has it open. */
  private async readReplaced(client: DfsClient, other: DfsClient, path: string): Promise<void> {
    const before = await this.known(client, path);
    if (before === undefined) return;
    const file = await client.open(bytesOf(path));
    const after = this.bytes(this.size());
    await this.change(path, after, () => other.put(bytesOf(path), [after], PUT));
    await this.change(path, undefined, () => other.unlink(bytesOf(path)));
    try {
      expectSame(`${path}, held open`, await file.read(0, before.length), [before]);
    } catch (error) {
      this.noteAway(path, error);
    }
    await file.close();
  }

  /** Reads the whole file, and parts of it, trying again while servers are away. */
  private async verify(client: DfsClient, path: string): Promise<void> {
    const endMs = performance.now() + READ_PATIENCE_MS;
    for (;;) {
      try {
        const found = await contentOf(client, path);
        this.model.set(path, [expectSame(path, found, this.model.get(path)!)]);
        return;
      } catch (error) {
        if (performance.now() > endMs) throw error;
        this.noteAway(path, error);
      }
    }
  }
}

async function contentOf(client: DfsClient, path: string): Promise<Content> {
  let file: OpenFile;
  try {
    file = await client.open(bytesOf(path));
  } catch (error) {
    if (isDfsError(error, "notFound")) return undefined;
    throw error;
  }
  try {
    const { size } = file.attributes;
    const whole = await collected(file.stream());
    if (whole.length !== size) throw new Error(`${path}: ${whole.length} bytes, size ${size}`);
    return whole;
  } finally {
    await file.close();
  }
}

function expectSame(what: string, found: Content, allowed: readonly Content[]): Content {
  for (const each of allowed) {
    if (each === undefined || found === undefined) {
      if (each === found) return each;
    } else if (Buffer.compare(each, found) === 0) return each;
  }
  throw new Error(`${what} holds ${described(found, allowed[0])}`);
}

function described(found: Content, expected: Content): string {
  if (found === undefined) return `nothing instead of ${expected?.length} bytes`;
  if (expected === undefined) return `${found.length} bytes instead of nothing`;
  let at = 0;
  while (at < found.length && found[at] === expected[at]) at++;
  return `${found.length} bytes instead of ${expected.length}, different from offset ${at} on`;
}

function resized(content: Uint8Array, size: number): Uint8Array {
  const after = new Uint8Array(size);
  after.set(content.subarray(0, size));
  return after;
}

function written(content: Uint8Array, offset: number, bytes: Uint8Array): Uint8Array {
  const after = resized(content, Math.max(content.length, offset + bytes.length));
  after.set(bytes, offset);
  return after;
}
