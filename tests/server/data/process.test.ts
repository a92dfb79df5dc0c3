// A data server as a real process: how it starts and ends. What is left when it is killed: kills.test.ts.

import { afterEach, describe, expect, test } from "bun:test";
import { killedBlock } from "../../log/blocks.ts";
import { addressOf, endProcesses, startProcess } from "./processes.ts";
import {
  cleanUp,
  callerOf,
  freshDirectory,
  putBlock,
  ScriptedService,
  startData,
} from "./support.ts";

afterEach(cleanUp);
afterEach(endProcesses);

describe("a data server's process", () => {
  test.each(["SIGTERM", "SIGINT"] as const)("ends in good order on %s", async (signal) => {
    const service = await ScriptedService.start();
    const dir = freshDirectory();
    const started = await startProcess(dir, service.address, "new");
    const peer = await callerOf({ address: addressOf(started) });
    await putBlock(peer, killedBlock(1));
    started.child.kill(signal);
    expect(await started.child.exited).toBe(0);
    await startData(service, dir); // nobody holds the directory
    expect(service.registrations.at(-1)!.blocks).toBe(1);
  });

  test("does not start on a port in use, or a second time on its directory, and says why", async () => {
    const service = await ScriptedService.start();
    const dir = freshDirectory();
    const first = await startProcess(dir, service.address, "new");
    const address = addressOf(first);
    const samePort = await startProcess(freshDirectory(), service.address, "new", address);
    expect(await samePort.child.exited).toBe(1);
    expect(await new Response(samePort.child.stderr).text()).toContain(
      `port ${address.split(":")[1]} is in use`,
    );
    const sameDirectory = await startProcess(dir, service.address, "present");
    expect(await sameDirectory.child.exited).toBe(1);
    expect(await new Response(sameDirectory.child.stderr).text()).toContain(
      `it is in use by process ${first.child.pid}`,
    );
    first.child.kill("SIGKILL");
    await first.child.exited;
    const again = await startProcess(dir, service.address, "present");
    expect(addressOf(again)).toBe(address);
    again.child.kill("SIGTERM");
    expect(await again.child.exited).toBe(0);
  });
});
