/** A data server as the metadata service sees it: the real protocol over a real socket, blocks in memory. */
import { blockChecksum } from "../../../../src/base/checksum.ts";
import type { DfsError } from "../../../../src/base/errors.ts";
import {
  incarnationId,
  instanceId,
  serverId,
  type BlockId,
  type IncarnationId,
  type InstanceId,
  type ServerId,
} from "../../../../src/base/ids.ts";
import { systemRandom } from "../../../../src/base/random.ts";
import { HandlerTable } from "../../../../src/protocol/endpoint.ts";
import type { ReplyOf } from "../../../../src/protocol/message.ts";
import {
  blockCopy,
  blockCopyMany,
  blockDelete,
  blockList,
  blockVerify,
  type BatchResult,
} from "../../../../src/protocol/messages/data.ts";
import * as member from "../../../../src/protocol/messages/member.ts";
import type { Peer } from "../../../../src/protocol/peer.ts";
import { connect, FAST, TIMEOUT_MS } from "./connecting.ts";

/** Nobody listens there: but the service knows servers by their addresses, so no two may have the same. */
let nextPort = 1;

/** Test data servers by address, so that they can copy from each other. */
const byAddress = new Map<string, TestDataServer>();

interface HeldBlock {
  readonly length: number;
  readonly checksum: bigint;
}

/** A data server as the metadata service sees it: the real protocol over a real socket, blocks in memory. */
export class TestDataServer {
  /** Given at the first registration, kept like a directory's. */
  server: ServerId | null = null;
  incarnation: IncarnationId = incarnationId(systemRandom.id64());
  instance: InstanceId = instanceId(systemRandom.id64());
  recovered = false;
  address: string;
  zone = "";
  readonly held = new Map<BlockId, HeldBlock>();
  readonly deleted: BlockId[] = [];
  /** Numbers of the commands executed, in order. */
  readonly commands: bigint[] = [];
  full = false;
  /** Blocks that it holds and that have rotted. */
  readonly rotten = new Set<BlockId>();
  /** Blocks that it was asked to verify, in order. */
  readonly verified: BlockId[] = [];
  /** How many it was asked to verify together, request by request. */
  readonly verifications: number[] = [];
  /** Copies are looked at after this. */
  verifyGate: () => Promise<void> = () => Promise.resolve();
  /** A page of its blocks is sent after this. */
  listGate: () => Promise<void> = () => Promise.resolve();
  /** What it says instead of a page of its blocks. */
  listed: (page: ReplyOf<typeof blockList>) => ReplyOf<typeof blockList> = (page) => page;
  /** Copies that it has made, in order. */
  readonly copied: BlockId[] = [];
  /** Refuses copies with this. */
  copyRefusal: DfsError | undefined;
  /** Refuses orders of many copies, and no others, with this. */
  batchRefusal: DfsError | undefined;
  /** How many blocks were ordered together, batch by batch. */
  readonly batches: number[] = [];
  /** And how many sources each batch named. */
  readonly sources: number[] = [];
  /** Blocks that others have copied from it in batches. */
  given = 0;
  /** Servers that it cannot reach, though the metadata server does. */
  readonly cutOff = new Set<TestDataServer>();
  /** What becomes of a block of a batch, when it is not to be what the servers hold; may wait. */
  batchResult: (block: BlockId) => Promise<BatchResult | undefined> = () =>
    Promise.resolve(undefined);
  /** What is answered for a batch instead of its results. */
  batchAnswer: (results: readonly BatchResult[]) => readonly BatchResult[] = (results) => results;
  /** Copies wait for this before they are stored. */
  copyGate: () => Promise<void> = () => Promise.resolve();
  peer: Peer | undefined;
  private beating = false;

  constructor(address = `127.0.0.1:${nextPort++}`) {
    this.address = address;
    byAddress.set(address, this);
  }

  get id(): ServerId {
    if (this.server === null) throw new Error("the server has not registered");
    return this.server;
  }

  /** A server that has registered and sends heartbeats. */
  static async join(meta: string, zone = ""): Promise<TestDataServer> {
    const server = new TestDataServer();
    server.zone = zone;
    await server.register(meta);
    server.beat();
    return server;
  }

  store(id: BlockId, bytes: Uint8Array): void {
    this.held.set(id, { length: bytes.length, checksum: blockChecksum(bytes) });
  }

  async register(meta: string): Promise<ReplyOf<typeof member.memberRegister>> {
    const { server, incarnation, instance } = this;
    const identity = { role: "data", label: "test data server" } as const;
    this.peer = await connect(
      meta,
      { ...identity, server: server ?? undefined, incarnation, instance },
      this.handlers(),
    );
    const highest = [...this.held.keys()].reduce(
      (most, id) => (id > most ? id : most),
      0n as BlockId,
    );
    const { body } = await this.peer.request(
      member.memberRegister,
      {
        server,
        incarnation,
        instance,
        recovered: this.recovered,
        address: this.address,
        zone: this.zone,
        tags: [],
        highestBlock: highest,
        ...this.condition(),
      },
      { timeoutMs: TIMEOUT_MS },
    );
    this.server = serverId(body.server);
    return body;
  }

