/**
 * `dfs version`: the version, and what goes with it, for reports of mistakes and for scripts.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import pkg from "../../package.json" with { type: "json" };
import { PROTOCOL_VERSION } from "../protocol/messages/hello.ts";
import { defineCommand } from "./shared/command.ts";
import { generalOptions, jsonOption } from "./shared/connect.ts";
import { EXIT } from "./shared/exit-codes.ts";

const PROJECT = join(import.meta.dir, "../..");

export const version = defineCommand({
  usage: "version [--json]",
  description: `
Tells the version of this dfs and of what it runs on. It asks no cluster.`,
  options: { ...jsonOption, ...generalOptions },
  operands: { least: 0, most: 0 },
  examples: ["dfs version", "dfs version --json"],
  json: [
    "version           of dfs",
    "commit            that it was started from, 40 digits; null when it lies in no git repository",
    "protocol          version of the protocol between clients and servers",
    "bun platform arch kernel",
  ],
  exits: [
    [0, "done"],
    [2, "usage"],
  ],
  async run({ out, options }) {
    const facts = {
      version: pkg.version,
      commit: commitOf(join(PROJECT, ".git")) ?? null,
      protocol: PROTOCOL_VERSION,
      bun: Bun.version,
      platform: process.platform,
      arch: process.arch,
      kernel: readFileSync("/proc/sys/kernel/osrelease", "utf8").trim(),
    };
    if (options.json) await out.row(facts);
    else {
      const commit = facts.commit === null ? "" : ` (${facts.commit.slice(0, 12)})`;
      await out.line(`dfs ${facts.version}${commit}`);
      await out.line(
        `protocol ${facts.protocol}, Bun ${facts.bun}, ${facts.platform} ${facts.arch}`,
      );
    }
    return EXIT.done;
  },
});

/** The commit that is checked out, read from git's own files: git need not be installed. */
function commitOf(gitDir: string): string | undefined {
  if (!existsSync(join(gitDir, "HEAD"))) return undefined;
  const head = readFileSync(join(gitDir, "HEAD"), "utf8").trim();
  const ref = /^ref: (.+)$/.exec(head)?.[1];
  if (ref === undefined) return head;
  if (existsSync(join(gitDir, ref))) return readFileSync(join(gitDir, ref), "utf8").trim();
  const packed = join(gitDir, "packed-refs");
  if (!existsSync(packed)) return undefined;
  const line = readFileSync(packed, "utf8")
    .split("\n")
    .find((each) => each.endsWith(` ${ref}`));
  return line?.split(" ", 1)[0];
}
