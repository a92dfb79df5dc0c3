/**
 * The faults that a drill can play, and which of them it plays.
 */
import { DfsError } from "../../base/errors.ts";
import type { Random } from "../../base/random.ts";
import { shuffled } from "./cluster.ts";
import { copyFault } from "./copies.ts";
import { crashAndRot, crashFault, diskFault, goneFault } from "./crashes.ts";
import { metaDisk, metaKill } from "./metadata.ts";
import type { Fault } from "./stage.ts";

export const FAULTS: readonly Fault[] = [
  crashFault(1),
  crashFault(2),
  crashFault(3),
  goneFault,
  diskFault,
  copyFault("body", 1),
  copyFault("body", 2),
  copyFault("body", 3),
  copyFault("lose", 1),
  copyFault("lose", 2),
  copyFault("lose", 3),
  crashAndRot,
  metaKill,
  metaDisk,
];

/** Where faults are to be played. */
export interface Place {
  /** Data servers of the drill's own cluster; undefined on a live one. */
  readonly ownServers: number | undefined;
}

/** The faults of `--faults`, in that order. @throws DfsError `usage` for one that there is not, or that cannot be here. */
export function namedFaults(names: readonly string[], place: Place): Fault[] {
  return names.map((name) => {
    const fault = FAULTS.find((each) => each.name === name);
    if (fault === undefined) {
      const known = FAULTS.map((each) => each.name).join(", ");
      throw new DfsError(
        "usage",
        `cannot play "${name}": there is no such fault\nthere are: ${known}`,
      );
    }
    const obstacle = obstacleTo(fault, place);
    if (obstacle !== undefined) throw new DfsError("usage", `cannot play "${name}": ${obstacle}`);
    return fault;
  });
}

/** All faults that can be played here, in an order that `random` decides. */
export function allFaults(place: Place, random: Random): Fault[] {
  return shuffled(
    FAULTS.filter((fault) => obstacleTo(fault, place) === undefined),
    random,
  );
}

function obstacleTo(fault: Fault, { ownServers }: Place): string | undefined {
  if (ownServers === undefined) {
    return fault.ownCluster
      ? "it kills servers, which is done in a cluster of the drill's own only\nleave --scratch out"
      : undefined;
  }
  const { servers = 0 } = fault;
  return ownServers < servers
    ? `it needs ${servers} data servers\ngive more with --servers`
    : undefined;
}