  /** Sends heartbeats until the connection ends. */
  beat(): void {
    if (this.beating) return;
    this.beating = true;
    const loop = async (): Promise<void> => {
      let sequence = 0n;
      while (this.peer?.open === true && this.beating) {
        const body = { sequence: ++sequence, ...this.condition() };
        await this.peer
          .request(member.memberHeartbeat, body, { timeoutMs: TIMEOUT_MS })
          .catch(() => undefined);
        await Bun.sleep(FAST.heartbeatIntervalMs / 2);
      }
      this.beating = false;
    };
    void loop();
  }

  /** Sends no heartbeats any more, though the connection stays. */
  stopBeating(): void {
    this.beating = false;
  }

  /** Dies: the connection is gone. */
  async kill(): Promise<void> {
    this.peer?.close("killed");
    await this.peer?.closed;
    this.peer = undefined;
  }

  /** Comes back as a new process with the same directory. */
  async restart(meta: string): Promise<void> {
    this.instance = instanceId(systemRandom.id64());
    await this.register(meta);
    this.beat();
  }

  private condition() {
    return {
      capacityBytes: 1_000_000,
      usedBytes: this.held.size,
      full: this.full,
      blocks: this.held.size,
    };
  }

  private handlers(): HandlerTable {
    const table = new HandlerTable();
    table.onRequest(blockList, async ({ body }) => {
      const ids = [...this.held.keys()]
        .filter((id) => id > body.after)
        .sort((a, b) => (a < b ? -1 : 1));
      const page = ids.slice(0, body.limit);
      const blocks = page.map((block) => ({ block, ...this.held.get(block)! }));
      await this.listGate();
      return { body: this.listed({ blocks, more: ids.length > page.length }) };
    });
    table.onRequest(blockVerify, async ({ body }) => {
      this.verifications.push(body.blocks.length);
      await this.verifyGate();
      const verdicts = body.blocks.map(({ block, checksum }) => {
        this.verified.push(block);
        const held = this.held.get(block);
        if (held === undefined) return "missing";
        return held.checksum === checksum && !this.rotten.has(block) ? "right" : "rotten";
      });
      return { body: { verdicts } };
    });
    table.onRequest(blockCopy, async ({ body }) => {
      if (body.instance !== this.instance) throw new Error("a command for another instance");
      this.commands.push(body.number);
      await this.copyGate();
      if (this.copyRefusal !== undefined) throw this.copyRefusal;
      const { block, checksum } = body;
      const failures = [];
      for (const { server, address } of body.sources) {
        const source = byAddress.get(address);
        if (source !== undefined && this.cutOff.has(source)) {
          failures.push({ server, problem: "unreachable" as const, detail: "said by a test" });
          continue;
        }
        const held = source?.peer === undefined ? undefined : source.held.get(block);
        if (held !== undefined && held.checksum === checksum && !source!.rotten.has(block)) {
          this.held.set(block, held);
          this.rotten.delete(block);
          this.copied.push(block);
          return { body: { stored: true, failures } };
        }
        const problem = held === undefined ? ("noBlock" as const) : ("badChecksum" as const);
        failures.push({ server, problem, detail: "said by a test" });
      }
      return { body: { stored: false, failures } };
    });
    table.onRequest(blockCopyMany, async ({ body }) => {
      if (body.instance !== this.instance) throw new Error("a command for another instance");
      this.commands.push(body.number);
      if (this.batchRefusal !== undefined) throw this.batchRefusal;
      this.batches.push(body.blocks.length);
      this.sources.push(body.sources.length);
      await this.copyGate();
      if (this.copyRefusal !== undefined) throw this.copyRefusal;
      const results: BatchResult[] = [];
      for (const { block, checksum, source: place } of body.blocks) {
        const source = byAddress.get(body.sources[place]!.address);
        const result = await this.batchResult(block);
        const held = source?.held.get(block);
        const isRight = held?.checksum === checksum && !source!.rotten.has(block);
        if (result !== undefined) results.push(result);
        else if (source?.peer === undefined || this.cutOff.has(source)) results.push("unreachable");
        else if (held === undefined || !isRight) results.push("notGiven");
        else {
          this.held.set(block, held);
          this.rotten.delete(block);
          this.copied.push(block);
          source.given++;
          results.push("stored");
        }
      }
      return { body: { results: [...this.batchAnswer(results)] } };
    });
    table.onRequest(blockDelete, ({ body }) => {
      if (body.instance !== this.instance) throw new Error("a command for another instance");
      this.commands.push(body.number);
      const held = body.blocks.filter((block) => this.held.delete(block));
      this.deleted.push(...held);
      return { body: { deleted: held.length } };
    });
    return table;
  }
}
