/**
 * Whether data servers that were running have joined the metadata server that runs now, or refuse it.
 */
import { systemClock } from "../../base/clock.ts";
import type { ServerId } from "../../base/ids.ts";
import { connectClient } from "../../client/client.ts";
import { pause } from "../../client/retry.ts";
import { readKey } from "../shared/cluster-key.ts";

/** Servers look for the metadata server every second; this long is waited for all to have found it. */
const PATIENCE_MS = 10_000;
const LOOK_AGAIN_MS = 50;

export interface JoinQuestion {
  /** Address of the metadata server. */
  readonly meta: string;
  readonly keyFile: string | undefined;
  /** The data servers that are asked about. */
  readonly servers: readonly number[];
  readonly signal: AbortSignal;
}

export interface JoinAnswer {
  /** They have served from a newer database than the one that is served now. */
  readonly refusing: readonly number[];
  /** They have not been heard of in time. */
  readonly silent: readonly number[];
}

/** Waits until each of these servers has joined or refused. @throws DfsError when the metadata server cannot be asked. */
export async function whoHasJoined(question: JoinQuestion): Promise<JoinAnswer> {
  const { meta, keyFile, servers, signal } = question;
  const key = readKey(keyFile);
  const client = await connectClient({
    metaAddress: meta,
    label: "dfs up",
    ...(key === undefined ? {} : { key }),
  });
  try {
    const startMs = systemClock.monotonicMs();
    for (;;) {
      const known = new Map((await client.servers()).map((each) => [each.server, each]));
      const of = (id: number) => known.get(id as ServerId);
      const refusing = servers.filter((id) => of(id)?.refuses === true);
      const silent = servers.filter(
        (id) => !refusing.includes(id) && (of(id)?.heardNs ?? null) === null,
      );
      const isOver = systemClock.monotonicMs() - startMs >= PATIENCE_MS;
      if (silent.length === 0 || isOver) return { refusing, silent };
      await pause(systemClock, LOOK_AGAIN_MS, signal);
    }
  } finally {
    await client.close();
  }
}
