/** Content and names for tests of single operations. */
import { expect } from "bun:test";
import { isDfsError, type ErrorKind } from "../../../../src/base/errors.ts";
import { serverId, type BlockId, type InodeId } from "../../../../src/base/ids.ts";
import { ROOT_INODE } from "../../../../src/base/ids.ts";
import { groupOf } from "../../../../src/base/placement.ts";
import type { Attributes, NewBlock, NewExtent } from "../../../../src/protocol/messages/common.ts";
import * as content from "../../../../src/protocol/messages/content.ts";
import * as names from "../../../../src/protocol/messages/namespace.ts";
import * as operations from "../../../../src/server/meta/namespace/operations.ts";
import type { Body } from "../../../../src/server/meta/namespace/context.ts";
import type { TestSession } from "./harness.ts";

export const OWNER = { mode: 0o644, uid: 1000, gid: 1000 };

/** What `setattr` is asked for when nothing is to change. */
export const NO_CHANGE = {
  mode: null,
  uid: null,
  gid: null,
  size: null,
  atimeNs: null,
  mtimeNs: null,
  atimeNow: false,
  mtimeNow: false,
};

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** The operation must fail with an error of this kind. */
export async function failsWith(operation: Promise<unknown>, kind: ErrorKind): Promise<void> {
  let outcome = "success";
  try {
    await operation;
  } catch (error) {
    if (!isDfsError(error)) throw error;
    outcome = error.kind;
  }
  expect(outcome).toBe(kind);
}

export async function createFile(
  session: TestSession,
  name: string,
  options: { readonly parent?: InodeId; readonly open?: boolean; readonly base?: number } = {},
): Promise<Attributes> {
  const { attributes } = await session.change(names.create, operations.create, {
    parent: options.parent ?? ROOT_INODE,
    name: bytes(name),
    ...OWNER,
    base: options.base ?? 0,
    exclusive: true,
    open: options.open ?? false,
  });
  return attributes;
}

export async function createDirectory(session: TestSession, name: string): Promise<Attributes> {
  const body = { parent: ROOT_INODE, name: bytes(name), ...OWNER, mode: 0o755 };
  return (await session.change(names.mkdir, operations.mkdir, body)).attributes;
}

export async function unlink(session: TestSession, name: string): Promise<void> {
  const body = { parent: ROOT_INODE, name: bytes(name) };
  await session.change(names.unlink, operations.unlink, body);
}

export async function reserve(session: TestSession, count: number): Promise<BlockId[]> {
  const { first } = await session.change(content.reserve, operations.reserve, { count });
  return Array.from({ length: count }, (_, index) => (first + BigInt(index)) as BlockId);
}

/** A block of 8 bytes for block index `index` of a file with base 0. */
export function blockAt(
  block: BlockId,
  index: number,
  servers: readonly number[] = [1, 2, 3],
): NewBlock {
  return {
    block,
    length: 8,
    checksum: 0xffff_ffff_ffff_fff0n + BigInt(index % 8),
    group: groupOf(0, index),
    servers: servers.map((each) => serverId(each)),
    incarnations: null,
  };
}

/** The whole of a block of 8 bytes at its place in the file. */
export function extentAt(block: BlockId, index: number): NewExtent {
  return { offset: index * 8, length: 8, block, blockOffset: 0 };
}

export type CommitBody = Body<typeof content.commit>;

/** A commit of whole blocks of 8 bytes at these block indexes. */
export function wholeBlocks(
  inode: InodeId,
  blocks: readonly BlockId[],
  indexes: readonly number[] = blocks.map((_, index) => index),
): CommitBody {
  const at = (position: number): number => indexes[position] ?? 0;
  return {
    inode,
    blocks: blocks.map((block, position) => blockAt(block, at(position))),
    extents: blocks.map((block, position) => extentAt(block, at(position))),
    size: null,
    mtimeNs: null,
    expectedSize: null,
  };
}

export function commit(
  session: TestSession,
  body: CommitBody,
): Promise<{ attributes: Attributes }> {
  return session.change(content.commit, operations.commit, body);
}

/** A new file of `count` whole blocks. */
export async function createFilled(
  session: TestSession,
  name: string,
  count: number,
): Promise<Attributes> {
  const { inode } = await createFile(session, name);
  const blocks = await reserve(session, count);
  return (await commit(session, wholeBlocks(inode, blocks))).attributes;
}
