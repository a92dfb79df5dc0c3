/**
 * `dfs touch`: set the times of files, and make the ones that are missing.
 */
import { DfsError, isDfsError } from "../base/errors.ts";
import type { DfsClient, SetAttributes } from "../client/api.ts";
import type { Attributes } from "../protocol/messages/common.ts";
import { argument } from "./shared/arguments.ts";
import {
  change,
  CHANGED_KEYS,
  forEachPath,
  modelOf,
  Teller,
  typedPaths,
} from "./shared/changing.ts";
import { defineCommand, flag, value, type Context } from "./shared/command.ts";
import { clientOptions, jsonOption, withClient } from "./shared/connect.ts";
import { parseDate, parseStamp } from "./shared/dates.ts";
import { behindLinks } from "./shared/links.ts";
import { ownOwner } from "./shared/ownership.ts";
import { remotePath } from "./shared/paths.ts";
import { text } from "./shared/values.ts";

const options = {
  access: flag("only the time of the last access", { short: "a" }),
  modification: flag("only the time of the last change of content", { short: "m" }),
  noCreate: flag("make no file that is missing; that is no error", { short: "c" }),
  date: value("<date>", (given) => parseDate(given, Date.now()), "this time instead of now", {
    short: "d",
  }),
  stamp: value("<stamp>", parseStamp, "this time, as [[CC]YY]MMDDhhmm[.ss]: 202601311200.05", {
    short: "t",
  }),
  reference: value("<remote>", text, "the times of this file in the cluster instead of now", {
    short: "r",
  }),
  ...clientOptions,
  ...jsonOption,
};

type TouchContext = Context<typeof options>;
type Times = Pick<SetAttributes, "atimeNs" | "mtimeNs">;

export const touch = defineCommand({
  usage: "touch [-a] [-m] [-c] [-d DATE | -t STAMP | -r REMOTE] PATH...",
  description: `
Sets the times of the last access and of the last change of content, both unless -a or -m says which, to the present time of
the metadata service. A file that is missing is made, empty. A symbolic link is followed.
DATE is a day, a time of day or both, in local time unless a zone follows (2026-01-31, 12:00, 2026-01-31T12:00:05.25Z,
"2026-01-31 12:00 +01:00"), seconds since 1970 (@1767225600), now, yesterday, tomorrow, or a span ("2 days ago", "+3 hours"),
alone or behind a day.`,
  options,
  operands: { least: 1, most: Number.MAX_SAFE_INTEGER },
  examples: ["dfs touch /done", 'dfs touch -m -d "2 days ago" /log/a /log/b'],
  json: CHANGED_KEYS,
  exits: [
    [0, "all are touched"],
    [1, "nothing could be touched"],
    [3, "some could not be touched"],
    [4, "a directory, or the file of -r, is missing"],
    [5, "cluster unreachable"],
  ],
  run(context) {
    const { date, stamp, reference } = context.options;
    if ([date, stamp, reference].filter((each) => each !== undefined).length > 1) {
      throw new DfsError("usage", "-d, -t and -r each name a time: give one of them");
    }
    const model = reference === undefined ? undefined : remotePath(argument(reference));
    const paths = typedPaths(context.args);
    const teller = new Teller(context);
    return withClient(context, async (client) => {
      const times = await wantedTimes(context, client, model);
      const touched = await forEachPath(paths, context, "touch", async (path) => {
        const attributes = await touchOne(client, path, times, !context.options.noCreate);
        if (attributes !== undefined) await teller.changed(path, attributes);
      });
      return touched.exitCode;
    });
  },
});

async function wantedTimes(
  { options: chosen }: TouchContext,
  client: DfsClient,
  model: Uint8Array | undefined,
): Promise<Times> {
  const isBoth = chosen.access === chosen.modification;
  const given = model === undefined ? undefined : await modelOf(client, model, "times");
  const date = chosen.date ?? chosen.stamp ?? "now";
  return {
    ...(isBoth || chosen.access ? { atimeNs: given?.atimeNs ?? date } : {}),
    ...(isBoth || chosen.modification ? { mtimeNs: given?.mtimeNs ?? date } : {}),
  };
}

/** Returns the attributes afterwards; undefined when there is no file and none is to be made. */
async function touchOne(
  client: DfsClient,
  path: Uint8Array,
  times: Times,
  mayCreate: boolean,
): Promise<Attributes | undefined> {
  try {
    return await client.setattr(path, times, { follow: true });
  } catch (error) {
    if (!isDfsError(error, "notFound")) throw error;
  }
  if (!mayCreate) return undefined;
  // A link that leads nowhere is no reason against: the file is made where it leads.
  const file = await client.create(await behindLinks(client, path), ownOwner(0o666));
  await file.close();
  return change(client, file.inode, times);
}
