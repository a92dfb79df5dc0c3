/**
 * Servers that must not outlive who started them: they end when their standard input ends. The kernel sees to that when the
 * process at its other end dies, however it dies.
 */
import { flag } from "./command.ts";

export const endWithInputOption = {
  endWithInput: flag("end in good order when standard input ends, as when who started it has died"),
};

/** The flag, for whoever starts a server. */
export const END_WITH_INPUT = "--end-with-input";

/** Ends this process as SIGTERM does, when its standard input ends. */
export function endWithInput(): void {
  const end = (): void => void process.kill(process.pid, "SIGTERM");
  process.stdin.once("end", end).once("error", end).resume(); // what is said there is not listened to
}
