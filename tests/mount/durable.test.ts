// What fsync and close promise: what they have told to be stored survives any kill, and what could not be stored they tell.

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { patterned } from "../support/cluster.ts";
import { until } from "../support/local-cluster.ts";
import { cannotMount, Mounted } from "./support/mounted.ts";
import * as posix from "./support/system-calls.ts";

setDefaultTimeout(120_000); // whole clusters, killed and started again

let mounted: Mounted;
afterEach(() => mounted.stop());

/** Kills the servers; not by dfs down, which would unmount first. */
async function killServers(): Promise<void> {
  const { metaPid, servers } = mounted.cluster.describe();
  for (const pid of [metaPid, ...servers.map((each) => each.pid)]) await mounted.cluster.kill(pid);
}

describe.skipIf(cannotMount !== undefined)("on a mount", () => {
  test("what was synced or closed is there after the mount and all servers were killed", async () => {
    mounted = await Mounted.up({ flags: ["--data-servers", "3", "--block-size", "64K"] });
    const bytes = patterned(300_000);
    const at = (name: string): string => `${mounted.path}/${name}`;
    fs.mkdirSync(at("directory"));
    fs.writeFileSync(at("directory/closed"), bytes);
    fs.renameSync(at("directory/closed"), at("directory/renamed"));
    const open = fs.openSync(at("synced"), "w");
    fs.writeSync(open, bytes);
    fs.fdatasyncSync(open);
    fs.writeSync(open, "over it", 1000);
    fs.fsyncSync(open);
    await mounted.at(0).kill();
    await killServers();
    expect(() => posix.close(open)).toThrow(/ENOTCONN|ECONNABORTED/);

    await mounted.cluster.ok("up", "--detach");
    const again = await mounted.mount();
    const read = async (name: string): Promise<Buffer> => {
      await mounted.ok(`cat ${again.path}/${name} > ${mounted.cluster.path("copy")}`, "/");
      return fs.readFileSync(mounted.cluster.path("copy"));
    };
    expect(Buffer.compare(await read("directory/renamed"), bytes)).toBe(0);
    bytes.set(Buffer.from("over it"), 1000);
    expect(Buffer.compare(await read("synced"), bytes)).toBe(0);
    expect(await mounted.ok(`ls ${again.path} ${again.path}/directory`, "/")).toBe(
      `${again.path}:\ndirectory\nsynced\n\n${again.path}/directory:\nrenamed\n`,
    );
  });

  test("fsync and close tell that what was written before could not be stored; later it is", async () => {
    mounted = await Mounted.up({ flags: ["--data-servers", "3"], options: "soft,timeo=1" });
    const [gone, back] = [mounted.cluster.path("gone"), mounted.cluster.path("back")];
    const script = `
      import fs from "node:fs";
      import { close } from "${join(import.meta.dir, "support/system-calls.ts")}";
      const there = (path) => { while (!fs.existsSync(path)) Bun.sleepSync(20); };
      const told = (call) => { try { call(); return "nothing"; } catch ({ code }) { return code; } };
      const [one, two] = ["one", "two"].map((name) => fs.openSync("${mounted.path}/" + name, "w"));
      for (const fd of [one, two]) fs.writeSync(fd, "written before");
      console.log("written");
      there("${gone}");
      console.log(told(() => fs.fsyncSync(one)), told(() => close(two)));
      there("${back}");
      while (told(() => fs.fsyncSync(one)) !== "nothing") Bun.sleepSync(100);
      console.log(told(() => close(one)));`;
    const program = mounted.program([process.execPath, "-e", script]);
    let output = "";
    const reading = (async () => {
      for await (const chunk of program.stdout) output += Buffer.from(chunk).toString();
    })();
    await until(() => output.includes("written\n"), "the program to have written");
    await killServers();
    fs.writeFileSync(gone, "");
    await until(() => output.split("\n").length > 2, "errors to be told");
    expect(output.split("\n")[1]).toMatch(/^(EIO|ETIMEDOUT) (EIO|ETIMEDOUT)$/);
    await mounted.cluster.ok("up", "--detach");
    fs.writeFileSync(back, "");
    expect(await program.exited).toBe(0);
    await reading;
    expect(output.split("\n")[2]).toBe("nothing");
    expect(await mounted.ok("cat one")).toBe("written before");
  });
});
