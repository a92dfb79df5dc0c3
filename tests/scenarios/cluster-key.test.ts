// The cluster key in processes as people start them: who gets in, who does not, what they are told, and where the key is not.

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { tcpTransport } from "../../src/protocol/transports/tcp.ts";
import { readKey } from "../../src/tools/shared/cluster-key.ts";
import { LocalCluster, until, type Subprocess } from "../support/local-cluster.ts";
import { errorIn } from "../protocol/handshake-support.ts";
import { RawPeer } from "../protocol/support.ts";

setDefaultTimeout(180_000); // servers and many commands; a busy machine is slow

const FILE = "/motd";
const CONTENT = Buffer.from("kept from strangers\n");

let cluster: LocalCluster | undefined;
const children: Subprocess[] = [];

afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL");
    await child.exited;
  }
  await cluster?.stop();
  cluster = undefined;
});

/** A cluster with a key of its own, and a file in it. */
async function withKey(): Promise<LocalCluster> {
  cluster = new LocalCluster();
  await withKeyIn(cluster);
  const put = await cluster.run(["put", "-", FILE], { stdin: CONTENT });
  expect(put.stderr).toBe("");
  expect(put.code).toBe(0);
  return cluster;
}

async function withKeyIn(own: LocalCluster, ...flags: string[]): Promise<void> {
  await own.ok("key", "new");
  await own.ok("up", "--detach", "--data-servers", "2", "--replicas", "2", ...flags);
}

/** Everything that the processes of a cluster show of themselves to others, or leave behind in their logs. */
function traces({ dir }: LocalCluster, pids: readonly number[]): string {
  const seen = pids.flatMap((pid) => [
    readFileSync(`/proc/${pid}/cmdline`, "utf8"),
    readFileSync(`/proc/${pid}/environ`, "utf8"),
  ]);
  const logs = readdirSync(join(dir, "logs")).map((name) =>
    readFileSync(join(dir, "logs", name), "utf8"),
  );
  return [...seen, ...logs, readFileSync(join(dir, "cluster.json"), "utf8")].join("\n");
}

