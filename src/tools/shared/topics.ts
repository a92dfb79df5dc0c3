/**
 * What `dfs help` tells besides the commands.
 */

export interface Topic {
  readonly name: string;
  readonly summary: string;
  /** Its text, without the name; lines of at most 128 characters. */
  readonly load: () => Promise<string>;
}

export const TOPICS: readonly Topic[] = [
  {
    name: "paths",
    summary: "how files are named, here and in the cluster",
    load: async () => (await import("../topics/paths.ts")).TEXT,
  },
  {
    name: "transfers",
    summary: "put and get: going on after an interruption, leaving things out",
    load: async () => (await import("../topics/transfers.ts")).TEXT,
  },
  {
    name: "faults",
    summary: "what may break, and what comes of it",
    load: async () => (await import("../topics/faults.ts")).TEXT,
  },
  {
    name: "placement",
    summary: "which block is on which servers, and why",
    load: async () => (await import("../topics/placement.ts")).TEXT,
  },
  {
    name: "mounting",
    summary: "the cluster as a directory",
    load: async () => (await import("../topics/mounting.ts")).TEXT,
  },
  {
    name: "output",
    summary: "JSON, progress, colours, Ctrl-C",
    load: async () => (await import("../topics/output.ts")).TEXT,
  },
  {
    name: "exit-codes",
    summary: "what the exit status says",
    load: async () => (await import("../topics/exit-codes.ts")).TEXT,
  },
  {
    name: "environment",
    summary: "how the cluster is found; variables and files",
    load: async () => (await import("../topics/environment.ts")).TEXT,
  },
  {
    name: "completion",
    summary: "completion for bash, zsh and fish; the manual page",
    load: async () => (await import("../topics/completion.ts")).TEXT,
  },
];
