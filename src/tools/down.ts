/**
 * `dfs down`: stop the local cluster.
 */
import { resolve } from "node:path";
import { DfsError } from "../base/errors.ts";
import { unmountCluster } from "./cluster/cluster-mounts.ts";
import { lockCluster } from "./cluster/layout.ts";
import { LocalCluster, type StoppedService } from "./cluster/local-cluster.ts";
import type { Unmounted } from "./mounting/unmount.ts";
import { defaultDirectory, readClusterFile } from "./shared/cluster-file.ts";
import { defineCommand, value } from "./shared/command.ts";
import { generalOptions, jsonOption } from "./shared/connect.ts";
import { EXIT } from "./shared/exit-codes.ts";
import { interrupted, tellingInterruption } from "./shared/interruption.ts";
import { directory, seconds } from "./shared/values.ts";

export const down = defineCommand({
  usage: "down [--dir DIR]",
  description: `
Unmounts what is mounted of the cluster on this machine, then stops all servers whose directories are in the cluster's, also
those that were started by hand with dfs data. They are asked to end; one that has not after a while is killed, which loses
nothing that was acknowledged. The data stays.`,
  options: {
    dir: value(
      "<dir>",
      directory,
      "directory of the cluster (default: ~/.local/share/dfs, or dfs in XDG_DATA_HOME)",
    ),
    timeout: value("<seconds>", seconds, "kill what has not ended after so long (default: 10)"),
    ...jsonOption,
    ...generalOptions,
  },
  operands: { least: 0, most: 0 },
  examples: ["dfs down", "dfs down --dir /tmp/course"],
  json: [
    "service (mount, meta, data-1, ...), dir (of a mount: where it was), pid or null,",
    "how (stopped, killed, was not running)",
  ],
  exits: [
    [0, "nothing runs any more"],
    [1, "a server could not be stopped"],
    [4, "no cluster in that directory"],
    [130, "Ctrl-C: what was asked to end goes on with that"],
  ],
  async run(context) {
    const { options: chosen, messages, out, signal, env } = context;
    const dir = resolve(chosen.dir ?? defaultDirectory(env));
    if (readClusterFile(dir) === undefined) {
      throw new DfsError(
        "notFound",
        `cannot stop the cluster in ${dir}: there is none\nname its directory with --dir`,
      );
    }
    const lock = await lockCluster(dir, signal);
    let stopped: StoppedService[];
    try {
      const onBusy = (at: string): void =>
        messages.warning(`${at} is in use: programs there get errors from now on`);
      const mounts = await unmountCluster(dir, signal, onBusy);
      const events = {
        onService: () => undefined,
        onWarning: (text: string) => messages.warning(text),
      };
      const cluster = new LocalCluster(dir, events, { signal, env });
      const servers = await tellingInterruption(
        signal,
        () => interruptedDown(cluster.running()),
        () => cluster.stop(chosen.timeout),
      );
      stopped = [...mounts.map(asStopped), ...servers];
    } finally {
      lock.release();
    }
    for (const { name, dir: at, pid, how } of stopped) {
      const line = `${name} ${how} (process ${pid})`;
      if (chosen.json) await out.row({ service: name, dir: at, pid: pid ?? null, how });
      else if (pid !== undefined && !chosen.quiet) await out.line(line);
      else if (how === "still running") messages.error(line);
    }
    if (!chosen.json && !chosen.quiet && stopped.every(({ pid }) => pid === undefined)) {
      await out.line("nothing was running");
    }
    return stopped.some(({ how }) => how === "still running") ? EXIT.failed : EXIT.done;
  },
});

function interruptedDown(running: readonly string[]): DfsError {
  return running.length === 0
    ? interrupted("nothing runs any more", "its data stays; dfs up starts it")
    : interrupted(
        `not ended yet: ${running.join(", ")}`,
        "what was asked to end goes on with that; dfs down again stops the rest",
      );
}

function asStopped({ mountPoint, pid, process: ended }: Unmounted): StoppedService {
  return {
    name: "mount",
    dir: mountPoint,
    pid,
    how: ended === "serving" ? "still running" : ended,
  };
}
