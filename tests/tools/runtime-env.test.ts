import { expect, test } from "bun:test";
import { mountEnv, RUNTIME_ENV } from "../../src/tools/shared/runtime-env.ts";

test("who serves a mount gives memory back, whatever its parent does, unless somebody has set it otherwise", () => {
  const bounded = { MIMALLOC_PURGE_DELAY: "1000", BUN_JSC_useGenerationalGC: "0" };
  expect(mountEnv({})).toEqual({ ...RUNTIME_ENV, ...bounded });
  expect(mountEnv({ ...RUNTIME_ENV, HOME: "/root" })).toMatchObject({ ...bounded, HOME: "/root" });
  const chosen = { MIMALLOC_PURGE_DELAY: "50", BUN_JSC_useGenerationalGC: "1" };
  expect(mountEnv(chosen)).toMatchObject(chosen);
});
