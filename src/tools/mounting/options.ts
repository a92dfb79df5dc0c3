/**
 * The `-o` options of a mount, in the style of mount(8): words separated by commas, some with a value. Of options that
 * exclude each other the last one wins, as in mount(8).
 *
 *     ro rw                              read only
 *     noatime relatime strictatime       when a read changes the access time
 *     allow_other default_permissions    who gets in, and who checks permissions
 *     hard soft timeo=S                  when the cluster is away: wait, or fail after S seconds
 *     attr_timeout= entry_timeout= negative_timeout= actimeo=S   how long the kernel goes by what it was told
 *     cache=none|auto|always             what the kernel keeps of contents
 *     dev suid exec, nodev nosuid noexec mount flags of the kernel
 *     key_file= log= read_quorum=        what the command's flags say, for fstab
 *
 * What only tells mount(8) or systemd something (`noauto`, `_netdev`, `x-...`) passes without effect.
 */
import { DfsError, messageOf } from "../../base/errors.ts";
import { MAX_REPLICAS } from "../../base/limits.ts";
import { nearest } from "../shared/suggest.ts";
import { printable } from "../shared/text.ts";
import { count, seconds, text } from "../shared/values.ts";

export type AccessTimes = "noatime" | "relatime" | "strictatime";
export type CacheMode = "none" | "auto" | "always";

/** What `-o` says. Undefined: nothing was said, and the default holds, which may depend on who mounts. */
export interface MountOptions {
  readonly readOnly: boolean;
  readonly accessTimes: AccessTimes;
  /** Let other users in. */
  readonly allowOther?: boolean;
  /** The kernel checks permissions by mode and owner. */
  readonly defaultPermissions?: boolean;
  /** Operations fail when the cluster has been away for `timeoMs`; a hard mount waits for it. */
  readonly soft: boolean;
  readonly timeoMs: number;
  readonly attributesMs?: number;
  readonly entryMs?: number;
  readonly negativeMs?: number;
  readonly cache: CacheMode;
  readonly devices: boolean;
  readonly setuid: boolean;
  readonly programs: boolean;
  readonly keyFile?: string;
  readonly log?: string;
  readonly readQuorum?: number;
}

/** How a soft mount behaves when nobody says how long it tries. */
const DEFAULT_TIMEO_MS = 60_000;

export const DEFAULT_MOUNT_OPTIONS: MountOptions = {
  readOnly: false,
  accessTimes: "relatime",
  soft: false,
  timeoMs: DEFAULT_TIMEO_MS,
  cache: "auto",
  devices: true,
  setuid: true,
  programs: true,
};

type Change = Partial<MountOptions>;

/** Words, and what each changes. */
const WORDS: Readonly<Record<string, Change>> = {
  ro: { readOnly: true },
  rw: { readOnly: false },
  noatime: { accessTimes: "noatime" },
  relatime: { accessTimes: "relatime" },
  strictatime: { accessTimes: "strictatime" },
  // As in mount(8): back to the kernel's default, which is relatime.
  atime: { accessTimes: "relatime" },
  norelatime: { accessTimes: "relatime" },
  nostrictatime: { accessTimes: "relatime" },
  allow_other: { allowOther: true },
  default_permissions: { defaultPermissions: true },
  hard: { soft: false },
  soft: { soft: true },
  dev: { devices: true },
  nodev: { devices: false },
  suid: { setuid: true },
  nosuid: { setuid: false },
  exec: { programs: true },
  noexec: { programs: false },
  defaults: { readOnly: false, devices: true, setuid: true, programs: true },
};

/** Options with a value, and what each changes. */
const VALUES: Readonly<Record<string, (value: string) => Change>> = {
  timeo: (value) => ({ timeoMs: seconds(value) }),
  actimeo: (value) => {
    const milliseconds = cacheTime(value);
    return { attributesMs: milliseconds, entryMs: milliseconds, negativeMs: milliseconds };
  },
  attr_timeout: (value) => ({ attributesMs: cacheTime(value) }),
  entry_timeout: (value) => ({ entryMs: cacheTime(value) }),
  negative_timeout: (value) => ({ negativeMs: cacheTime(value) }),
  cache: (value) => ({ cache: cacheMode(value) }),
  key_file: (value) => ({ keyFile: absolutePath(value) }),
  log: (value) => ({ log: absolutePath(value) }),
  read_quorum: (value) => ({ readQuorum: count(1, MAX_REPLICAS)(value) }),
};

/** What is for mount(8) and its relatives, or says what is so anyway. */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  "auto",
  "noauto",
  "nofail",
  "_netdev",
  "user",
  "nouser",
  "users",
  "nousers",
  "owner",
  "noowner",
  "group",
  "nogroup",
  "async",
]);

