// The -o options of a mount.

import { describe, expect, test } from "bun:test";
import { isDfsError } from "../../src/base/errors.ts";
import {
  DEFAULT_MOUNT_OPTIONS,
  mountOptionsText,
  parseMountOptions,
  type MountOptions,
} from "../../src/tools/mounting/options.ts";

/** What the list changes of the defaults. */
function changes(...lists: string[]): Partial<MountOptions> {
  const parsed = parseMountOptions(lists);
  const before = new Map<string, unknown>(Object.entries(DEFAULT_MOUNT_OPTIONS));
  return Object.fromEntries(Object.entries(parsed).filter(([key, is]) => is !== before.get(key)));
}

function refusal(list: string): string {
  try {
    parseMountOptions([list]);
  } catch (error) {
    if (isDfsError(error, "usage")) return error.message;
    throw error;
  }
  throw new Error(`${list} was taken`);
}

describe("mount options", () => {
  test("without any, the defaults hold: read and write, hard, relatime, cache=auto", () => {
    expect(parseMountOptions([])).toEqual(DEFAULT_MOUNT_OPTIONS);
    expect(DEFAULT_MOUNT_OPTIONS).toEqual({
      readOnly: false,
      accessTimes: "relatime",
      soft: false,
      timeoMs: 60_000,
      cache: "auto",
      devices: true,
      setuid: true,
      programs: true,
    });
    expect(changes("defaults", "", ",,rw,")).toEqual({});
  });

  const meanings: readonly (readonly [list: string, change: Partial<MountOptions>])[] = [
    ["ro", { readOnly: true }],
    ["noatime", { accessTimes: "noatime" }],
    ["strictatime", { accessTimes: "strictatime" }],
    ["allow_other", { allowOther: true }],
    ["default_permissions", { defaultPermissions: true }],
    ["soft,timeo=2.5", { soft: true, timeoMs: 2500 }],
    ["attr_timeout=3", { attributesMs: 3000 }],
    ["entry_timeout=0", { entryMs: 0 }],
    ["negative_timeout=0.0", { negativeMs: 0 }],
    ["actimeo=2", { attributesMs: 2000, entryMs: 2000, negativeMs: 2000 }],
    ["cache=none", { cache: "none" }],
    ["cache=always", { cache: "always" }],
    ["nodev,nosuid,noexec", { devices: false, setuid: false, programs: false }],
    ["key_file=/etc/dfs.key", { keyFile: "/etc/dfs.key" }],
    ["log=/var/log/a=b", { log: "/var/log/a=b" }],
    ["read_quorum=2", { readQuorum: 2 }],
  ];
  test.each(meanings)("%s", (list, change) => {
    expect(changes(list)).toEqual(change);
  });

  const contests: readonly (readonly [lists: string[], change: Partial<MountOptions>])[] = [
    [["ro,rw"], {}],
    [["rw", "ro"], { readOnly: true }],
    [["ro", "defaults"], {}],
    [["soft,hard"], {}],
    [["noatime", "relatime"], {}],
    [["noatime,atime"], {}],
    [["strictatime,nostrictatime"], {}],
    [["nosuid,suid,noexec,exec,nodev,dev"], {}],
    [["cache=none,cache=always"], { cache: "always" }],
    [["timeo=1", "timeo=2"], { timeoMs: 2000 }],
    [["actimeo=9,attr_timeout=1"], { attributesMs: 1000, entryMs: 9000, negativeMs: 9000 }],
    [["attr_timeout=1,actimeo=9"], { attributesMs: 9000, entryMs: 9000, negativeMs: 9000 }],
  ];
  test.each(contests)("of %j the last one wins", (lists, change) => {
    expect(changes(...lists)).toEqual(change);
  });

  test("what is for mount(8) and systemd has no effect", () => {
    const list =
      "noauto,auto,nofail,_netdev,user,user=ann,nouser,users,owner,group,async," +
      "x-systemd.automount,x-systemd.requires=dfs.service,X-mount.mkdir=0755,comment=hello";
    expect(changes(list)).toEqual({});
  });

  const refusals: readonly (readonly [list: string, ...parts: string[]])[] = [
    ["noatme", "unknown mount option noatme", "did you mean noatime?"],
    ["alow_other", "did you mean allow_other?"],
    ["attr_timout=1", "did you mean attr_timeout?"],
    ["frobnicate", "unknown mount option frobnicate", "--help"],
    ["x-", "unknown mount option x-"],
    ["constructor", "unknown mount option constructor"],
    ["__proto__=1", "unknown mount option __proto__"],
    ["toString", "unknown mount option toString"],
    ["allow_root", "allow_other,default_permissions"],
    ["remount,ro", "mount it again"],
    ["sync", "fsync"],
    ["dirsync", "durable"],
    ["bind", "--bind"],
    ["ro=1", "ro=1: ro takes no value"],
    ["timeo", "timeo: it needs a value, such as timeo=5"],
    ["cache", "such as cache=auto"],
    ["timeo=0", "timeo=0: expected a number of seconds above 0"],
    ["timeo=", "expected a number of seconds"],
    ["timeo=soon", "expected a number of seconds"],
    ["actimeo=-1", "expected a number of seconds"],
    ["cache=some", "cache=some: expected none, auto or always"],
    ["key_file=dfs.key", "begins with /"],
    ["log=", "a value, not nothing"],
    ["read_quorum=0", "a whole number from 1"],
    ["bad\u001b[2Jthing", "bad\\x1b[2Jthing"],
  ];
  test.each(refusals)("%s is refused with words", (list, ...parts) => {
    const message = refusal(list);
    for (const part of parts) expect(message).toContain(part);
    expect(message.split("\n").length).toBeLessThanOrEqual(3);
  });

  test("sloppy passes over what is unknown, and nothing else", () => {
    expect(parseMountOptions(["frobnicate,ro,this=that"], { sloppy: true }).readOnly).toBe(true);
    expect(() => parseMountOptions(["timeo=x"], { sloppy: true })).toThrow("timeo=x");
    expect(() => parseMountOptions(["allow_root"], { sloppy: true })).toThrow("allow_root");
  });

  test("as text they mean the same", () => {
    const lists = [
      ...meanings.map(([list]) => list),
      meanings.map(([list]) => list).join(","),
      "timeo=0.001,attr_timeout=86400,entry_timeout=0.25",
    ];
    for (const list of lists) {
      const options = parseMountOptions([list]);
      expect(parseMountOptions([mountOptionsText(options)])).toEqual(options);
    }
    expect(parseMountOptions([mountOptionsText(DEFAULT_MOUNT_OPTIONS)])).toEqual(
      DEFAULT_MOUNT_OPTIONS,
    );
  });
});
