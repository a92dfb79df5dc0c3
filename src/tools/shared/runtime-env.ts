/**
 * What must be in the environment of a dfs process before Bun starts: bin/.runtime.sh sets the same, and says why.
 */
export const RUNTIME_ENV: Readonly<Record<string, string>> = {
  UV_THREADPOOL_SIZE: "16",
  MIMALLOC_PURGE_DELAY: "1000",
};

/** The same for the process that serves a mount, for which bin/dfs sets it. */
export const MOUNT_ENV: Readonly<Record<string, string>> = {
  ...RUNTIME_ENV,
  BUN_JSC_useConcurrentGC: "0",
  BUN_JSC_useGenerationalGC: "0",
};
