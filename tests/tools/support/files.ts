// Temporary folders for tests, and trees in them that are compared byte by byte.

import { lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A fresh folder; `remove` takes it away with everything in it. */
export function temporaryFolder(purpose: string): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), `dfs-tools-${purpose}-`));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Which attributes to compare besides type, content and link target. */
export interface Compared {
  readonly modes?: boolean;
  readonly times?: boolean;
  readonly directoryTimes?: boolean;
}

/** A tree as a map from the path in it (as hexadecimal bytes) to everything that is to be equal. */
export function snapshot(root: string | Buffer, compared: Compared = {}): Map<string, string> {
  const result = new Map<string, string>();
  const visit = (path: Buffer, key: string): void => {
    const stats = lstatSync(path, { bigint: true });
    const facts: string[] = [];
    if (stats.isDirectory()) facts.push("directory");
    else if (stats.isSymbolicLink()) {
      facts.push(`link ${readlinkSync(path, { encoding: "buffer" }).toString("hex")}`);
    } else if (stats.isFile()) {
      facts.push(`file ${stats.size} ${Bun.hash.xxHash3(readFileSync(path))}`);
    } else facts.push(`special ${(stats.mode & 0o170000n).toString(8)} ${stats.rdev}`);
    if (compared.modes) facts.push(`mode ${(stats.mode & 0o7777n).toString(8)}`);
    const hasTime = compared.times && (!stats.isDirectory() || compared.directoryTimes !== false);
    if (hasTime) facts.push(`mtime ${stats.mtimeNs}`);
    result.set(key, facts.join(", "));
    if (!stats.isDirectory()) return;
    for (const name of readdirSync(path, { encoding: "buffer" })) {
      visit(Buffer.concat([path, Buffer.from("/"), name]), `${key}/${name.toString("hex")}`);
    }
  };
  visit(Buffer.from(root), "");
  return result;
}

/** What a promise rejects with. @throws Error when it resolves. */
export async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it was expected to fail and did not");
}
