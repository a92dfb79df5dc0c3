/**
 * From the options of a command to a client of the cluster.
 *
 * The metadata server's address comes from `--meta`; else from the cluster file of `--dir`; else from DFS_META; else from
 * the cluster file of DFS_DIR or of the default directory, which is where `dfs up` left it. What was typed comes before
 * what is in the environment. The cluster key's file is the one that is typed; else that of the cluster of which the address
 * is; else the one in the environment.
 */
import { brieflyOf, DfsError, isDfsError } from "../../base/errors.ts";
import type { ClientOptions, ClientWarning, DfsClient } from "../../client/api.ts";
import { clusterFilePath, defaultDirectory, readClusterFile } from "./cluster-file.ts";
import { readKey } from "./cluster-key.ts";
import { flag, value, type Context, type OptionSet, type OptionValues } from "./command.ts";
import { unlessAborted } from "./interruption.ts";
import { address, directory, seconds, text } from "./values.ts";

/** The whole command must have given up on a wrong address within this time, counted from its start. */
const FIRST_CONTACT_MS = 5000;
/** Of which this is kept for starting and for saying so. */
const FIRST_CONTACT_RESERVE_MS = 250;
const CLOSE_TIMEOUT_MS = 1000;
/** How long an interrupted command may take to stop what it is doing. */
const LAST_WORDS_MS = 1000;

/** Options of every command. */
export const generalOptions = {
  quiet: flag("no progress and no summary; warnings and errors are told all the same", {
    short: "q",
  }),
  debug: flag("on an error, show where in dfs it came from"),
};

/** The option of every command that prints. */
export const jsonOption = {
  json: flag("print JSON Lines: one object a line, for programs"),
};

/** The cluster key. */
export const keyOption = {
  keyFile: value("<file>", text, "file with the cluster key (at least 16 bytes)"),
};

/** Options of every command that talks to a cluster. */
export const connectionOptions = {
  meta: value("<address>", address, "metadata server, HOST:PORT"),
  dir: value(
    "<dir>",
    directory,
    "directory of the local cluster (default: ~/.local/share/dfs, or dfs in XDG_DATA_HOME)",
  ),
  ...keyOption,
  timeout: value(
    "<seconds>",
    seconds,
    "give up when the cluster cannot be reached for so long (default: 5 at first, 60 later)",
  ),
};

/** What most commands have. */
export const clientOptions = { ...connectionOptions, ...generalOptions };

type ConnectionContext = Context<typeof clientOptions & OptionSet>;

/** What tells where the metadata server is. */
export type MetaSource = Pick<ConnectionContext, "typed" | "env"> & {
  readonly options: Pick<OptionValues<typeof connectionOptions>, "meta" | "dir">;
};

/** What tells which key is meant. */
export type KeySource = Pick<ConnectionContext, "typed"> & {
  readonly options: Pick<OptionValues<typeof keyOption>, "keyFile">;
};

/** Where the metadata server is, and how we know. */
export interface MetaAddress {
  readonly address: string;
  readonly source: string;
  /** The local cluster's directory, when the address comes from there. */
  readonly dir?: string;
  /** False when the cluster file says that the cluster was stopped. */
  readonly running: boolean;
  /** File with the key of that local cluster, when it has one. */
  readonly keyFile?: string;
}

/**
 * Where the metadata server is.
 * @throws DfsError `unreachable` when nothing says so.
 */
export function findMeta(context: MetaSource): MetaAddress {
  const { options, typed, env } = context;
  if (options.meta !== undefined && (typed.has("meta") || !typed.has("dir"))) {
    const source = typed.has("meta") ? "--meta" : "DFS_META";
    return { address: options.meta, source, running: true };
  }
  const dir = options.dir ?? defaultDirectory(env);
  const file = readClusterFile(dir);
  if (file?.meta === undefined) {
    const extra = options.dir === undefined ? "" : ` --dir ${shellWord(dir)}`;
    throw new DfsError(
      "unreachable",
      `cannot tell where the cluster is: there is none in ${dir}\n` +
        `start one here with: dfs up${extra}\n` +
        "or name another's metadata server with --meta HOST:PORT",
    );
  }
  const { meta, keyFile } = file;
  const key = keyFile === undefined ? {} : { keyFile };
  return { address: meta, source: dir, dir, running: file.metaPid !== null, ...key };
}

