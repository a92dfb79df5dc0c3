/**
 * Commands of the metadata service to data servers. Each carries the reign, the server's instance and a number that
 * rises, so that a command that was overtaken or delayed is refused; therefore one at a time goes to each server.
 */
import type { BlockId, InstanceId, ReignId } from "../../base/ids.ts";
import { MAX_BLOCKS_PER_PAGE } from "../../base/limits.ts";
import type { RequestDefinition } from "../../protocol/message.ts";
import { blockDelete } from "../../protocol/messages/data.ts";
import type { Answer, Peer, RequestOptions } from "../../protocol/peer.ts";
import type { Engine } from "./engine.ts";
import type { Member } from "./members.ts";

const DELETE_TIMEOUT_MS = 60_000;

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
          {
            reign: this.engine.reign.reign,
            instance: member.instance,
            number: ++this.number,
            blocks: page,
            ranges: [],
          },
          { timeoutMs: DELETE_TIMEOUT_MS },
        ),
      );
    }
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
      const { reign } = this.engine.reign;
      const place = { reign, instance: member.instance, number: ++this.number };
      return member.peer.request(definition, { ...place, ...body } as Request, options);
    });
  }

  private inTurn<T>(peer: Peer, send: () => Promise<T>): Promise<T> {
    const turn = (this.last.get(peer) ?? Promise.resolve()).then(send);
    const settled = turn.catch(() => undefined); // the next command does not depend on this one
    this.last.set(peer, settled);
    return turn;
  }
}
