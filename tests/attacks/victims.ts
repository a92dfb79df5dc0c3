// The cluster that is attacked, each server a process of its own, and what becomes of it meanwhile: its memory, its log, and
// how long a well-behaved client waits.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { INTERVAL_MS } from "../../src/base/limited-lines.ts";
import { messageOf } from "../../src/base/errors.ts";
import type { BlockId } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { systemRandom } from "../../src/base/random.ts";
import type { DfsClient } from "../../src/client/api.ts";
import { connectClient } from "../../src/client/client.ts";
import { connectPeer } from "../../src/protocol/endpoint.ts";
import { blockGet } from "../../src/protocol/messages/data.ts";
import { sessionOpen } from "../../src/protocol/messages/session.ts";
import { tcpTransport } from "../../src/protocol/transports/tcp.ts";
import { readKey, writeNewKey } from "../../src/tools/shared/cluster-key.ts";
import { bytesOf, MiB, OWNER, patterned } from "../support/cluster.ts";
import { spawnCluster, type ProcessCluster, type ServerProcess } from "../support/processes.ts";
import type { Attack, Target } from "./attacks.ts";

export const SERVERS = 3;
/** Names in the root: a whole page of a listing. */
const NAMES = 1000;
const PROBE = bytesOf("/probe");
const BLOCK_BYTES = 1 * MiB;
const SAMPLE_MS = 100;
/** Measurements before and after an attack. */
const PROBES = 20;
const PROBE_TIMEOUT_MS = 30_000;

/** How long connections are followed after an attack: a peer that does not read is given up after a minute. */
const SETTLE_SECONDS = 75;

/** How long the server that was attacked may take to answer, on a machine that is busy. */
const ANSWER_TIMEOUT_MS = 10_000;

const NOBODY = {
  cluster: undefined,
  server: undefined,
  incarnation: undefined,
  instance: undefined,
  reign: undefined,
};

/** What was seen of the cluster during and after one attack. */
export interface Seen {
  readonly attack: string;
  readonly role: "meta" | "data";
  /** Connections that the attacker made, was refused, and saw ended. */
  readonly attacker: {
    readonly connections: number;
    readonly refused: number;
    readonly ended: number;
    /** Of these the log must tell, of each once; and those of which that is not known. */
    readonly offending: number;
    readonly unsettled: number;
    readonly bytes: number;
  };
  /** Milliseconds that a well-behaved client waited, for each probe, before, during and after. */
  readonly before: readonly number[];
  readonly during: readonly number[];
  readonly after: readonly number[];
  /** The most resident memory of the server that was attacked, and of any, in MiB. */
  readonly residentMiB: number;
  /** What the server that was attacked had to say, when it has said all of it. */
  readonly told: Promise<Told>;
  /** All servers run, and none has written of a rejection or error that nobody took. */
  readonly faults: readonly string[];
}

export interface Told {
  readonly log: readonly string[];
  /** Connections that were refused, ended or lost, by lines and by numbers. */
  readonly connections: number;
}

export class Victims {
  /** By server: what has to be told of the last attack, before the next one begins. */
  private readonly telling = new Map<ServerProcess, Promise<Told>>();

  private constructor(
    private readonly cluster: ProcessCluster,
    private readonly folder: string,
    private readonly keyFile: string | undefined,
    private readonly client: DfsClient,
    private readonly block: { readonly id: bigint; readonly length: number },
  ) {}

