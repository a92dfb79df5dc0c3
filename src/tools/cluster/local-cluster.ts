/**
 * The local cluster: starts what is missing of it, and stops it.
 *
 * The cluster file is brought up to date after each step, so that whatever ends `dfs up` halfway, the next `up` or
 * `down` knows what there is. Both work under the directory's lock, so two at once take turns.
 */
import { mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { DfsError } from "../../base/errors.ts";
import {
  readClusterFile,
  writeClusterFile,
  type ClusterFile,
  type ClusterServer,
} from "../shared/cluster-file.ts";
import { EXIT } from "../shared/exit-codes.ts";
import { whoHasJoined } from "./joined.ts";
import { launch, NotStarted, type Launched } from "./launch.ts";
import {
  dataDirectory,
  isDataDirectory,
  isUnused,
  logPath,
  metaDirectory,
  serverDirectories,
} from "./layout.ts";
import { listenAddress } from "./ports.ts";
import { dataServerIn, metaAddressIn } from "./server-files.ts";
import { serverIn, stopServer, type Stopped } from "./processes.ts";
import { shellWord } from "../shared/connect.ts";
import {
  serviceFlags,
  settingsOfRow,
  unmet,
  type ServiceRow,
  type ServiceWish,
} from "../shared/service-options.ts";
import { checkSettings, commonFlags, keyFileFor, settingFlags, type Wish } from "./wish.ts";

const DEFAULT_DATA_SERVERS = 4;

/** One server of the cluster, as it is after `start`. */
export interface Service {
  readonly name: string;
  readonly id?: number;
  readonly address: string;
  readonly pid: number;
  readonly dir: string;
  /** True when it ran already. */
  readonly ranBefore: boolean;
  /** Of the metadata server, as far as it is known: how it judges silence, repairs and backs up. */
  readonly goesBy?: ServiceRow;
}

/** A server that `stop` has dealt with. */
export interface StoppedService {
  readonly name: string;
  readonly dir: string;
  readonly pid: number | undefined;
  readonly how: Stopped;
}

export interface ClusterEvents {
  readonly onService: (service: Service) => void;
  readonly onWarning: (text: string) => void;
}

export class LocalCluster {
  readonly dir: string;
  /** The servers that this process has started. */
  readonly launched: Launched[] = [];
  /** Servers that could not be started although the rest was. */
  failures = 0;
  readonly #events: ClusterEvents;
  readonly #signal: AbortSignal;
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #tied: boolean;
  /** Ids of the data servers that were running. */
  readonly #ranBefore: number[] = [];
  #file: ClusterFile;

  constructor(
    dir: string,
    events: ClusterEvents,
    around: {
      readonly signal: AbortSignal;
      readonly env: Readonly<Record<string, string | undefined>>;
      /** Servers end when this process has ended. */
      readonly tied?: boolean;
    },
  ) {
    this.dir = dir;
    this.#events = events;
    this.#signal = around.signal;
    this.#env = around.env;
    this.#tied = around.tied ?? false;
    this.#file = readClusterFile(dir) ?? { metaPid: null, servers: [], settings: {} };
  }

  /**
   * Starts what is missing. The directory must be locked by the caller.
   * @throws DfsError `usage` when the cluster has other settings or its metadata is gone; NotStarted, also when data servers
   * that ran refuse the metadata. What was started is stopped again then.
   */
  async start(wish: Wish): Promise<void> {
    checkSettings(wish.settings, this.#file.settings, this.dir);
    this.#refuseWithoutMetadata();
    const servers = this.#serversWanted(wish.dataServers);
    const keyFile = keyFileFor(wish, this.dir, this.#file, this.running().length > 0);
    this.#save({ servers, ...(keyFile === undefined ? {} : { keyFile }) });
    mkdirSync(join(this.dir, "logs"), { recursive: true });
    try {
      const meta = await this.#startMeta(wish);
      // New servers one after the other, so that they get their ids in the order of their names.
      const [known, fresh] = partition(servers, ({ dir }) => !isUnused(dir));
      await allOf(known.map(({ dir }) => this.#startData(dir, meta, wish)));
      for (const { dir } of fresh) await this.#startData(dir, meta, wish);
      await this.#refuseOlder(meta);
    } catch (error) {
      await this.#stopLaunched();
      throw error;
    }
  }

  /**
   * Stops all servers whose directories are in this one, also those that were started by hand: data servers first. What
   * has not ended after `timeoutMs` is killed.
   */
  async stop(timeoutMs?: number): Promise<StoppedService[]> {
    const meta = metaDirectory(this.dir);
    const known = this.#file.servers.map((server) => server.dir);
    const data = new Set([...known, ...serverDirectories(this.dir)]);
    data.delete(meta);
    const stopped = await Promise.all([...data].map((dir) => this.#stopOne(dir, timeoutMs)));
    stopped.push(await this.#stopOne(meta, timeoutMs));
    this.#recordPids();
    return stopped;
  }

  /** Names of the servers that run. */
  running(): string[] {
    const dirs = [...this.#file.servers.map(({ dir }) => dir), metaDirectory(this.dir)];
    return dirs.filter((dir) => serverIn(dir) !== undefined).map((dir) => basename(dir));
  }

  /** Asks the servers that this process has started to end, and waits for nothing: for when it ends itself, at once. */
  dismissLaunched(): void {
    for (const { child } of this.launched) {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
    }
  }

  /** Data servers that ran when the metadata server was started tell only by not joining that its database is an older one. */
  async #refuseOlder(meta: string): Promise<void> {
    if (this.#ranBefore.length === 0) return;
    const servers = this.#ranBefore;
    const { keyFile } = this.#file;
    const answer = await whoHasJoined({ meta, keyFile, servers, signal: this.#signal });
    const { refusing, silent } = answer;
    if (refusing.length > 0) throw this.#olderMetadata(meta, refusing);
    for (const id of silent) {
      this.#events.onWarning(
        `data server ${id} runs, but the metadata server has not heard of it yet; dfs status tells how it is`,
      );
    }
  }

  #olderMetadata(meta: string, refusing: readonly number[]): NotStarted {
    const dir = metaDirectory(this.dir);
    const many = refusing.length > 1;
    const isStopped = this.launched.some(({ ready }) => ready.dir === dir);
    return new NotStarted(
      `the cluster is not ready: data server${many ? "s" : ""} ${refusing.join(", ")} ${many ? "refuse" : "refuses"} the ` +
        `metadata database in ${dir}: it is older than what ${many ? "they have" : "it has"} served\n` +
        `${isStopped ? "the metadata server is stopped again" : "stop the metadata server (dfs down)"}: put the newer database back ` +
        "and start it with dfs up; or, if that is lost for good, start the older one once with:\n" +
        `dfs meta --dir ${shellWord(dir)} --listen ${meta} --accept-older\n` +
        "what that means: docs/operations.md, A database was restored by hand",
      EXIT.failed,
      [],
    );
  }

  /** A new metadata server would be that of another cluster, and in the way of one that is restored. */
  #refuseWithoutMetadata(): void {
    const meta = metaDirectory(this.dir);
    const known = this.#file.servers.filter(({ id, dir }) => id !== undefined && !isUnused(dir));
    if (!isUnused(meta) || known.length === 0) return;
    const addresses = known.flatMap(({ address }) => (address === undefined ? [] : [address]));
    const waiting = `dfs data --dir ${shellWord(known[0]!.dir)} --meta ${this.#file.meta ?? "HOST:PORT"} --wait`;
    throw new DfsError(
      "usage",
      `cannot start the cluster in ${this.dir}: its metadata is gone: ${meta} is empty, and its data servers are there\n` +
        `bring its disk back; or, if that is lost for good, start each data server alone (${waiting}) and restore the newest ` +
        `backup from them:\ndfs meta restore --dir ${shellWord(meta)} --from ${addresses.join(",")}`,
    );
  }

  /** The servers of the cluster file, others that are in this directory, and as many new ones as wished. */
  #serversWanted(wished: number | undefined): ClusterServer[] {
    const recorded = this.#file.servers;
    const present: ClusterServer[] = [...recorded, ...this.#unrecorded()];
    const count = wished ?? (present.length || DEFAULT_DATA_SERVERS);
    if (count < recorded.length) {
      throw new DfsError(
        "usage",
        `cannot start with --data-servers ${count}: the cluster in ${this.dir} has ${recorded.length}\n` +
          "leave the flag out; to take a server away, drain and remove it first",
      );
    }
    for (let number = 1; present.length < count; number++) {
      const dir = dataDirectory(this.dir, number);
      if (present.some((server) => server.dir === dir) || !isUnused(dir)) continue;
      present.push({ pid: null, dir });
    }
    return present;
  }

  /**
   * Servers in this directory that the cluster file does not name: those that run were started by hand; those that do
   * not, but have a name and an id, belong to the cluster as well (a file that had to be made anew has forgotten them).
   */
  #unrecorded(): ClusterServer[] {
    const ids = new Set(this.#file.servers.map((server) => server.id));
    const known = [metaDirectory(this.dir), ...this.#file.servers.map((server) => server.dir)];
    return serverDirectories(this.dir)
      .filter((dir) => !known.includes(dir))
      .flatMap((dir) => {
        const pid = serverIn(dir) ?? null;
        const server = dataServerIn(dir);
        const isForgotten = isDataDirectory(dir) && server.id !== undefined && !ids.has(server.id);
        return pid !== null || isForgotten ? [{ ...server, pid, dir }] : [];
      });
  }

  /** Makes sure that the metadata server runs; returns its address. */
  async #startMeta(wish: Wish): Promise<string> {
    const dir = metaDirectory(this.dir);
    const pid = serverIn(dir);
    const before = metaAddressIn(dir) ?? this.#file.meta;
    if (pid !== undefined && before !== undefined) {
      this.#save({ meta: before, metaPid: pid });
      this.#warnOfUnmet(wish.service);
      this.#tell({ name: "meta", address: before, pid, dir, ranBefore: true });
      return before;
    }
    // Data servers that run look for it where it was; otherwise it may move when its port is taken.
    const mustStay = this.#file.servers.some((server) => serverIn(server.dir) !== undefined);
    const listen = this.#listen("meta", before, wish.port, mustStay);
    const { ready } = await this.#launch("meta", [
      "meta",
      "--json",
      "--dir",
      dir,
      "--listen",
      listen,
      ...settingFlags(wish.settings),
      ...serviceFlags(wish.service),
      ...commonFlags(wish, this.#file.keyFile),
    ]);
    this.#save({
      meta: ready.address,
      metaPid: ready.pid,
      settings: ready.settings ?? this.#file.settings,
      ...(ready.service === undefined ? {} : { service: ready.service }),
    });
    this.#tell({ name: "meta", address: ready.address, pid: ready.pid, dir, ranBefore: false });
    return ready.address;
  }

  /** A metadata server that runs goes by what it was started with. */
  #warnOfUnmet(wish: ServiceWish): void {
    const { service } = this.#file;
    const flags = serviceFlags(unmet(wish, service && settingsOfRow(service))).join(" ");
    if (flags === "") return;
    const where = `--dir ${shellWord(this.dir)}`;
    this.#events.onWarning(
      `${flags} is not taken: the metadata server runs already, and takes it only when it is started\n` +
        `dfs down ${where}; then dfs up ${where} ${flags}`,
    );
  }

  async #startData(dir: string, meta: string, wish: Wish): Promise<void> {
    const recorded = this.#file.servers.find((each) => each.dir === dir);
    const server = { ...recorded, ...dataServerIn(dir), dir };
    const name = basename(dir);
    const pid = serverIn(dir);
    if (pid !== undefined && server.address !== undefined) {
      this.#saveServer({ ...server, pid });
      const { address } = server;
      this.#tell({ name, ...idOf(server), address, pid, dir, ranBefore: true });
      return;
    }
    if (isUnused(dir) && server.id !== undefined) {
      this.failures++;
      this.#events.onWarning(
        `${name} is not started: ${dir} is empty, but this was data server ${server.id}\n` +
          "bring its disk back, or, if that is lost for good, start it with:\n" +
          `dfs data --recover ${server.id} --dir ${dir} --meta ${meta}`,
      );
      return;
    }
    const port =
      wish.port === undefined
        ? undefined
        : wish.port + this.#file.servers.findIndex((each) => each.dir === dir) + 1;
    const { ready } = await this.#launch(name, [
      "data",
      "--json",
      "--dir",
      dir,
      "--meta",
      meta,
      "--listen",
      this.#listen(name, server.address, port, false),
      "--allow-faults",
      ...(isUnused(dir) ? ["--new"] : []),
      ...commonFlags(wish, this.#file.keyFile),
    ]);
    const started: ClusterServer = {
      ...(ready.server === undefined ? idOf(server) : { id: ready.server }),
      address: ready.address,
      pid: ready.pid,
      dir,
    };
    this.#saveServer(started);
    this.#tell({
      name,
      ...idOf(started),
      address: ready.address,
      pid: ready.pid,
      dir,
      ranBefore: false,
    });
  }

  #listen(
    name: string,
    before: string | undefined,
    port: number | undefined,
    mustStay: boolean,
  ): string {
    const found = listenAddress(before, port, mustStay);
    if (found.takenPort !== undefined) {
      this.#events.onWarning(
        `port ${found.takenPort}, where ${name} was, is taken: it gets another`,
      );
    }
    return found.address;
  }

  async #launch(name: string, args: readonly string[]): Promise<Launched> {
    const launched = await launch({
      name: name === "meta" ? "metadata server" : name,
      args,
      logPath: logPath(this.dir, name),
      env: this.#env,
      signal: this.#signal,
      tied: this.#tied,
    });
    this.launched.push(launched);
    return launched;
  }

  async #stopLaunched(): Promise<void> {
    for (const { ready } of this.launched.toReversed()) await this.#stopOne(ready.dir);
    this.#recordPids();
  }

  async #stopOne(dir: string, timeoutMs?: number): Promise<StoppedService> {
    const { how, pid } = await stopServer(dir, timeoutMs);
    const name = basename(dir);
    if (how === "killed") {
      this.#events.onWarning(`${name} (process ${pid}) did not end when asked and was killed`);
    }
    return { name, dir, pid, how };
  }

  /** Writes down which servers run now. */
  #recordPids(): void {
    this.#save({
      metaPid: serverIn(metaDirectory(this.dir)) ?? null,
      servers: this.#file.servers.map((server) => ({
        ...server,
        pid: serverIn(server.dir) ?? null,
      })),
    });
  }

  #saveServer(server: ClusterServer): void {
    const { servers } = this.#file;
    this.#save({ servers: servers.map((each) => (each.dir === server.dir ? server : each)) });
  }

  #save(change: Partial<ClusterFile>): void {
    this.#file = { ...this.#file, ...change };
    writeClusterFile(this.dir, this.#file);
  }

  #tell(service: Service): void {
    if (service.ranBefore && service.id !== undefined) this.#ranBefore.push(service.id);
    const { service: goesBy } = this.#file;
    const isMeta = service.id === undefined && service.dir === metaDirectory(this.dir);
    this.#events.onService(isMeta && goesBy !== undefined ? { ...service, goesBy } : service);
  }
}

function partition<T>(items: readonly T[], is: (item: T) => boolean): [T[], T[]] {
  return [items.filter(is), items.filter((item) => !is(item))];
}

/** Waits for all, whatever happens to some of them, then throws what the first one that failed threw. */
async function allOf(work: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) {
    if (result.status === "rejected") throw result.reason;
  }
}

function idOf(server: Pick<ClusterServer, "id">): { id?: number } {
  return server.id === undefined ? {} : { id: server.id };
}
