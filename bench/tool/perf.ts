/**
 * What the processes of a cluster spend their processor time on, from samples of perf(1): perf-record(1), perf-script(1).
 *
 * A sample in the kernel counts for the first thing up its call chain that says what it is for; one elsewhere for the thread or the
 * library that it is in. Programs of Bun have no symbols, so what their runtime does is one group: our code, compiled, is another.
 */
import { rmSync } from "node:fs";

/** Samples of each processor in a second; no round number, so as not to keep step with anything. */
const FREQUENCY = 997;

/** What a function of the kernel is called by, and what that is for. The first that is met from the inside counts. */
const PURPOSES: readonly (readonly [RegExp, string])[] = [
  [/^(asm_)?exc_page_fault$|^do_user_addr_fault$/, "fresh memory"],
  [/^(do_)?sendfile|^splice_direct_to_actor/, "sending files"],
  [/^(tcp|inet6?|sock)_recvmsg$|^__sys_recvfrom$/, "receiving"],
  [/^(tcp|inet6?|sock)_sendmsg$|^__sys_sendto$|^net_rx_action$/, "sending"],
  [/fsync|fdatasync|sync_file_range|^wb_workfn$|^ext4_writepages$|^jbd2_/, "syncing"],
  [/^(vfs|ksys|do_iter_readv)_?write|^ext4_file_write_iter$|^do_writev$/, "writing files"],
  [/^vfs_read$|^ksys_pread|^do_preadv$|^ext4_file_read_iter$/, "reading files"],
  [/^do_epoll_|epoll_wait/, "waiting for events"],
  [/futex/, "waking threads"],
  [/madvise|munmap|^do_mmap$|mprotect/, "memory of the process"],
  [
    /^do_sys_open|^path_openat$|^do_unlink|^do_mkdir|^do_renameat|statx|^vfs_fstat/,
    "names of files",
  ],
  [/^do_exit$|^(begin_new_)?exec|^load_elf_binary$|clone/, "processes and threads"],
];

/** Processor seconds by what they were for, of each name that `nameOf` gives to a process. */
export type Profile = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** Samples all processors until the result is called, which tells of those processes that have a name. */
export async function startProfile(file: string): Promise<{
  end(nameOf: (pid: number) => string | undefined): Promise<Profile>;
}> {
  const words = ["perf", "record", "-q", "-a", "-g", "-F", String(FREQUENCY), "-o", file];
  const recorder = Bun.spawn(words, { stdio: ["ignore", "ignore", "pipe"] });
  await Bun.sleep(500); // it says nothing when it has begun
  if (recorder.exitCode !== null) {
    throw new Error(`perf cannot record: ${await new Response(recorder.stderr).text()}`);
  }
  return {
    end: async (nameOf) => {
      recorder.kill("SIGINT");
      await recorder.exited;
      const fields = ["-F", "comm,pid,tid,ip,sym,dso", "-i", file];
      const script = Bun.spawn(["perf", "script", ...fields], {
        stdio: ["ignore", "pipe", "ignore"],
      });
      const profile = profileOf(await new Response(script.stdout).text(), nameOf);
      rmSync(file);
      return profile;
    },
  };
}

/** Reads what `perf script` prints: a line for the thread, then one for each caller, then an empty one. */
export function profileOf(text: string, nameOf: (pid: number) => string | undefined): Profile {
  const profile = new Map<string, Map<string, number>>();
  for (const sample of text.split("\n\n")) {
    const [head = "", ...chain] = sample.trim().split("\n");
    const found = /^(.+?)\s+(\d+)\/(\d+)/.exec(head);
    const name = nameOf(Number(found?.[2]));
    if (found === null || name === undefined || chain.length === 0) continue;
    const of = profile.get(name) ?? new Map<string, number>();
    profile.set(name, of);
    const purpose = purposeOf(found[1]!, chain);
    of.set(purpose, (of.get(purpose) ?? 0) + 1 / FREQUENCY);
  }
  return profile;
}

function purposeOf(thread: string, chain: readonly string[]): string {
  const frames = chain.map((line) => /^\s*[0-9a-f]+ (.*?) \((.*)\)$/.exec(line));
  const first = frames[0]?.[2] ?? "";
  if (first.includes("kernel") || first.includes("[vdso]")) {
    for (const frame of frames) {
      const purpose = PURPOSES.find(([pattern]) => pattern.test(frame?.[1] ?? ""));
      if (purpose !== undefined) return purpose[1];
    }
    return "kernel, other";
  }
  if (/^JITWorker|^JSCWarmUp/.test(thread)) return "compiling";
  if (/^HeapHelper|^mi-scav|Collector/.test(thread)) return "collecting garbage";
  if (first.includes("JIT") || first.includes("perf-")) return "our code";
  if (first.includes("sqlite")) return "SQLite";
  if (first.includes("libc")) return "copying in memory";
  return "the runtime";
}
