// Values of options.

import { describe, expect, test } from "bun:test";
import {
  address,
  addresses,
  count,
  directory,
  mode,
  seconds,
  size,
  text,
  words,
} from "../../src/tools/shared/values.ts";

type Case = readonly [parse: (value: string) => unknown, typed: string, meant: unknown];

const RIGHT: readonly Case[] = [
  [size, "8", 8],
  [size, "0", 0],
  [size, "64K", 65_536],
  [size, "64k", 65_536],
  [size, "1M", 1_048_576],
  [size, "1MiB", 1_048_576],
  [size, "5G", 5 * 2 ** 30],
  [size, "100b", 100],
  [count(1, 8), "3", 3],
  [count(1, 8), "008", 8],
  [seconds, "5", 5000],
  [seconds, "0.25", 250],
  [mode, "755", 0o755],
  [mode, "0644", 0o644],
  [mode, "04755", 0o4755],
  [mode, "0", 0],
  [address, "127.0.0.1:4000", "127.0.0.1:4000"],
  [address, "localhost:0", "localhost:0"],
  [address, "[::1]:65535", "[::1]:65535"],
  [addresses, "a:1,b:2", "a:1,b:2"],
  [directory, "/srv/dfs///", "/srv/dfs"],
  [directory, "/", "/"],
  [directory, "a b", "a b"],
  [text, " ", " "],
  [words, "ssd, fast,,", ["ssd", "fast"]],
];

const WRONG: readonly (readonly [parse: (value: string) => unknown, typed: string])[] = [
  [size, ""],
  [size, "-1"],
  [size, "1.5M"],
  [size, "64KB"],
  [size, "1e3"],
  [size, "9999999999999999999"],
  [count(1, 8), "0"],
  [count(1, 8), "9"],
  [count(1, 8), "1.0"],
  [count(1, 8), "0x1"],
  [seconds, "0"],
  [seconds, "-5"],
  [seconds, "5s"],
  [seconds, "Infinity"],
  [mode, "888"],
  [mode, "u+x"],
  [mode, "177777"],
  [address, "127.0.0.1"],
  [address, ":4000"],
  [address, "host:65536"],
  [address, "host:4000:1"],
  [address, "http://host:1"],
  [addresses, "a:1,"],
  [directory, ""],
  [text, ""],
];

describe("values of options", () => {
  test.each(RIGHT)("%o reads %j", (parse, typed, meant) => {
    expect(parse(typed)).toEqual(meant);
  });

  test.each(WRONG)("%o refuses %j, saying what it expected", (parse, typed) => {
    expect(() => parse(typed)).toThrow(/^expected /);
  });
});
