/** Tells of files with blocks of which there is no copy any more. */
import type { ServerId } from "../../base/ids.ts";
import type { DfsClient, Loss } from "../../client/api.ts";
import type { Output } from "./output.ts";
import { escaped, jsonName } from "./text.ts";

/** Lines for people; --json has them all. */
const MOST_LINES = 20;

/** Keys of the rows of --json. */
export const LOSS_JSON: readonly string[] = [
  "path              of kind lost: a path of a file that has lost bytes, null when none leads there; pathBase64 when not UTF-8",
  "inode id          of kind lost: of the file and of the block, as text",
  "offset length     of kind lost: where the lost bytes begin in the file, and how many they are",
  "servers           of kind lost: ids of those that have, or had, a copy",
];

/** Prints the files that have lost bytes with copies on `server`. */
export async function showLosses(
  { out, json }: { readonly out: Output; readonly json: boolean },
  client: DfsClient,
  server: ServerId,
): Promise<void> {
  let shown = 0;
  for await (const loss of client.losses(server)) {
    if (json) await out.row(jsonLoss(loss));
    else if (shown === MOST_LINES) {
      await out.line("  and more: dfs fsck --level meta lists them all");
      break;
    } else await out.line(`  ${lineOf(loss)}`);
    shown++;
  }
}

function lineOf({ path, inode, offset, length, block }: Loss): string {
  const name = path === null ? `inode ${inode}, which no path leads to` : escaped(path);
  return `${name}: ${length} bytes from byte ${offset} on (block id ${block})`;
}

function jsonLoss({ path, inode, offset, length, block, servers }: Loss): object {
  return {
    kind: "lost",
    ...(path === null ? { path: null } : jsonName("path", path)),
    inode: inode.toString(),
    id: block.toString(),
    offset,
    length,
    servers,
  };
}
