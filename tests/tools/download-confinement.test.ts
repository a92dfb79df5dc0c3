// A download never writes outside its target, whatever a cluster says. The service refuses such names, so here a
// scripted client plays a service that does not.

import { afterAll, describe, expect, test } from "bun:test";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { inodeId } from "../../src/base/ids.ts";
import { DfsError } from "../../src/base/errors.ts";
import type { DfsClient, DirectoryEntry, OpenFile } from "../../src/client/api.ts";
import type { Attributes, FileType } from "../../src/protocol/messages/common.ts";
import { Exclusion } from "../../src/tools/shared/exclude.ts";
import { Messages } from "../../src/tools/shared/messages.ts";
import { Outcome } from "../../src/tools/shared/outcome.ts";
import { Progress } from "../../src/tools/shared/progress.ts";
import { walkTree } from "../../src/tools/shared/tree.ts";
import { Downloader } from "../../src/tools/transfer/download.ts";
import { attempt, type TransferWish } from "../../src/tools/transfer/jobs.ts";
import { LocalDirectories } from "../../src/tools/transfer/local-directories.ts";
import { LocalTarget } from "../../src/tools/transfer/local-target.ts";
import { temporaryFolder } from "./support/files.ts";

const folder = temporaryFolder("confinement");
afterAll(() => folder.remove());

/** What the scripted cluster holds: a directory's entries, a file's content, a link's target. */
type Held = { readonly [name: string]: Held } | Uint8Array | { readonly target: string };

const isLink = (held: Held): held is { readonly target: string } =>
  !(held instanceof Uint8Array) && typeof held["target"] === "string";

const b = (text: string): Buffer => Buffer.from(text, "latin1");
const key = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

function attributesOf(held: Held): Attributes {
  const type: FileType =
    held instanceof Uint8Array ? "file" : isLink(held) ? "symlink" : "directory";
  return {
    inode: inodeId(2n),
    type,
    mode: type === "directory" ? 0o755 : 0o644,
    uid: 0,
    gid: 0,
    nlink: 1,
    size: held instanceof Uint8Array ? held.length : 0,
    allocated: 0,
    rdev: 0,
    atimeNs: 0n,
    mtimeNs: 0n,
    ctimeNs: 0n,
    version: 1n,
    base: 0,
  };
}

/** A client of a cluster with the tree `/t`; paths are looked up by the exact bytes that were handed out. */
function scriptedClient(tree: Held): DfsClient {
  const byPath = new Map<string, Held>([["/t", tree]]);
  const find = (path: Uint8Array): Held => {
    const held = byPath.get(key(path));
    if (held === undefined) throw new DfsError("notFound", `nothing at ${key(path)}`);
    return held;
  };
  const scripted: Partial<DfsClient> = {
    stat: async (path) => attributesOf(find(path)),
    readlink: async (path) => {
      const held = find(path);
      return isLink(held) ? b(held.target) : new Uint8Array();
    },
    readdir: async function* (path): AsyncIterable<DirectoryEntry> {
      for (const [name, held] of Object.entries(find(path))) {
        byPath.set(`${key(path)}/${name}`, held as Held);
        const attributes = attributesOf(held as Held);
        const { inode, type } = attributes;
        yield { name: b(name), inode, type, attributes, hasXattrs: null };
      }
    },
    open: async (path) => {
      const content = find(path) as Uint8Array;
      const file: Partial<OpenFile> = {
        runs: async function* () {
          yield content;
        },
        close: async () => undefined,
      };
      return file as OpenFile;
    },
  };
  return scripted as DfsClient;
}

/** `dfs get -r /t TARGET` against a scripted cluster; returns what was told. */
async function download(tree: Held, target: string): Promise<{ told: string; outcome: Outcome }> {
  let told = "";
  const messages = new Messages("dfs", (text) => void (told += text));
  messages.quiet = true;
  const { signal } = new AbortController();
  const outcome = new Outcome({ messages, signal });
  const client = scriptedClient(tree);
  const around = { client, outcome, progress: new Progress(messages), signal };
  const directories = new LocalDirectories();
  const options: TransferWish = {
    recursive: true,
    preserve: false,
    exclusion: new Exclusion([]),
    skipping: "sameTime",
    rehearsal: undefined,
  };
  const downloader = new Downloader(around, options, directories);
  const local = await LocalTarget.find(b(target), directories);
  const from = b("/t");
  await walkTree(
    (async function* () {
      yield () =>
        attempt(outcome, "cannot fetch /t", async () => {
          const attributes = await client.stat(from);
          const to = await local.placeFor(from, attributes.type);
          return downloader.root({ from, to }, attributes);
        });
    })(),
    8,
    signal,
  );
  directories.close();
  return { told, outcome };
}