/** What mount(8) knows and dfs refuses, with the reason. */
const REFUSED: Readonly<Record<string, string>> = {
  allow_root: "the kernel cannot let root alone in; use allow_other,default_permissions",
  remount: "options are decided when it is mounted; dfs umount and mount it again",
  sync: "nothing waits for each write here; programs that need it use fsync or O_SYNC",
  dirsync: "changes of names are durable when they return, always",
  bind: "that is for mount(8) with --bind, of a directory that is mounted already",
};

/**
 * Reads the lists of several `-o`, from the first to the last.
 * @throws DfsError `usage` for an unknown or refused option or a wrong value, saying what was expected. With `sloppy`,
 * unknown ones are passed over.
 */
export function parseMountOptions(
  lists: readonly string[],
  { sloppy = false }: { readonly sloppy?: boolean } = {},
): MountOptions {
  let options = DEFAULT_MOUNT_OPTIONS;
  for (const item of lists.flatMap((list) => list.split(","))) {
    if (item !== "") options = { ...options, ...changeOf(item, sloppy) };
  }
  return options;
}

/**
 * The same options as one list, for a process that is started to serve them. `parseMountOptions` of it gives them back.
 */
export function mountOptionsText(options: MountOptions): string {
  return [
    options.readOnly ? "ro" : "rw",
    options.accessTimes,
    ...(options.allowOther === true ? ["allow_other"] : []),
    ...(options.defaultPermissions === true ? ["default_permissions"] : []),
    options.soft ? "soft" : "hard",
    `timeo=${options.timeoMs / 1000}`,
    ...valueText("attr_timeout", options.attributesMs, 1000),
    ...valueText("entry_timeout", options.entryMs, 1000),
    ...valueText("negative_timeout", options.negativeMs, 1000),
    `cache=${options.cache}`,
    options.devices ? "dev" : "nodev",
    options.setuid ? "suid" : "nosuid",
    options.programs ? "exec" : "noexec",
    ...(options.keyFile === undefined ? [] : [`key_file=${options.keyFile}`]),
    ...(options.log === undefined ? [] : [`log=${options.log}`]),
    ...valueText("read_quorum", options.readQuorum, 1),
  ].join(",");
}

function valueText(name: string, value: number | undefined, unit: number): string[] {
  return value === undefined ? [] : [`${name}=${value / unit}`];
}

function changeOf(item: string, sloppy: boolean): Change {
  const equals = item.indexOf("=");
  const name = equals < 0 ? item : item.slice(0, equals);
  const value = equals < 0 ? undefined : item.slice(equals + 1);
  const refused = own(REFUSED, name);
  if (refused !== undefined) throw wrong(item, refused);
  if (hasNoEffect(name)) return {};
  const word = own(WORDS, name);
  if (word !== undefined) {
    if (value !== undefined) throw wrong(item, `${name} takes no value`);
    return word;
  }
  const parse = own(VALUES, name);
  if (parse === undefined) return sloppy ? {} : unknown(name);
  if (value === undefined) throw wrong(item, `it needs a value, such as ${exampleOf(name)}`);
  try {
    return parse(value);
  } catch (error) {
    throw wrong(item, messageOf(error), error);
  }
}

/** x-... is for programs that read fstab; `comment=` is an older form of it; `user=NAME` is written by mount(8). */
function hasNoEffect(name: string): boolean {
  return WITHOUT_EFFECT.has(name) || /^x-./i.test(name) || name === "comment";
}

/** What an object itself has under `key`, not what every object has. */
function own<T>(from: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(from, key) ? from[key] : undefined;
}

function unknown(name: string): never {
  const candidates = [...Object.keys(WORDS), ...Object.keys(VALUES), ...WITHOUT_EFFECT];
  const near = nearest(name, candidates);
  throw new DfsError(
    "usage",
    `unknown mount option ${printable(name)}\n` +
      (near === undefined ? "dfs mount --help lists them" : `did you mean ${near}?`),
  );
}

function wrong(item: string, why: string, cause?: unknown): DfsError {
  return new DfsError("usage", `mount option ${printable(item)}: ${why}`, { cause });
}

function exampleOf(name: string): string {
  const examples: Readonly<Record<string, string>> = {
    cache: "cache=auto",
    key_file: "key_file=/etc/dfs.key",
    log: "log=/var/log/dfs.log",
    read_quorum: "read_quorum=2",
  };
  return own(examples, name) ?? `${name}=5`;
}

/** Seconds, 0 included, as milliseconds. */
function cacheTime(value: string): number {
  return /^0(\.0+)?$/.test(value) ? 0 : seconds(value);
}

function cacheMode(value: string): CacheMode {
  if (value === "none" || value === "auto" || value === "always") return value;
  throw new DfsError("usage", "expected none, auto or always");
}

/** fstab has no current directory that a path could be relative to. */
function absolutePath(value: string): string {
  if (text(value).startsWith("/")) return value;
  throw new DfsError("usage", "expected a path that begins with /");
}