/** The key for the cluster whose metadata server is at `meta`. @throws DfsError as `readKey`. */
export function findKey(context: KeySource, meta: MetaAddress): Uint8Array | undefined {
  const { options, typed } = context;
  return readKey(typed.has("keyFile") ? options.keyFile : (meta.keyFile ?? options.keyFile));
}

/** What a command may want of its client besides what its options say. */
export type ClientWish = Pick<ClientOptions, "readQuorum" | "onVotes">;

/** Runs `work` with a client that is closed afterwards, whatever happens. */
export async function withClient<T>(
  context: ConnectionContext,
  work: (client: DfsClient) => Promise<T>,
  wish: ClientWish = {},
): Promise<T> {
  const meta = findMeta(context);
  const client = await unlessAborted(context.signal, connect(context, meta, wish));
  try {
    return await untilAborted(context.signal, work(client));
  } finally {
    await closed(client);
  }
}

/** As `unlessAborted`, but `work` may first say what it has done, and how to go on. */
async function untilAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  try {
    return await unlessAborted(signal, work);
  } catch (error) {
    if (!signal.aborted) throw error;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => resolve(undefined), LAST_WORDS_MS);
    const words = work.then(
      () => new DfsError("cancelled", "interrupted when all was done"),
      (own: unknown) => (isDfsError(own, "cancelled") ? own : undefined),
    );
    const last = await Promise.race([words, promise]);
    clearTimeout(timer);
    throw last ?? error;
  }
}

/** A word as a shell takes it. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

async function connect(
  context: ConnectionContext,
  meta: MetaAddress,
  wish: ClientWish,
): Promise<DfsClient> {
  const { options, messages } = context;
  const key = findKey(context, meta);
  const first = FIRST_CONTACT_MS - FIRST_CONTACT_RESERVE_MS - performance.now();
  const clientSettings: ClientOptions = {
    ...wish,
    metaAddress: meta.address,
    label: `dfs ${context.name}, pid ${process.pid}`,
    firstContactTimeoutMs: options.timeout ?? Math.max(first, 1000),
    onWarning: (warning: ClientWarning) => messages.warning(warning.message),
    ...(options.timeout === undefined ? {} : { retryTimeoutMs: options.timeout }),
    ...(key === undefined ? {} : { key }),
  };
  const { connectClient } = await import("../../client/client.ts");
  try {
    return await connectClient(clientSettings);
  } catch (error) {
    throw explainUnreachable(meta, context.env, error);
  }
}

/** The error of a first contact, with what to do when nobody was reached; others as they are. */
export function explainUnreachable(
  meta: MetaAddress,
  env: MetaSource["env"],
  error: unknown,
): unknown {
  if (!isDfsError(error, "unreachable") && !isDfsError(error, "timeout")) return error;
  const isDefault = meta.dir === undefined || meta.dir === defaultDirectory(env);
  const inDir = isDefault ? "" : ` --dir ${shellWord(meta.dir ?? "")}`;
  if (!meta.running) {
    return new DfsError(
      "unreachable",
      `cannot reach the cluster in ${meta.dir}: it was stopped\nstart it again with: dfs up${inDir}`,
      { cause: error },
    );
  }
  const next =
    meta.dir === undefined
      ? `check the address, which is from ${meta.source}; dfs meta or dfs up starts a server`
      : `the address is from ${clusterFilePath(meta.dir)}; start what is missing with: dfs up${inDir}`;
  return new DfsError("unreachable", `${brieflyOf(error)}\n${next}`, { cause: error });
}

/** Closing is a courtesy to the service, which forgets silent sessions anyway: it never holds up the command. */
async function closed(client: DfsClient): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
  await Promise.race([client.close().catch(() => undefined), promise]);
  clearTimeout(timer);
}