const EVIL = Buffer.from("evil");

function scene(name: string): { readonly target: string; readonly outside: string } {
  const base = join(folder.path, name);
  for (const part of ["target", "outside"]) mkdirSync(join(base, part), { recursive: true });
  writeFileSync(join(base, "outside", "precious"), "precious");
  return { target: join(base, "target"), outside: join(base, "outside") };
}

describe("a cluster that holds names which no file can have", () => {
  const NAMES = [
    "..",
    ".",
    "",
    "../escaped",
    "../../escaped",
    "/escaped",
    "a/../../escaped",
    "sub/escaped",
    "zero\0byte",
    "x".repeat(256),
  ];
  test.each(NAMES)("%j: refused, the rest is fetched", async (name) => {
    const { target, outside } = scene(`name-${NAMES.indexOf(name)}`);
    const { told, outcome } = await download({ [name]: EVIL, good: Buffer.from("good") }, target);
    expect(told).toContain("no file here can have that name");
    expect(outcome.exitCode).toBe(3);
    expect(readdirSync(target)).toEqual(["t"]);
    expect(readdirSync(join(target, "t"))).toEqual(["good"]);
    expect(readdirSync(outside)).toEqual(["precious"]);
    expect(readdirSync(join(target, "..")).sort()).toEqual(["outside", "target"]);
  });

  test("directories of such names are not entered", async () => {
    const { target } = scene("directory-name");
    const { outcome } = await download({ "..": { escaped: EVIL }, good: EVIL }, target);
    expect(outcome.exitCode).toBe(3);
    expect(readdirSync(join(target, "t"))).toEqual(["good"]);
    expect(readdirSync(target)).toEqual(["t"]);
  });
});

describe("links", () => {
  test("are fetched as they are, absolute ones too, and lead nobody anywhere", async () => {
    const { target, outside } = scene("fetched");
    const links = { abs: { target: outside }, up: { target: "../../outside" } };
    const { outcome } = await download(links, target);
    expect(outcome.exitCode).toBe(0);
    expect(readlinkSync(join(target, "t", "abs"))).toBe(outside);
    // The same names come again as directories: what the links lead to must not be entered.
    const second = await download(
      { abs: { precious: EVIL, planted: EVIL }, up: { planted: EVIL } },
      target,
    );
    expect(second.told).toContain("is a symbolic link, which is not followed");
    expect(second.outcome.failed).toBe(2);
    expect(readdirSync(outside)).toEqual(["precious"]);
    expect(readFileSync(join(outside, "precious"), "utf8")).toBe("precious");
  });

  test("a link in the place of a file is replaced, not written through", async () => {
    const { target, outside } = scene("replaced");
    mkdirSync(join(target, "t"));
    symlinkSync(join(outside, "precious"), join(target, "t", "file"));
    const { outcome } = await download({ file: EVIL }, target);
    expect(outcome.exitCode).toBe(0);
    expect(readFileSync(join(outside, "precious"), "utf8")).toBe("precious");
    expect(readFileSync(join(target, "t", "file"))).toEqual(EVIL);
  });

  test("a link in the place of the top directory is not followed", async () => {
    const { target, outside } = scene("top");
    symlinkSync(outside, join(target, "t"));
    const { told, outcome } = await download({ planted: EVIL }, target);
    expect(outcome.exitCode).toBe(1);
    expect(told).toContain("is a symbolic link, which is not followed");
    expect(readdirSync(outside)).toEqual(["precious"]);
  });
});

describe("what is in the way", () => {
  test("a directory where a file comes, a file where a directory comes: told, the rest goes on", async () => {
    const { target } = scene("in-the-way");
    mkdirSync(join(target, "t", "file"), { recursive: true });
    writeFileSync(join(target, "t", "dir"), "mine");
    const { told, outcome } = await download({ file: EVIL, dir: { x: EVIL }, good: EVIL }, target);
    expect(outcome.exitCode).toBe(3);
    expect(told).toContain("a directory is there");
    expect(told).toContain("is there and is no directory");
    expect(readFileSync(join(target, "t", "dir"), "utf8")).toBe("mine");
    expect(readdirSync(join(target, "t")).sort()).toEqual(["dir", "file", "good"]);
  });
});
