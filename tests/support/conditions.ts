// What tests need of the machine beyond the project: a test that cannot run says so, and why.

/** True when `reason` is undefined; else it is said that `what` is skipped, and why. */
export function canRun(what: string, reason: string | undefined): boolean {
  if (reason !== undefined) console.log(`skipped: ${what}: ${reason}`);
  return reason === undefined;
}

/** Why something that needs these programs cannot run; undefined when all are there. */
export function whyWithout(...programs: readonly string[]): string | undefined {
  const missing = programs.filter((name) => Bun.which(name) === null);
  return missing.length === 0 ? undefined : `not installed: ${missing.join(", ")}`;
}

/** Why something that only the superuser may do cannot run; undefined for the superuser. */
export function whyNotAsRoot(): string | undefined {
  return process.geteuid?.() === 0 ? undefined : "only the superuser may do it";
}
