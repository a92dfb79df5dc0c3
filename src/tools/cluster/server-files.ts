/**
 * What servers write into their directories about where they listen and who they are. Only read here, and only as far
 * as `dfs up` needs it for servers that it did not start itself.
 *
 *     meta: address            host:port as text
 *     data: identity.json      { "server": id, "address": "host:port", ... }
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { systemCodeOf } from "../../base/errors.ts";

/** Where the metadata server of directory `dir` listens, or last did. */
export function metaAddressIn(dir: string): string | undefined {
  return textOf(join(dir, "address"))?.trim() || undefined;
}

/** Id and address of the data server of directory `dir`, as far as it has them. */
export function dataServerIn(dir: string): { readonly id?: number; readonly address?: string } {
  const text = textOf(join(dir, "identity.json"));
  if (text === undefined) return {};
  let fields: { server?: unknown; address?: unknown };
  try {
    fields = JSON.parse(text) as typeof fields;
  } catch {
    return {}; // damaged: the server itself says so when it is started
  }
  const { server, address } = fields;
  return {
    ...(typeof server === "number" ? { id: server } : {}),
    ...(typeof address === "string" ? { address } : {}),
  };
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
}
