// Operations on paths. The rules of names themselves are in tests/conformance; this is about what the client adds.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { bytesOf, OWNER, startCluster, type Cluster, type TestClient } from "../support/cluster.ts";
import { failureOf } from "../support/failure.ts";

const DIRECTORY = { ...OWNER, mode: 0o755 };

let cluster: Cluster;
let client: TestClient;
beforeAll(async () => {
  cluster = await startCluster({ servers: 3 });
  client = await cluster.client();
});
afterAll(() => cluster.stop());

async function names(path: string): Promise<string[]> {
  const entries = await Array.fromAsync(client.readdir(bytesOf(path)));
  return entries.map(({ name }) => new TextDecoder().decode(name));
}

const put = (path: string, text = "") =>
  client.put(bytesOf(path), [bytesOf(text)], { ...OWNER, keepReplaced: true });

describe("names", () => {
  test("are made, listed in byte order with attributes, renamed, linked and removed", async () => {
    await client.mkdir(bytesOf("/n"), DIRECTORY);
    await put("/n/b", "12345");
    await client.mkdir(bytesOf("/n/a"), DIRECTORY);
    await client.symlink(bytesOf("b"), bytesOf("/n/c"), OWNER);
    await client.mknod(bytesOf("/n/d"), "fifo", 0, OWNER);
    await client.link(bytesOf("/n/b"), bytesOf("/n/B"));
    expect(await names("/n")).toEqual(["B", "a", "b", "c", "d"]);
    const entries = await Array.fromAsync(client.readdir(bytesOf("/n/")));
    expect(entries.map(({ type, attributes }) => [type, attributes.size])).toMatchObject([
      ["file", 5],
      ["directory", expect.anything()],
      ["file", 5],
      ["symlink", 1],
      ["fifo", 0],
    ]);
    expect(entries[0]!.inode).toBe(entries[2]!.inode);
    expect((await client.stat(bytesOf("/n/c"))).type).toBe("file");
    expect((await client.stat(bytesOf("/n/c"), { follow: false })).type).toBe("symlink");
    expect(await client.readlink(bytesOf("/n/c"))).toEqual(bytesOf("b"));
    await client.rename(bytesOf("/n/b"), bytesOf("/n/a/e"));
    expect(
      await failureOf(client.rename(bytesOf("/n/B"), bytesOf("/n/a"), "noReplace")),
    ).toMatchObject({ kind: "exists" });
    await client.rename(bytesOf("/n/B"), bytesOf("/n/d"), "exchange");
    expect((await client.stat(bytesOf("/n/d"))).type).toBe("file");
    for (const name of ["B", "c", "d", "a/e"]) await client.unlink(bytesOf(`/n/${name}`));
    await client.rmdir(bytesOf("/n/a/"));
    expect(await names("/n")).toEqual([]);
  });

  test("errors carry the path", async () => {
    for (const [path, kind, work] of [
      ["/none", "notFound", () => client.stat(bytesOf("/none"))],
      ["/none/x", "notFound", () => client.mkdir(bytesOf("/none/x"), DIRECTORY)],
      ["/none", "notFound", () => client.unlink(bytesOf("/none"))],
      ["/none", "notFound", () => client.open(bytesOf("/none"))],
      ["/none", "notFound", () => client.setattr(bytesOf("/none"), { mode: 0o600 })],
      ["/none", "notFound", () => client.xattrList(bytesOf("/none"))],
      ["none", "invalid", () => client.stat(bytesOf("none"))],
    ] as const) {
      expect(await failureOf(work())).toMatchObject({ kind, details: { path } });
    }
    expect(await failureOf(names("/none"))).toMatchObject({ kind: "notFound" });
    await put("/a-file");
    expect(await failureOf(names("/a-file"))).toMatchObject({ kind: "notDirectory" });
    expect(await failureOf(client.unlink(bytesOf("/a-file/")))).toMatchObject({
      kind: "notDirectory",
    });
    expect(await failureOf(client.rmdir(bytesOf("/")))).toBeDefined();
    expect(await failureOf(client.mkdir(bytesOf("/"), DIRECTORY))).toMatchObject({
      kind: "exists",
    });
  });

  test("attributes are set, a time also to the service's now", async () => {
    const path = bytesOf("/attributes");
    await put("/attributes", "123");
    const set = await client.setattr(path, {
      mode: 0o640,
      uid: 7,
      gid: 8,
      atimeNs: 5n,
      mtimeNs: 6n,
    });
    expect(set).toMatchObject({ mode: 0o640, uid: 7, gid: 8, atimeNs: 5n, mtimeNs: 6n, size: 3 });
    const now = await client.setattr(path, { atimeNs: "now" });
    expect(now.atimeNs).toBeGreaterThan(1_000_000_000n);
    expect(now.mtimeNs).toBe(6n);
    await client.symlink(bytesOf("attributes"), bytesOf("/attributes-link"), OWNER);
    await client.setattr(bytesOf("/attributes-link"), { mtimeNs: 9n }, { follow: false });
    expect((await client.stat(path)).mtimeNs).toBe(6n);
  });

  test("extended attributes are set, listed and removed", async () => {
    const path = bytesOf("/extended");
    await put("/extended");
    await client.xattrSet(path, bytesOf("user.b"), bytesOf("1"));
    await client.xattrSet(path, bytesOf("user.a"), bytesOf("2"));
    const again = client.xattrSet(path, bytesOf("user.a"), bytesOf("3"), "create");
    expect(await failureOf(again)).toMatchObject({ kind: "exists" });
    expect((await client.xattrList(path)).length).toBe(2);
    expect(await client.xattrGet(path, bytesOf("user.a"))).toEqual(bytesOf("2"));
    await client.xattrRemove(path, bytesOf("user.a"));
    expect(await failureOf(client.xattrGet(path, bytesOf("user.a")))).toMatchObject({
      kind: "noAttribute",
    });
  });

  test("any bytes are a name, and long listings come page by page", async () => {
    await client.mkdir(bytesOf("/long"), DIRECTORY);
    const odd = Uint8Array.from([...bytesOf("/long/"), 0xff, 0x0a, 0x80]);
    await client.mkdir(odd, DIRECTORY);
    const wanted = Array.from(
      { length: 2_500 },
      (_, index) => `f${String(index).padStart(5, "0")}`,
    );
    await Promise.all(wanted.map((name) => client.mkdir(bytesOf(`/long/${name}`), DIRECTORY)));
    const entries = await Array.fromAsync(client.readdir(bytesOf("/long")));
    expect(entries.at(-1)!.name).toEqual(odd.subarray(6));
    expect(entries.slice(0, -1).map(({ name }) => new TextDecoder().decode(name))).toEqual(wanted);
  });
});

