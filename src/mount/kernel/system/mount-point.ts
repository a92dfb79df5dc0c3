/**
 * Makes sure that a mount point can be used: it is a directory, and what a server that was killed has left behind there is
 * detached first. Such a mount answers everything with ENOTCONN.
 */
import { stat } from "node:fs/promises";

import type { Clock } from "../../../base/clock.ts";
import { DfsError, messageOf, systemCodeOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { mountAt, mountPointPath } from "../../../base/mounts/table.ts";
import { unmountPath } from "./unmount.ts";

/** A mount that does not answer for this long is alive but stuck; it is not ours to take away. */
const PROBE_MS = 5000;
/** Several servers may have been killed one after the other. */
const MAX_STALE_LAYERS = 16;

type State = "directory" | "stale" | "silent";

function unusable(path: string, why: string, cause?: unknown): DfsError {
  const kind = systemCodeOf(cause) === "ENOENT" ? "notFound" : "invalid";
  return new DfsError(kind, `cannot mount on ${path}: ${why}. Give an existing directory`, {
    cause,
  });
}

async function look(path: string): Promise<State> {
  try {
    const found = await stat(path);
    if (!found.isDirectory()) throw unusable(path, "it is not a directory");
    return "directory";
  } catch (error) {
    if (systemCodeOf(error) === "ENOTCONN") return "stale";
    throw error instanceof DfsError ? error : unusable(path, messageOf(error), error);
  }
}

async function probe(path: string, clock: Clock): Promise<State> {
  const silence = Promise.withResolvers<State>();
  const timer = clock.setTimer(PROBE_MS, () => silence.resolve("silent"));
  try {
    return await Promise.race([look(path), silence.promise]);
  } finally {
    timer.cancel();
  }
}

function occupied(path: string, source: string, state: State): DfsError {
  const how = state === "silent" ? " and does not answer" : "";
  return new DfsError(
    "busy",
    `cannot mount on ${path}: ${source} is mounted there already${how}. Unmount it first: dfs umount ${path}`,
  );
}

/**
 * Returns the path to mount on, after detaching stale mounts from it.
 * @throws DfsError `notFound`, `invalid` (no directory), `busy` (a mount of dfs is there).
 */
export async function prepareMountPoint(
  path: string,
  type: string,
  clock: Clock,
  logger: Logger,
): Promise<string> {
  const canonical = mountPointPath(path);
  for (let layer = 0; layer < MAX_STALE_LAYERS; layer++) {
    const state = await probe(canonical, clock);
    const mounted = mountAt(canonical);
    if (state !== "stale") {
      if (mounted?.type === type) throw occupied(canonical, mounted.source, state);
      if (state === "silent") throw occupied(canonical, mounted?.source ?? "something", state);
      return canonical;
    }
    await unmountPath(canonical, { lazy: true });
    logger.warn("a mount whose server is gone was detached", {
      mountPoint: canonical,
      source: mounted?.source,
    });
  }
  throw new DfsError("busy", `cannot mount on ${canonical}: too many dead mounts there`);
}