describe("a cluster with a key", () => {
  test("serves who has it, refuses everybody else at once, and shows it nowhere", async () => {
    const own = await withKey();
    const keyFile = join(own.dir, "cluster.key");
    const { meta, metaPid, servers } = own.describe();
    await own.ok("key", "new", own.path("other.key"));
    const said: string[] = [];
    const attempt = async (env: Record<string, string>, ...flags: string[]) => {
      const result = await own.run(["cat", ...flags, "--debug", FILE], { env });
      said.push(result.stderr);
      return result;
    };

    const right = [
      await attempt({}),
      await attempt({}, "--meta", meta, "--key-file", keyFile),
      await attempt({ DFS_KEY_FILE: keyFile }, "--meta", meta),
    ];
    for (const { code, stdout, stderr } of right) {
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toEqual(CONTENT);
    }

    const wrong = await attempt({}, "--key-file", own.path("other.key"));
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain("the cluster keys differ");
    const missing = await attempt({}, "--meta", meta);
    expect(missing.code).toBe(1);
    expect(missing.stderr).toContain("wants the cluster key and none was given");
    expect(missing.stderr).toContain("--key-file or DFS_KEY_FILE");
    chmodSync(own.path("other.key"), 0o640);
    const open = await attempt({}, "--key-file", own.path("other.key"));
    expect(open.code).toBe(1);
    expect(open.stderr).toContain("mode 0640");

    const key = readFileSync(keyFile, "utf8").trim();
    expect(key).toHaveLength(64);
    const all = traces(own, [metaPid, ...servers.map(({ pid }) => pid)]) + said.join("\n");
    expect(all).toContain("cluster.key");
    expect(all).not.toContain(key);
  });

  test("keeps it over a restart, takes another only when it is stopped, and tells so", async () => {
    const own = await withKey();
    await own.ok("key", "new", own.path("other.key"));
    const refused = await own.run(["up", "--detach", "--key-file", own.path("other.key")]);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain(`is running with the key ${own.dir}/cluster.key`);
    await own.ok("down");
    await own.ok("up", "--detach", "--key-file", own.path("other.key"));
    expect((await own.ok("cat", FILE)).stdout).toEqual(CONTENT); // the path is in cluster.json
    const old = await own.run(["cat", "--key-file", join(own.dir, "cluster.key"), FILE]);
    expect(old.stderr).toContain("the cluster keys differ");
  });

  test("is mounted with its key, by dfs up and from an option list, and not with another", async () => {
    cluster = new LocalCluster();
    const own = cluster;
    const [first, second] = [own.path("first"), own.path("second")];
    for (const path of [first, second]) mkdirSync(path);
    await withKeyIn(own, "--mount", first);
    const { meta } = own.describe();
    await Bun.write(join(first, "seen"), CONTENT);
    await own.ok("key", "new", own.path("other.key"));
    const mount = (key: string) => own.run(["mount", meta, second, "-o", `key_file=${key}`]);
    const wrong = await mount(own.path("other.key"));
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain("the cluster keys differ");
    chmodSync(own.path("other.key"), 0o644);
    expect((await mount(own.path("other.key"))).stderr).toContain("mode 0644");
    const right = await mount(join(own.dir, "cluster.key"));
    expect(right.code).toBe(0);
    expect(readFileSync(join(second, "seen"))).toEqual(CONTENT);
    await own.ok("umount", second);
    await own.ok("down");
  });

  test("refuses a data server with another key, or with none, and its file with an open mode", async () => {
    const own = await withKey();
    await own.ok("key", "new", own.path("other.key"));
    const { meta } = own.describe();
    const start = (...flags: string[]) =>
      own.run(["data", "--new", "--dir", own.path("stranger"), "--meta", meta, ...flags]);
    const wrong = await start("--key-file", own.path("other.key"));
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain("the cluster keys differ");
    const none = await start();
    expect(none.code).toBe(1);
    expect(none.stderr).toContain("wants the cluster key");
    chmodSync(join(own.dir, "cluster.key"), 0o644);
    const open = await start("--key-file", join(own.dir, "cluster.key"));
    expect(open.code).toBe(1);
    expect(open.stderr).toContain("mode 0644");
    expect(await own.rows("server", "list", "--key-file", keyCopy(own))).toHaveLength(2);
  });

  // Segments, and the backups of the metadata, could be read by every user of the machine: no key was needed for that.
  test("keeps what it stores from other users of the machine, whatever the umask", async () => {
    const before = process.umask(0);
    try {
      const own = await withKey();
      await own.ok("meta", "backup");
      for (const name of ["meta", "data-1", "data-2"]) {
        expect(statSync(join(own.dir, name)).mode & 0o077).toBe(0);
      }
      const stored = readdirSync(own.dir, { recursive: true, encoding: "utf8" });
      const content = stored.filter((path) => /\.seg$|backups\//.test(path));
      expect(content.length).toBeGreaterThan(2);
      for (const path of content) expect(statSync(join(own.dir, path)).mode & 0o077).toBe(0);
    } finally {
      process.umask(before);
    }
  });

  test("is not let in by a conversation that was recorded and is played again", async () => {
    const own = await withKey();
    const { meta } = own.describe();
    const transport = tcpTransport(systemClock);
    const recorded: Uint8Array[] = [];
    const between = await transport.listen("127.0.0.1:0", (caller) => {
      const waiting: Uint8Array[] = [];
      let server: Awaited<ReturnType<typeof transport.connect>> | undefined;
      const back = {
        onData: (chunk: Uint8Array) => void caller.write(chunk),
        onWritable: () => undefined,
        onClose: () => caller.end(),
      };
      void transport.connect(meta, back, 10_000).then((stream) => {
        server = stream;
        for (const chunk of waiting) stream.write(chunk);
      });
      return {
        onData: (chunk) => {
          recorded.push(chunk);
          if (server === undefined) waiting.push(chunk);
          else server.write(chunk);
        },
        onWritable: () => undefined,
        onClose: () => server?.end(),
      };
    });
    const keyFile = join(own.dir, "cluster.key");
    const status = await own.run(["ls", "--meta", between.address, "--key-file", keyFile, "/"]);
    expect(status.code).toBe(0);
    between.close();

    const replay = await RawPeer.open(transport, meta);
    for (const chunk of recorded) replay.send(chunk);
    await until(() => replay.ended, "the replay to be ended");
    const answers = replay.frames.map((frame) => frame.kind);
    expect(answers).toEqual([1, 2]); // the answer to the hello, and the refusal of the old proof
    expect(errorIn(replay.frames[1]!).kind).toBe("unauthorized");
  });
});

describe("a server that other machines can reach", () => {
  async function firstLine(args: readonly string[]): Promise<{ line: string; child: Subprocess }> {
    cluster ??= new LocalCluster();
    const child = cluster.spawn(args);
    children.push(child);
    const reader = child.stdout.getReader();
    const { value } = await reader.read();
    reader.releaseLock();
    return { line: Buffer.from(value ?? []).toString(), child };
  }

  test.each(["0.0.0.0:0", "[::]:0"])("on %s needs a key", async (listen) => {
    cluster = new LocalCluster();
    const args = ["meta", "--dir", cluster.path("meta"), "--listen", listen, "--json"];
    const refused = await cluster.run(args);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`cannot listen on ${listen} without a cluster key`);
    expect(refused.stderr).toContain("dfs key new");
    expect(existsSync(cluster.path("meta"))).toBe(false); // a cluster was made first, and refused then
    await cluster.ok("key", "new", cluster.path("key"));
    const { line } = await firstLine([...args, "--key-file", cluster.path("key")]);
    expect(JSON.parse(line)).toMatchObject({ ready: "meta" });
  });

  test("is not content with a key that is no secret", async () => {
    cluster = new LocalCluster();
    writeFileSync(cluster.path("short"), "secret\n", { mode: 0o600 });
    const args = ["meta", "--dir", cluster.path("meta"), "--listen", "0.0.0.0:0"];
    const refused = await cluster.run([...args, "--key-file", cluster.path("short")]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("a cluster key of 6 bytes");
    expect(refused.stderr).not.toContain("secret\n");
  });
});

/** The key of the cluster in a file that is closed. */
function keyCopy(own: LocalCluster): string {
  const path = own.path("copy.key");
  chmodSync(join(own.dir, "cluster.key"), 0o600);
  writeFileSync(path, readKey(join(own.dir, "cluster.key")), { mode: 0o600 });
  return path;
}