describe("the directory of a name", () => {
  test("is found anew when it was replaced by another client", async () => {
    const other = await cluster.client();
    await client.mkdir(bytesOf("/moved"), DIRECTORY);
    await put("/moved/first");
    await other.rename(bytesOf("/moved"), bytesOf("/away"));
    await other.mkdir(bytesOf("/moved"), DIRECTORY);
    await put("/moved/second");
    expect(await names("/moved")).toEqual(["second"]);
    expect(await names("/away")).toEqual(["first"]);
  });

  test("is looked up once for many operations that start together", async () => {
    await client.mkdir(bytesOf("/busy"), DIRECTORY);
    const paths = Array.from({ length: 200 }, (_, index) => `/busy/f${index}`);
    const before = await lookupsDuring(async () => {
      await Promise.all(paths.map((path) => client.mkdir(bytesOf(path), DIRECTORY)));
    });
    expect(before).toBeLessThanOrEqual(3);
    expect((await names("/busy")).length).toBe(200);
  });
});

/** How often the service was asked to resolve a path during `work`. */
async function lookupsDuring(work: () => Promise<void>): Promise<number> {
  const { session } = (client as unknown as { machinery: { session: Asking } }).machinery;
  const { ask } = session;
  let lookups = 0;
  session.ask = (definition, ...rest) => {
    if (definition.name === "namespace.resolve") lookups++;
    return ask.call(session, definition, ...rest);
  };
  try {
    await work();
    return lookups;
  } finally {
    session.ask = ask;
  }
}

interface Asking {
  ask: (definition: { name: string }, ...rest: unknown[]) => Promise<unknown>;
}
