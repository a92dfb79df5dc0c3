/**
 * A data server's directory: who may begin one, who may use it.
 *
 *     lock             flock of the process that owns it, with its pid
 *     identity.json    who the server is (identity.ts)
 *     log/             its blocks (src/log)
 *     backups/         backups of the metadata (backups.ts)
 *
 * An empty or missing directory is used only when told so, because a disk that is just not mounted looks the same, and a
 * server that quietly began anew would make the cluster copy everything. Hence:
 *
 *     directory                      no flag      --new        --recover ID
 *     missing or empty               refused      begins       begins as ID
 *     begun, never registered        goes on      goes on (*)  goes on (*)
 *     of a server                    goes on      refused      refused
 *     anything else in it            refused      refused      refused
 *
 * (*) when it was begun with the same flag.
 */
import { join } from "node:path";
import { lockDirectory, type DirectoryLock } from "../../base/directory-lock.ts";
import type { Disk } from "../../base/disk.ts";
import { DfsError } from "../../base/errors.ts";
import { blockId, incarnationId, serverId, type ServerId } from "../../base/ids.ts";
import type { Random } from "../../base/random.ts";
import { IDENTITY_FILE, IdentityFile } from "./identity.ts";

/** The identity that is in the directory, a new server's, or that of server `recover`, whose disk is lost. */
export type IdentityWish = "present" | "new" | { readonly recover: number };

export interface DirectoryOptions {
  readonly disk: Disk;
  readonly dir: string;
  readonly identity: IdentityWish;
  readonly random: Random;
  /** For simulators; flock(2) when left out. */
  readonly lock?: ((dir: string) => DirectoryLock) | undefined;
}

export interface ServerDirectory {
  readonly dir: string;
  readonly logDirectory: string;
  readonly identity: IdentityFile;
  /** Gives the directory up. */
  release(): void;
}

/** What an empty directory may hold: what a file system puts into its root, and a lock that nobody holds. */
const NOTHING: ReadonlySet<string> = new Set(["lock", "lost+found", `${IDENTITY_FILE}.tmp`]);

/**
 * Takes a directory for this process, beginning it when that is wanted.
 * @throws DfsError `usage` when directory and wish do not go together, `locked` when a live process owns it, `io` and
 * `unsupported` for an identity that cannot be used.
 */
export async function openDirectory(options: DirectoryOptions): Promise<ServerDirectory> {
  const { disk, dir, identity: wish } = options;
  checkContent(disk, dir, wish);
  disk.makeDirectory(dir);
  const lock = (options.lock ?? lockDirectory)(dir);
  try {
    const present = IdentityFile.read(disk, dir);
    if (present !== undefined) checkWish(dir, present, wish);
    const identity = present ?? (await begin(options));
    return { dir, logDirectory: join(dir, "log"), identity, release: () => lock.release() };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Refuses before anything is touched. */
function checkContent(disk: Disk, dir: string, wish: IdentityWish): void {
  const names = disk.list(dir);
  const content = (names ?? []).filter((name) => !NOTHING.has(name));
  if (content.includes(IDENTITY_FILE)) return;
  if (content.length > 0) {
    throw new DfsError(
      "usage",
      `cannot use ${dir}: it holds ${content[0]}, but is not the directory of a data server (no ${IDENTITY_FILE})\n` +
        "give the server a directory of its own",
    );
  }
  if (wish !== "present") return;
  throw new DfsError(
    "usage",
    `cannot start a data server in ${dir}: the directory ${names === undefined ? "does not exist" : "is empty"}\n` +
      "if its disk should be mounted there, mount it; to add a new server to the cluster, say --new;\n" +
      "to be server ID again, whose disk is lost for good, say --recover ID",
  );
}

/** Refuses to begin anew what has been begun. */
function checkWish(dir: string, { current }: IdentityFile, wish: IdentityWish): void {
  if (wish === "present") return;
  const wished = wish === "new" ? undefined : serverId(wish.recover);
  const registered = current.cluster !== undefined;
  if (!registered && current.server === wished) return;
  const refused = `cannot use ${dir} with ${flagOf(wished)}`;
  if (!registered) {
    throw new DfsError(
      "usage",
      `${refused}: it was begun with ${flagOf(current.server)}, and has not joined a cluster since\n` +
        `if that was a mistake, delete ${dir}, which holds no blocks yet, and start the server again`,
    );
  }
  throw new DfsError(
    "usage",
    `${refused}: it is the directory of data server ${current.server}\n` +
      "start it without the flag, or give an empty directory",
  );
}

function flagOf(recovered: ServerId | undefined): string {
  return recovered === undefined ? "--new" : `--recover ${recovered}`;
}

function begin({ disk, dir, identity, random }: DirectoryOptions): Promise<IdentityFile> {
  const server: ServerId | undefined =
    typeof identity === "object" ? serverId(identity.recover) : undefined;
  return IdentityFile.create(disk, dir, {
    cluster: undefined,
    server,
    incarnation: incarnationId(random.id64()),
    recovered: server !== undefined,
    seen: undefined,
    highestBlock: blockId(0n),
    address: undefined,
    accepted: [],
  });
}
