/**
 * What the operands of each command are, for completion.
 */

/** What can stand somewhere on a command line. */
export type Kind = "remote" | "local" | "localDirectory" | "server" | readonly string[];

interface Operands {
  /** Of the first operands, in their order. */
  readonly first?: readonly (readonly Kind[])[];
  /** Of all that follow. */
  readonly rest?: readonly Kind[];
}

const PATHS: Operands = { rest: ["remote"] };
const NONE: Operands = {};
const SERVER: Operands = { first: [["server"]] };

/** By the name of the command; those that are not named here take paths in the cluster. */
const OPERANDS: Readonly<Record<string, Operands>> = {
  up: NONE,
  down: NONE,
  df: NONE,
  status: NONE,
  drill: NONE,
  meta: NONE,
  data: NONE,
  version: NONE,
  "meta backup": NONE,
  "meta restore": NONE,
  "meta quarantine": NONE,
  "server list": NONE,
  put: { first: [["local"]], rest: ["local", "remote"] },
  get: { first: [["remote"]], rest: ["remote", "local"] },
  mount: { rest: ["localDirectory"] },
  umount: { rest: ["localDirectory"] },
  "key new": { first: [["local"]] },
  "log dump": { first: [["localDirectory"]] },
  chmod: { first: [[]], rest: ["remote"] },
  chown: { first: [[]], rest: ["remote"] },
  "xattr get": { first: [[]], rest: ["remote"] },
  "xattr rm": { first: [[]], rest: ["remote"] },
  "xattr set": { first: [[], []], rest: ["remote"] },
  "server stop": SERVER,
  "server drain": SERVER,
  "server undrain": SERVER,
  "server remove": SERVER,
  rebuild: SERVER,
  scrub: { rest: [["start", "pause", "resume", "status"], "server"] },
  completion: { first: [[["bash", "zsh", "fish"]]] },
};

/** What the operand with this number, from 0, can be. */
export function operandKinds(command: string, index: number): readonly Kind[] {
  const { first, rest } = OPERANDS[command] ?? PATHS;
  return first?.[index] ?? rest ?? [];
}

/** What the value of an option can be, told by what stands for it in the help. */
export function valueKinds(placeholder: string, choices: readonly string[]): readonly Kind[] {
  if (choices.length > 0) return [choices];
  if (placeholder === "<dir>") return ["localDirectory"];
  return placeholder === "<file>" ? ["local"] : [];
}
