/** A metadata server in this process over real sockets, and clients that speak to it. */
import { blockChecksum } from "../../../../src/base/checksum.ts";
import {
  ROOT_INODE,
  type BlockId,
  type InodeId,
  type SessionId,
} from "../../../../src/base/ids.ts";
import { silentLogger } from "../../../../src/base/logger.ts";
import { groupOf } from "../../../../src/base/placement.ts";
import type { HandlerTable } from "../../../../src/protocol/endpoint.ts";
import type {
  MutationHead,
  ReplyOf,
  RequestDefinition,
  RequestOf,
} from "../../../../src/protocol/message.ts";
import * as content from "../../../../src/protocol/messages/content.ts";
import * as names from "../../../../src/protocol/messages/namespace.ts";
import { sessionOpen, sessionResume } from "../../../../src/protocol/messages/session.ts";
import type { Peer } from "../../../../src/protocol/peer.ts";
import {
  startMetaServer,
  type MetaServer,
  type MetaServerOptions,
} from "../../../../src/server/meta/server.ts";
import { connect, FAST, TIMEOUT_MS } from "./connecting.ts";
import type { TestDataServer } from "./data-server.ts";

export function startMeta(
  dir: string,
  options: Partial<MetaServerOptions> = {},
): Promise<MetaServer> {
  return startMetaServer({ dir, logger: silentLogger, ...FAST, ...options });
}

type Change<D> = Omit<RequestOf<D>, keyof MutationHead>;

/** A client with a session, that numbers its operations. */
export class TestClient {
  readonly peer: Peer;
  readonly session: SessionId;
  readonly token: bigint;
  operation = 0n;
  acknowledged = 0n;

  private constructor(peer: Peer, session: SessionId, token: bigint) {
    this.peer = peer;
    this.session = session;
    this.token = token;
  }

  static async open(address: string, handlers?: HandlerTable): Promise<TestClient> {
    const peer = await connect(address, {}, handlers);
    const { body } = await peer.request(sessionOpen, { label: "test" }, { timeoutMs: TIMEOUT_MS });
    return new TestClient(peer, body.session, body.token);
  }

  /** The same session on a new connection. */
  async resume(address: string, open: InodeId[] = [], handlers?: HandlerTable) {
    const peer = await connect(address, {}, handlers);
    const { session, token } = this;
    await peer.request(sessionResume, { session, token, open }, { timeoutMs: TIMEOUT_MS });
    const resumed = new TestClient(peer, session, token);
    resumed.operation = this.operation;
    resumed.acknowledged = this.acknowledged;
    return resumed;
  }

  async ask<Request, Reply>(
    definition: RequestDefinition<Request, Reply>,
    body: Request,
  ): Promise<Reply> {
    return (await this.peer.request(definition, body, { timeoutMs: TIMEOUT_MS })).body;
  }

  /** Sends a change under the next operation number, or under `operation` again. */
  change<Request extends MutationHead, Reply>(
    definition: RequestDefinition<Request, Reply>,
    body: Omit<Request, keyof MutationHead>,
    operation = ++this.operation,
  ): Promise<Reply> {
    const head = { operation, acknowledged: this.acknowledged };
    return this.ask(definition, { ...head, ...body } as Request);
  }

  create(
    name: string,
    fields: Partial<Change<typeof names.create>> = {},
  ): Promise<ReplyOf<typeof names.create>> {
    return this.change(names.create, { ...CREATE, name: text(name), ...fields });
  }

  /**
   * Stores a file of `blocks` blocks of one byte each, with copies on `servers`; returns its inode and blocks. What happens
   * in between stores and commit happens in `beforeCommit`; `serversOf` says which servers have a block, if not all the same.
   */
  async put(
    name: string,
    servers: readonly TestDataServer[],
    blocks = 1,
    blockSize = 8,
    beforeCommit: () => Promise<void> = () => Promise.resolve(),
    serversOf: (index: number) => readonly TestDataServer[] = () => servers,
  ): Promise<{ readonly inode: InodeId; readonly blocks: BlockId[] }> {
    const reserved = await this.change(content.reserve, { count: blocks });
    const ids = Array.from(
      { length: blocks },
      (_, index) => (reserved.first + BigInt(index)) as BlockId,
    );
    const places = ids.map((id, index) => {
      const holders = serversOf(index);
      for (const server of holders) server.store(id, blockBytes(id));
      const incarnations = holders.map(({ incarnation }) => incarnation);
      return { servers: holders.map((server) => server.id), incarnations };
    });
    await beforeCommit();
    const put = await this.change(content.put, {
      ...PUT,
      name: text(name),
      blocks: ids.map((block, index) => ({
        block,
        length: 1,
        checksum: blockChecksum(blockBytes(block)),
        group: groupOf(0, index),
        ...places[index]!,
      })),
      extents: ids.map((block, index) => ({
        offset: index * blockSize,
        length: 1,
        block,
        blockOffset: 0,
      })),
      size: (blocks - 1) * blockSize + 1,
    });
    return { inode: put.attributes.inode, blocks: ids };
  }
}

const CREATE: Change<typeof names.create> = {
  parent: ROOT_INODE,
  name: new Uint8Array(0),
  mode: 0o644,
  uid: 0,
  gid: 0,
  base: 0,
  exclusive: true,
  open: false,
};

const PUT: Change<typeof content.put> = {
  parent: ROOT_INODE,
  name: new Uint8Array(0),
  mode: 0o644,
  uid: 0,
  gid: 0,
  base: 0,
  blocks: [],
  extents: [],
  size: 0,
  exclusive: false,
  keepReplaced: false,
  atimeNs: null,
  mtimeNs: null,
};

export const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** The one byte of a test's block. */
export const blockBytes = (id: BlockId): Uint8Array => new Uint8Array([Number(id & 0xffn)]);
