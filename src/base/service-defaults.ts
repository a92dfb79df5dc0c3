/** How a metadata service judges silence, repairs and backs up, as long as nobody has asked for something else. */
export const SERVICE_DEFAULTS = {
  leaseTimeoutMs: 60_000,
  downDelayMs: 5_000,
  outDelayMs: 600_000,
  repairBytesPerSecond: 100 * 1024 * 1024,
  backupIntervalMs: 3_600_000,
} as const;
