// Data servers that copy from one another, with a scripted metadata service that commands it.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { blockId, instanceId, reignId, serverId } from "../../../src/base/ids.ts";
import { silentLogger } from "../../../src/base/logger.ts";
import { systemRandom } from "../../../src/base/random.ts";
import type { BlockToPut } from "../../../src/log/log.ts";
import { HandlerTable, listenPeers } from "../../../src/protocol/endpoint.ts";
import {
  blockCopy,
  blockCopyMany,
  blockDelete,
  blockGet,
  blockGetMany,
  blockList,
} from "../../../src/protocol/messages/data.ts";
import type { Peer } from "../../../src/protocol/peer.ts";
import { tcpTransport } from "../../../src/protocol/transports/tcp.ts";
import type { DataServer } from "../../../src/server/data/server.ts";
import { flipBit } from "../../log/files.ts";
import {
  callerOf,
  cleanUp,
  freshDirectory,
  identityOf,
  ScriptedService,
  startData,
  TIMEOUT_MS,
} from "./support.ts";

const timeoutMs = TIMEOUT_MS;

const opened: { close(): Promise<void> }[] = [];

/** Ends everything that a test has started. */
export async function cleanUpRigs(): Promise<void> {
  for (const each of opened.splice(0)) await each.close();
  await cleanUp();
}

export interface Member {
  readonly server: DataServer;
  readonly dir: string;
  /** The service's end of its connection. */
  readonly commands: Peer;
  /** A client's connection to it. */
  readonly caller: Peer;
}

/** Data servers of one service. */
export class Rig {
  readonly service: ScriptedService;
  private number = 0n;

  constructor(service: ScriptedService) {
    this.service = service;
  }

  static async start(): Promise<Rig> {
    return new Rig(await ScriptedService.start());
  }

  async add(): Promise<Member> {
    const dir = freshDirectory();
    const server = await startData(this.service, dir, { identity: "new" });
    return { server, dir, commands: this.service.member, caller: await callerOf(server) };
  }

  place({ server }: Member, number = ++this.number) {
    return {
      reign: reignId(this.service.reign),
      instance: instanceId(server.instance),
      number,
    };
  }

  async copy(to: Member, block: BlockToPut, sources: readonly Source[], number?: bigint) {
    const { pieces: _pieces, bytes: _bytes, ...fields } = block;
    const body = { ...this.place(to, number), ...fields, sources: [...sources] };
    return (await to.commands.request(blockCopy, body, { timeoutMs })).body;
  }

  async copyMany(to: Member, blocks: readonly BlockToPut[], source: Source, number?: bigint) {
    return this.copyFrom(
      to,
      blocks.map((block) => ({ ...block, source: 0 })),
      [source],
      number,
    );
  }

  /** The same with some sources, each block from one of them. */
  async copyFrom(
    to: Member,
    blocks: readonly (BlockToPut & { source: number })[],
    sources: readonly Source[],
    number?: bigint,
  ) {
    const orders = blocks.map(({ pieces: _pieces, bytes: _bytes, ...fields }) => fields);
    const body = { ...this.place(to, number), sources: [...sources], blocks: orders };
    return (await to.commands.request(blockCopyMany, body, { timeoutMs })).body.results;
  }

  async delete(on: Member, id: bigint, number?: bigint) {
    const body = { ...this.place(on, number), blocks: [blockId(id)], ranges: [] };
    return (await on.commands.request(blockDelete, body, { timeoutMs })).body;
  }
}

export type Source = { server: ReturnType<typeof serverId>; address: string };

export const sourceOf = ({ server }: Member): Source => ({
  server: server.server,
  address: server.address,
});

/** A data server that is asked for blocks and never answers. */
export async function deafSource(): Promise<{
  source: Source;
  asked: () => number;
  /** How many connections to it were made. */
  greeted: () => number;
  leave: () => Promise<void>;
}> {
  let asked = 0;
  let greeted = 0;
  const handlers = new HandlerTable();
  const ask = (): Promise<never> => {
    asked++;
    return new Promise<never>(() => undefined);
  };
  handlers.onRequest(blockGet, ask);
  handlers.onRequest(blockGetMany, ask);
  const server = serverId(99);
  const listener = await listenPeers({
    transport: tcpTransport(systemClock),
    address: "127.0.0.1:0",
    identity: identityOf("data", { server }),
    handlers,
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    accept: () => greeted++,
  });
  opened.push(listener);
  return {
    source: { server, address: listener.address },
    asked: () => asked,
    greeted: () => greeted,
    leave: () => listener.close(),
  };
}

export async function held(member: Member): Promise<bigint[]> {
  const { body } = await member.commands.request(
    blockList,
    { after: blockId(0n), limit: 100 },
    { timeoutMs },
  );
  return body.blocks.map(({ block }) => block);
}

export async function bytesOn(
  { caller }: Member,
  { block, length }: BlockToPut,
): Promise<Uint8Array> {
  return (await caller.request(blockGet, { block, offset: 0, length }, { timeoutMs })).bulk;
}

/** Flips a bit in the bytes of a block where the server keeps them. */
export function rot({ dir }: Member, { bytes }: BlockToPut): void {
  const log = join(dir, "log");
  for (const name of readdirSync(log)) {
    const at = readFileSync(join(log, name)).indexOf(bytes.subarray(0, 64));
    if (at >= 0) return flipBit(join(log, name), at);
  }
  throw new Error("no file holds the block");
}
