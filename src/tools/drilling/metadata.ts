/**
 * Faults of the metadata server: it is killed while clients write, and it loses its disk.
 */
import { DfsError, isDfsError, messageOf } from "../../base/errors.ts";
import { pathText } from "./reading.ts";
import { ownCluster, type Fault, type Stage } from "./stage.ts";

const WRITERS = 3;
/** Files that are stored before the kill, and after the start. */
const FILES_BEFORE = 6;
const FILES_AFTER = 6;
/** A file of this fault is small: what matters is how many there are. */
const MOST_BYTES = 20_000;
const PATIENCE_MS = 60_000;
const LOOK_EVERY_MS = 10;

/** The metadata server is killed and started again while clients write. */
export const metaKill: Fault = {
  name: "meta-kill",
  summary: "the metadata server is killed while clients write, and started again",
  expected: "writes go on; everything acknowledged is right",
  ownCluster: true,
  async play(stage) {
    const cluster = ownCluster(stage);
    const stored = await stage.connections.with(async (client) => {
      const writers = new Writers(stage, client);
      try {
        await writers.untilStored(FILES_BEFORE);
        await cluster.crashMeta();
        const before = writers.stored;
        await cluster.startMissing();
        await writers.untilStored(before + FILES_AFTER);
      } finally {
        await writers.stop();
      }
      return writers.stored;
    });
    return {
      unreadable: new Set(),
      observed: `${stored} files stored around it`,
      heal: () => Promise.resolve(), // it is back already
    };
  },
};

/** The metadata server's directory is lost and brought back from a backup on the data servers. */
export const metaDisk: Fault = {
  name: "meta-disk",
  summary:
    "the metadata server is killed and loses its disk; a backup is restored from the data servers",
  expected: "everything of the backup right; what came later is missing",
  ownCluster: true,
  async play(stage) {
    const cluster = ownCluster(stage);
    const late = stage.files.another(stage.random);
    await stage.connections.with(async (client) => {
      await client.backUpMetadata();
      const content = [new Uint8Array(MOST_BYTES)];
      await client.put(late.path, content, { mode: 0o600, uid: 0, gid: 0, keepReplaced: false });
    });
    await cluster.crashMeta();
    cluster.loseMetaDisk();
    await cluster.restoreMeta();
    await cluster.startMissing();
    return {
      unreadable: new Set(),
      meanwhile: () => mustBeMissing(stage, late),
      heal: () => Promise.resolve(), // it is back already
    };
  },
};

async function mustBeMissing(stage: Stage, late: { readonly path: Uint8Array }): Promise<string> {
  const error = await stage.connections.with((client) =>
    client.stat(late.path).then(
      () => undefined,
      (reason: unknown) => reason,
    ),
  );
  if (isDfsError(error, "notFound")) return "the later file missing";
  const what = error === undefined ? "is there" : `cannot be looked up: ${messageOf(error)}`;
  throw new DfsError("io", `${pathText(late)}, which the backup does not have, ${what}`);
}

/** Clients' writes that go on until they are told to stop. */
class Writers {
  stored = 0;
  readonly #stage: Stage;
  readonly #work: Promise<void>;
  #stopped = false;
  #failure: Error | undefined;

  constructor(stage: Stage, client: Parameters<Stage["files"]["put"]>[0]) {
    this.#stage = stage;
    const writer = async (): Promise<void> => {
      const { files, random, signal } = stage;
      while (!this.#stopped && !signal.aborted) {
        await files.put(client, files.another(random, 1 + random.below(MOST_BYTES)));
        this.stored++;
      }
    };
    const all = Array.from({ length: WRITERS }, writer);
    this.#work = Promise.all(all).then(
      () => undefined,
      (error: unknown) => void (this.#failure ??= asError(error)),
    );
  }

  /** Waits until so many files are stored. @throws DfsError of a write that failed; `timeout`. */
  async untilStored(count: number): Promise<void> {
    const end = performance.now() + PATIENCE_MS;
    while (this.stored < count) {
      this.#stage.signal.throwIfAborted();
      if (this.#failure !== undefined) throw this.#failure;
      if (performance.now() > end) {
        throw new DfsError(
          "timeout",
          `only ${this.stored} of ${count} files were stored in a minute`,
        );
      }
      await Bun.sleep(LOOK_EVERY_MS);
    }
  }

  /** Lets what is being written end. @throws DfsError of a write that failed. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#work;
    if (this.#failure !== undefined) throw this.#failure;
  }
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new DfsError("internal", messageOf(thrown));
}
