/** Small words that the cases are written with. */
import { expect } from "bun:test";
import { isDfsError, systemCodeOf } from "../../src/base/errors.ts";
import { errnoOf, type Errno } from "../../src/base/errno.ts";
import type { Case, Feature, PathLike, Tree, TreeFile } from "./tree.ts";

export function bytesOf(value: PathLike): Uint8Array {
  return typeof value === "string" ? new TextEncoder().encode(value) : value;
}

export function textOf(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
}

/** Defines a case. */
export function rule(name: string, run: (tree: Tree) => Promise<void>): Case {
  return { name, run };
}

/** Defines a case for trees that can do these things. */
export function ruleFor(
  needs: readonly Feature[],
  name: string,
  run: (tree: Tree) => Promise<void>,
): Case {
  return { name, needs, run };
}

/** The operation must fail with this errno. */
export async function fails(
  operation: Promise<unknown>,
  ...errno: [Errno | "EBUSY", ...(Errno | "EBUSY")[]]
): Promise<void> {
  let outcome: string;
  try {
    await operation;
    outcome = "success";
  } catch (error) {
    outcome = errnoOfThrown(error);
  }
  if (errno.length === 1) expect(outcome).toBe(errno[0]);
  else expect(errno as string[]).toContain(outcome);
}

function errnoOfThrown(error: unknown): string {
  if (isDfsError(error)) return errnoOf(error.kind);
  const code = systemCodeOf(error);
  if (code === undefined) throw error;
  return code;
}

/** Makes an empty file, or one with this content. */
export async function touch(tree: Tree, path: PathLike, content: PathLike = ""): Promise<void> {
  const file = await tree.create(path);
  if (content.length > 0) await file.write(0, bytesOf(content));
  await file.close();
}

/** Opens, uses, and closes a file. */
export async function using<T>(
  opened: Promise<TreeFile>,
  use: (file: TreeFile) => Promise<T>,
): Promise<T> {
  const file = await opened;
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/** Writes into an existing file and closes it. */
export function writeAt(
  tree: Tree,
  path: PathLike,
  offset: number,
  content: PathLike,
): Promise<void> {
  return using(tree.open(path), (file) => file.write(offset, bytesOf(content)));
}

/** The whole content of a file. */
export async function contentOf(tree: Tree, path: PathLike): Promise<string> {
  const { size } = await tree.stat(path);
  return using(tree.open(path), async (file) => textOf(await file.read(0, size + 1)));
}

/** The names in a directory, in the order in which they are listed. */
export async function namesIn(tree: Tree, path: PathLike): Promise<string[]> {
  return (await tree.readdir(path)).map((entry) => textOf(entry.name));
}

export async function expectMissing(tree: Tree, path: PathLike): Promise<void> {
  await fails(tree.lstat(path), "ENOENT");
}

export async function nlinkOf(tree: Tree, path: PathLike): Promise<number> {
  return (await tree.lstat(path)).nlink;
}

/** What must be true of times before and after an operation. */
export async function expectTouched(
  tree: Tree,
  path: PathLike,
  operation: () => Promise<unknown>,
  what: { readonly mtime: boolean; readonly ctime: boolean },
): Promise<void> {
  const before = await tree.lstat(path);
  await operation();
  const after = await tree.lstat(path);
  expect({ mtime: after.mtimeNs > before.mtimeNs, ctime: after.ctimeNs > before.ctimeNs }).toEqual(
    what,
  );
}

/** `count` bytes of a repeating pattern that begins at `seed`, as text. */
export function pattern(count: number, seed = 0): string {
  const letters = "abcdefghijklmnopqrstuvwxyz0123456789";
  return Array.from({ length: count }, (_, at) => letters[(at + seed) % letters.length]).join("");
}

export const ZERO = "\0";