  /** Starts a cluster, with a key or without. */
  static async start(keyed: boolean): Promise<Victims> {
    const folder = mkdtempSync(join(tmpdir(), "dfs-attacks-"));
    const keyFile = keyed ? join(folder, "key") : undefined;
    if (keyFile !== undefined) writeNewKey(keyFile, false);
    const more = keyFile === undefined ? {} : { keyFile };
    const settings = { blockSize: BLOCK_BYTES, replicas: SERVERS };
    const cluster = await spawnCluster({
      servers: SERVERS,
      settings,
      meta: more,
      data: more,
      dir: join(folder, "cluster"),
    });
    const client = await connect(cluster, keyFile);
    for (let number = 0; number < NAMES; number++) {
      await client.mkdir(
        bytesOf(`/a directory with a name that is not short, number ${number}`),
        OWNER,
      );
    }
    await client.put(PROBE, [patterned(BLOCK_BYTES)], { ...OWNER, keepReplaced: false });
    let block = { id: 0n, length: 0 };
    for await (const row of client.explain(PROBE)) block = { id: row.block, length: row.length };
    return new Victims(cluster, folder, keyFile, client, block);
  }

  /** Attacks one server and sees what comes of it. */
  async attack(
    attack: Attack,
    role: "meta" | "data",
    seconds: number,
    seed: number,
    { probes = PROBES, settleSeconds = SETTLE_SECONDS, at = 0 } = {},
  ): Promise<Seen> {
    const server = role === "meta" ? this.cluster.meta : this.cluster.server(at);
    await this.telling.get(server);
    const logStarts = this.servers.map(({ log }) => log().length);
    const logStart = server.log().length;
    const before = await this.probes(probes);
    const { address } = server;
    const target: Omit<Target, "block" | "key"> = { address, role, seconds, settleSeconds, seed };
    const json = {
      ...target,
      block: { id: String(this.block.id), length: this.block.length },
      ...(this.keyFile === undefined
        ? {}
        : { key: Buffer.from(readKey(this.keyFile)).toString("hex") }),
    };
    const child = Bun.spawn(
      [process.execPath, join(import.meta.dir, "attacker.ts"), attack.name, JSON.stringify(json)],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    const [said, complaint] = [
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ];
    const during: number[] = [];
    let residentMiB = 0;
    const sampler = setInterval(() => {
      residentMiB = Math.max(residentMiB, residentOf(server));
    }, SAMPLE_MS);
    while (child.exitCode === null && child.signalCode === null) {
      during.push(...(await this.probes(1)));
      await Bun.sleep(SAMPLE_MS);
    }
    clearInterval(sampler);
    const faults = this.faults(await complaint, logStarts);
    const after = await this.probes(probes);
    faults.push(...(await this.unanswered(server, role)));
    const attacker = JSON.parse((await said) || "{}") as Seen["attacker"];
    const told = toldBy(server, logStart, attacker.offending);
    this.telling.set(server, told);
    return {
      attack: attack.name,
      role,
      attacker,
      before,
      during,
      after,
      residentMiB,
      told,
      faults,
    };
  }

  /** A client reads elsewhere when a data server does not answer: it is asked itself as well. */
  private async unanswered({ address }: ServerProcess, role: "meta" | "data"): Promise<string[]> {
    const timeoutMs = ANSWER_TIMEOUT_MS;
    const key = this.keyFile === undefined ? {} : { key: readKey(this.keyFile) };
    const seams = { clock: systemClock, random: systemRandom, logger: silentLogger };
    const transport = tcpTransport(systemClock);
    const label = "well-behaved";
    try {
      const identity = { ...NOBODY, role: "client" as const, label };
      const peer = await connectPeer({
        transport,
        address,
        identity,
        expect: { role },
        timeoutMs,
        ...seams,
        ...key,
      });
      if (role === "data") {
        const { id, length } = this.block;
        await peer.request(blockGet, { block: id as BlockId, offset: 0, length }, { timeoutMs });
      } else await peer.request(sessionOpen, { label }, { timeoutMs });
      peer.close("it was answered");
      return [];
    } catch (error) {
      return [`the server that was attacked does not answer: ${messageOf(error)}`];
    }
  }

  async stop(): Promise<void> {
    await this.client.close();
    await this.cluster.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** How long it takes a new client to connect, and to read a file whole, in milliseconds. */
  private async probes(count: number): Promise<number[]> {
    const times: number[] = [];
    for (let number = 0; number < count; number++) {
      const startMs = performance.now();
      const client = await connect(this.cluster, this.keyFile);
      const file = await client.open(PROBE);
      const bytes = await file.read(0, BLOCK_BYTES);
      if (bytes.length !== BLOCK_BYTES) throw new Error("the file is shorter than it was");
      await file.close();
      await client.close();
      times.push(performance.now() - startMs);
    }
    return times;
  }

  private get servers(): ServerProcess[] {
    const data = Array.from({ length: SERVERS }, (_, at) => this.cluster.server(at));
    return [this.cluster.meta, ...data];
  }

  private faults(complaint: string, logStarts: readonly number[]): string[] {
    const all = this.servers;
    const ended = all.filter(
      ({ process }) => process.exitCode !== null || process.signalCode !== null,
    );
    return [
      ...(complaint === "" ? [] : [`the attacker says: ${complaint}`]),
      ...ended.map(
        ({ address, log }) => `the server at ${address} has ended: ${log().slice(-500)}`,
      ),
      ...all
        .flatMap(({ log }, at) => log().slice(logStarts[at]).split("\n"))
        .filter((line) => /nhandled|uncaught|internal error| error /i.test(line)),
    ];
  }
}

/** Memory of a server that must never be passed. */
export const MOST_RESIDENT_MIB = 250;
/** After the attack a client may wait so much longer than before: what a busy machine makes of it. */
const SLOWER = 3;
const SLOWER_MS = 250;

/** Waits until a server has told of so many connections, but not much longer than it may take. */
async function toldBy(server: ServerProcess, logStart: number, expected: number): Promise<Told> {
  const endMs = performance.now() + INTERVAL_MS + ANSWER_TIMEOUT_MS;
  for (;;) {
    const log = server
      .log()
      .slice(logStart)
      .split("\n")
      .filter((line) => line !== "");
    const connections = log.reduce((sum, line) => sum + connectionsIn(line), 0);
    if (connections >= expected || performance.now() > endMs) return { log, connections };
    await Bun.sleep(SAMPLE_MS);
  }
}

/** Of how many connections that were refused, ended or lost a line tells. */
function connectionsIn(line: string): number {
  if (/ (?:warn|info) .*: (?:refused|ended|lost) the connection from \S+:\d+: ./.test(line))
    return 1;
  return Number(
    /: (\d+) more connections (?:from \S+ )?were .* in the last \d+ s: ./.exec(line)?.[1] ?? 0,
  );
}

/** What must not have come of an attack, and did. */
export async function faultsOf(seen: Seen): Promise<string[]> {
  const { faults, residentMiB, before, after, attacker } = seen;
  const { offending, unsettled } = attacker;
  const { connections } = await seen.told;
  const waited = median(after);
  const allowed = Math.max(SLOWER * median(before), median(before) + SLOWER_MS);
  return [
    ...faults,
    ...(connections < offending || connections > offending + unsettled
      ? [`the log tells of ${connections} connections, and ${offending} offended`]
      : []),
    ...(residentMiB > MOST_RESIDENT_MIB
      ? [`${residentMiB.toFixed(0)} MiB of memory, over ${MOST_RESIDENT_MIB}`]
      : []),
    ...(waited > allowed
      ? [
          `a client waits ${waited.toFixed(0)} ms afterwards and waited ${median(before).toFixed(0)} ms before`,
        ]
      : []),
  ];
}

export function median(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? NaN;
}

function connect(cluster: ProcessCluster, keyFile: string | undefined): Promise<DfsClient> {
  return connectClient({
    metaAddress: cluster.meta.address,
    label: "well-behaved",
    firstContactTimeoutMs: PROBE_TIMEOUT_MS,
    ...(keyFile === undefined ? {} : { key: readKey(keyFile) }),
  });
}

function residentOf({ process }: ServerProcess): number {
  try {
    const status = readFileSync(`/proc/${process.pid}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
  } catch {
    return 0; // it has ended; that is told elsewhere
  }
}
