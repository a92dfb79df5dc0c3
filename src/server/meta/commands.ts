/**
 * What the metadata service asks of data servers.
 *
 * Commands carry the reign, the server's instance and a number that rises, so that a command that was overtaken or delayed
 * is refused. The number is drawn when the command is sent, so commands to one server arrive in their order. Of deletions
 * one at a time is under way on each server; copies take long, so several are.
 */
import { DfsError } from "../../base/errors.ts";
import type { BlockId, InstanceId, ReignId } from "../../base/ids.ts";
import { MAX_BLOCKS_PER_PAGE } from "../../base/limits.ts";
import type { ReplyOf, RequestDefinition, RequestOf } from "../../protocol/message.ts";
import {
  blockCopy,
  blockCopyMany,
  blockDelete,
  blockVerify,
  type BatchResult,
  type ReplicaVerdict,
} from "../../protocol/messages/data.ts";
import type { Answer, Peer, RequestOptions } from "../../protocol/peer.ts";
import type { Engine } from "./engine.ts";
import type { Member } from "./members.ts";

const DELETE_TIMEOUT_MS = 60_000;

/** A server asks several sources in turn, each for up to half a minute, and others' copies come before. */
const COPY_TIMEOUT_MS = 180_000;

const VERIFY_TIMEOUT_MS = 60_000;

/** A copy to be made. */
export type CopyOrder = Omit<RequestOf<typeof blockCopy>, keyof CommandPlace>;

/** Copies, each from one of the sources. */
export type BatchOrder = Omit<RequestOf<typeof blockCopyMany>, keyof CommandPlace>;

/** What every command begins with. */
interface CommandPlace {
  readonly reign: ReignId;
  readonly instance: InstanceId;
  readonly number: bigint;
}

export class Commands {
  private readonly engine: Engine;
  private readonly last = new WeakMap<Peer, Promise<unknown>>();
  private number = 0n;

  constructor(engine: Engine) {
    this.engine = engine;
  }

  /**
   * Tells a server to delete blocks; resolves when that is durable there, be it that they were not held.
   * @throws DfsError when it could not be reached or refuses.
   */
  async deleteBlocks(member: Member, blocks: readonly BlockId[]): Promise<void> {
    for (let at = 0; at < blocks.length; at += MAX_BLOCKS_PER_PAGE) {
      const page = blocks.slice(at, at + MAX_BLOCKS_PER_PAGE);
      await this.inTurn(member.peer, () =>
        member.peer.request(
          blockDelete,
          { ...this.place(member), blocks: page, ranges: [] },
          { timeoutMs: DELETE_TIMEOUT_MS },
        ),
      );
    }
  }

  /**
   * Tells a server to copy a block from others; resolves when the copy is durable there, or no source was of use.
   * @throws DfsError what it answers; after `timeout` and `unreachable` nobody knows whether the copy is made.
   */
  async copyBlock(member: Member, order: CopyOrder): Promise<ReplyOf<typeof blockCopy>> {
    const body = { ...this.place(member), ...order };
    return (await member.peer.request(blockCopy, body, { timeoutMs: COPY_TIMEOUT_MS })).body;
  }

  /**
   * Tells a server to copy blocks from others; resolves with what became of each, in the order of the blocks, when
   * those copies that were made are durable.
   * @throws DfsError as `copyBlock`, for all of them.
   */
  async copyMany(member: Member, order: BatchOrder): Promise<readonly BatchResult[]> {
    const body = { ...this.place(member), ...order };
    const options = { timeoutMs: COPY_TIMEOUT_MS };
    const { results } = (await member.peer.request(blockCopyMany, body, options)).body;
    if (results.length === order.blocks.length) return results;
    throw new DfsError(
      "protocol",
      `data server ${member.server} answered for ${results.length} copies, ${order.blocks.length} were ordered`,
    );
  }

  /**
   * Has a server read its own copies, and returns what they are worth, in the order of `blocks`.
   * @throws DfsError when it cannot be asked.
   */
  async verify(
    { peer, server }: Member,
    blocks: RequestOf<typeof blockVerify>["blocks"],
  ): Promise<readonly ReplicaVerdict[]> {
    const { body } = await peer.request(blockVerify, { blocks }, { timeoutMs: VERIFY_TIMEOUT_MS });
    if (body.verdicts.length === blocks.length) return body.verdicts;
    throw new DfsError(
      "protocol",
      `data server ${server} answered for ${body.verdicts.length} copies, ${blocks.length} were asked about`,
    );
  }

  /**
   * Gives a server any other command, behind those that it has been given.
   * @throws DfsError what it answers; after `timeout` and `unreachable` nobody knows whether it was executed.
   */
  order<Request extends CommandPlace, Reply>(
    member: Member,
    definition: RequestDefinition<Request, Reply>,
    body: Omit<Request, keyof CommandPlace>,
    options: RequestOptions,
  ): Promise<Answer<Reply>> {
    return this.inTurn(member.peer, () => {
      const whole = { ...this.place(member), ...body } as Request;
      return member.peer.request(definition, whole, options);
    });
  }

  private place({ instance }: Member): CommandPlace {
    return { reign: this.engine.reign.reign, instance, number: ++this.number };
  }

  private inTurn<T>(peer: Peer, send: () => Promise<T>): Promise<T> {
    const turn = (this.last.get(peer) ?? Promise.resolve()).then(send);
    const settled = turn.catch(() => undefined); // the next command does not depend on this one
    this.last.set(peer, settled);
    return turn;
  }
}
