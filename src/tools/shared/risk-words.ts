/**
 * What one more failure would cost, in words: which server, how many blocks, which files. All of it is counted by the
 * metadata service from its record.
 */
import type { FileSample, RiskStatus } from "../../protocol/messages/cluster.ts";
import { counted, countText } from "./format.ts";
import { quoted, jsonName } from "./text.ts";

/** `5 files (/a, /b, ...)`, `at least 1,000 files (...)`; empty when no file is known. */
export function fileWords({ files, more, paths }: FileSample): string {
  if (files === 0) return "";
  const names = paths.map(quoted);
  const shown = files > names.length && names.length > 0 ? [...names, "..."] : names;
  const list = shown.length > 0 ? ` (${shown.join(", ")})` : "";
  return `${more ? "at least " : ""}${counted(files, "file")}${list}`;
}

/** What the loss of the worst server would cost; undefined when no block depends on one server. */
export function lossWords(risk: RiskStatus): string | undefined {
  const { worst } = risk;
  const toll = risk.servers.find(({ server }) => server === worst?.server);
  if (worst === null || toll === undefined || toll.alone === 0) return undefined;
  const blocks = counted(toll.alone, "block");
  const files = fileWords(worst.files);
  const what = `the failure of server ${toll.server} would ${verb(toll)} ${files === "" ? blocks : `${files}, ${blocks}`}`;
  return `${what}${fate(toll)}`;
}

/** The most blocks that any one server's failure would leave with one copy. */
export function mostPairs(risk: RiskStatus): number {
  return risk.servers.reduce((most, { pairs }) => Math.max(most, pairs), 0);
}

/** The value under the key `risk` of `dfs status --json`. */
export function riskRow({ lostBlocks, unreadable, servers, worst }: RiskStatus): object {
  return {
    lostBlocks,
    unreadable: sampleRow(unreadable),
    servers: servers.map(({ server, alone, last, pairs }) => ({
      server,
      onlyCopyWithinReach: alone,
      onlyCopyAnywhere: last,
      oneOfTwoWithinReach: pairs,
    })),
    worst: worst === null ? null : { server: worst.server, ...sampleRow(worst.files) },
  };
}

type Toll = RiskStatus["servers"][number];

function verb({ alone, last }: Toll): string {
  return last === alone ? "lose" : "make unreadable";
}

function fate({ alone, last }: Toll): string {
  if (last === alone) return ": no other good copy is on record";
  if (last === 0) return ", until another server that has a copy is back";
  return `, ${countText(last)} of the blocks for good`;
}

function sampleRow({ files, more, paths }: FileSample): object {
  return { files, more, paths: paths.map((path) => jsonName("path", path)) };
}
