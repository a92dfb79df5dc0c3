// docs/protocol.md says what the code does: every message with its code and every field in order and with its type, every
// shared record, error kind and limit. When one of these tests fails, the page or the change is wrong.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { errnoOf } from "../../src/base/errno.ts";
import { ERROR_KINDS, type ErrorKind } from "../../src/base/errors.ts";
import * as limits from "../../src/base/limits.ts";
import { HELLO_TIMEOUT_MS } from "../../src/protocol/handshake.ts";
import { PROTOCOL_VERSION } from "../../src/protocol/messages/hello.ts";
import type { RecordSchema } from "../../src/protocol/schema.ts";
import { SEND_STALL_TIMEOUT_MS } from "../../src/protocol/stall-watch.ts";
import { allMessages, isRequest, messageExports, type AnyMessage } from "./messages.ts";

const PAGE = readFileSync(join(import.meta.dir, "../../docs/protocol.md"), "utf8");

/** The text under each heading of level 3. */
const SECTIONS = new Map(
  PAGE.split(/^### /m)
    .slice(1)
    .map((section) => {
      const [heading = "", ...body] = section.split("\n");
      return [heading, body.join("\n").split(/^## /m)[0]!] as const;
    }),
);

const messages = await allMessages();
const records = (await messageExports()).filter(
  (entry): entry is [string, RecordSchema<unknown>] =>
    typeof entry[1] === "object" && entry[1] !== null && "fields" in entry[1],
);

function heading(message: AnyMessage): string {
  return `0x${message.code.toString(16).padStart(4, "0")} ${message.name}`;
}

/** The rows of the table behind `title:` in a section, as field and type; empty for a message without fields. */
function rowsBehind(section: string, title: string): string[] {
  const start = section.indexOf(`${title}:`);
  if (start < 0) return [`there is no "${title}:"`];
  const part = section.slice(start).split(/\n(?=Request:|Reply:|Notice:)/)[0]!;
  return rowsIn(part);
}

function rowsIn(part: string): string[] {
  return [...part.matchAll(/^\| (`\w+`|bulk bytes) \| (.*?) \| .+ \|$/gm)].map(([, field, type]) =>
    `${field} ${type!.replaceAll("\\|", "|")}`.trim(),
  );
}

/** The rows that a record should have. Records that have a section of their own are named instead of spelled out. */
function rowsFor(record: RecordSchema<unknown>, withBulk: boolean): string[] {
  const rows = record.fields.map(([name, notation]) => {
    const named = records.reduce(
      (text, [each, { notation: of }]) => text.replaceAll(of, each),
      notation,
    );
    return `\`${name}\` \`${named}\``;
  });
  return withBulk ? [...rows, "bulk bytes byte string"] : rows;
}

describe("docs/protocol.md", () => {
  for (const message of messages) {
    test(`has the message ${heading(message)} with all its fields`, () => {
      const section = SECTIONS.get(heading(message));
      expect(section).toBeDefined();
      if (isRequest(message)) {
        const { request, reply, bulk } = message;
        expect(rowsBehind(section!, "Request")).toEqual(rowsFor(request, bulk === "request"));
        expect(rowsBehind(section!, "Reply")).toEqual(rowsFor(reply, bulk === "reply"));
      } else {
        expect(rowsBehind(section!, "Notice")).toEqual(rowsFor(message.body, false));
      }
    });
  }

  test("has no message that there is not, and has them in order of their codes", () => {
    const documented = [...SECTIONS.keys()].filter((each) => each.startsWith("0x"));
    expect(documented).toEqual(messages.map(heading));
  });

  for (const [name, record] of records) {
    test(`has the shared record ${name} with all its fields`, () => {
      const rows = record.fields.map(([field, notation]) => `\`${field}\` \`${notation}\``);
      expect(rowsIn(SECTIONS.get(name) ?? "")).toEqual(rows);
    });
  }

  test("has every kind of error with its number and errno", () => {
    const rows = [...PAGE.matchAll(/^\| (\d+) \| `(\w+)` \| (\w+) \| .+ \|$/gm)].map((row) =>
      row.slice(1, 4),
    );
    const kinds = Object.entries(ERROR_KINDS) as [ErrorKind, number][];
    expect(rows).toEqual(kinds.map(([kind, number]) => [String(number), kind, errnoOf(kind)]));
  });

  test("has the limits as they are", () => {
    const rows = [...PAGE.matchAll(/^\| (MAX_\w+) \| ([\d,]+) \|$/gm)];
    expect(rows.length).toBeGreaterThan(5);
    for (const [, name, value] of rows) {
      const actual = (limits as unknown as Record<string, number | undefined>)[name!];
      expect([name, Number(value!.replaceAll(",", ""))]).toEqual([name, actual]);
    }
    const named = [...PAGE.matchAll(/\bMAX_\w+/g)].map(([name]) => name);
    expect(rows.map(([, name]) => name!).sort()).toEqual([...new Set(named)].sort());
  });

  test("has the version and the times as they are", () => {
    expect(PAGE).toContain(`the protocol version (now ${PROTOCOL_VERSION})`);
    expect(PAGE).toContain(`${HELLO_TIMEOUT_MS / 1000} seconds after the connection was accepted`);
    expect(PAGE).toContain(`no bytes for ${SEND_STALL_TIMEOUT_MS / 1000} seconds`);
  });

  test("has links that lead somewhere", () => {
    const anchors = [...PAGE.matchAll(/^#+ (.+)$/gm)].map(([, title]) =>
      title!.toLowerCase().replaceAll(" ", "-"),
    );
    for (const [, target] of PAGE.matchAll(/\]\(#([\w-]+)\)/g)) expect(anchors).toContain(target!);
  });
});
