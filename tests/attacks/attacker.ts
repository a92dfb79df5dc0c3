// One attack as a process of its own, so that the attacker does not slow down who measures: `attacker.ts NAME TARGET-AS-JSON`.
// Prints what it has done, as one line of JSON.

import { ATTACKS, run, type Target } from "./attacks.ts";
import { counts } from "./raw-socket.ts";

const [name, json = "{}"] = process.argv.slice(2);
const { block, key, ...rest } = JSON.parse(json) as Omit<Target, "block" | "key"> & {
  block: { id: string; length: number };
  key?: string;
};
const attack = ATTACKS.find((each) => each.name === name);
if (attack === undefined) throw new Error(`there is no attack with the name ${name}`);
await run(attack, {
  ...rest,
  block: { id: BigInt(block.id), length: block.length },
  key: key === undefined ? undefined : Uint8Array.fromHex(key),
});
console.log(JSON.stringify(counts));
process.exit(0);
