// The list of all messages of dfs, for tests and for programs that are no tests.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { NoticeDefinition, RequestDefinition } from "../../src/protocol/message.ts";

export type AnyMessage = RequestDefinition<unknown, unknown> | NoticeDefinition<unknown>;

export function isRequest(message: AnyMessage): message is RequestDefinition<unknown, unknown> {
  return "request" in message;
}

/** Every exported value of the files in src/protocol/messages. */
export async function messageExports(): Promise<readonly (readonly [string, unknown])[]> {
  const folder = join(import.meta.dir, "../../src/protocol/messages");
  const all: [string, unknown][] = [];
  for (const file of readdirSync(folder).sort()) {
    all.push(...Object.entries((await import(join(folder, file))) as Record<string, unknown>));
  }
  return all;
}

/** Every message of dfs, by code. */
export async function allMessages(): Promise<readonly AnyMessage[]> {
  const messages = (await messageExports())
    .map(([, each]) => each)
    .filter(
      (each): each is AnyMessage => typeof each === "object" && each !== null && "code" in each,
    );
  return messages.sort((a, b) => a.code - b.code);
}
