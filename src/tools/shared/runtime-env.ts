/**
 * What must be in the environment of a dfs process before Bun starts: bin/.runtime.sh sets the same, and says why.
 */
export const RUNTIME_ENV: Readonly<Record<string, string>> = {
  UV_THREADPOOL_SIZE: "16",
  MIMALLOC_PURGE_DELAY: "-1",
};

const MOUNT_ENV: Readonly<Record<string, string>> = {
  MIMALLOC_PURGE_DELAY: "1000",
  BUN_JSC_useGenerationalGC: "0",
};

type Env = Readonly<Record<string, string | undefined>>;

/** The environment of a process that serves a mount, made of that of its parent: what somebody has set otherwise stays. */
export function mountEnv(env: Env): Env {
  const own = Object.entries(MOUNT_ENV).filter(
    ([name]) => env[name] === undefined || env[name] === RUNTIME_ENV[name],
  );
  return { ...RUNTIME_ENV, ...env, ...Object.fromEntries(own) };
}
