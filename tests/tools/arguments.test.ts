// Command lines, read as getopt_long(3) does, and what cac's own parser would have made of them.

import { describe, expect, test } from "bun:test";
import { cac } from "cac";
import { argument, parseArguments } from "../../src/tools/shared/arguments.ts";
import { flag, value } from "../../src/tools/shared/command.ts";
import { count, mode, size, text } from "../../src/tools/shared/values.ts";

const options = {
  recursive: flag("", { short: "r" }),
  preserve: flag("", { short: "p" }),
  mode: value("<mode>", mode, "", { short: "m" }),
  blockSize: value("<bytes>", size, ""),
  replicas: value("<n>", count(1, 8), ""),
  name: value("<name>", text, "", { short: "n", env: "DFS_OTHER_NAME" }),
  lists: value("<list>", text, "", { short: "o", join: (before, now) => `${before},${now}` }),
};

function parse(args: readonly string[], env: Record<string, string> = {}) {
  const parsed = parseArguments(args.map(argument), options, env);
  return { ...parsed, operands: parsed.operands.map((operand) => operand.text) };
}

describe("parseArguments", () => {
  test("takes options before, between and behind operands", () => {
    const parsed = parse(["-r", "a", "--mode", "755", "b", "-p"]);
    expect(parsed.operands).toEqual(["a", "b"]);
    expect(parsed.options).toMatchObject({ recursive: true, preserve: true, mode: 0o755 });
    expect([...parsed.typed]).toEqual(["recursive", "mode", "preserve"]);
  });

  test("reads letters in a cluster, the last of which may take the rest as its value", () => {
    expect(parse(["-rp"]).options).toMatchObject({ recursive: true, preserve: true });
    expect(parse(["-rm0644"]).options).toMatchObject({ recursive: true, mode: 0o644 });
    expect(parse(["-rm", "0644"]).options).toMatchObject({ recursive: true, mode: 0o644 });
  });

  test("reads --name=value, also an empty tail of a text with = in it", () => {
    expect(parse(["--block-size=64K"]).options.blockSize).toBe(65_536);
    expect(parse(["--name=a=b"]).options.name).toBe("a=b");
  });

  test("takes a value that begins with a dash, and does not take - or numbers for anything else", () => {
    const parsed = parse(["--name", "-r", "-", "007", "-n", "0x10"]);
    expect(parsed.options.name).toBe("0x10");
    expect(parsed.options.recursive).toBe(false);
    expect(parsed.operands).toEqual(["-", "007"]);
    expect(parse(["-n", "-r"]).options.name).toBe("-r");
  });

  test("takes long options with one dash where a command has them so, and then no clusters", () => {
    const style = { singleDash: true };
    const args = ["-name", "-7", "-recursive", "a", "-m755", "-p"].map(argument);
    expect(() => parseArguments(args, options, {}, style)).toThrow("unknown option --m755");
    args.splice(4, 1);
    const parsed = parseArguments(args, options, {}, style);
    expect(parsed.options).toMatchObject({ name: "-7", recursive: true, preserve: true });
    expect(parsed.operands.map((operand) => operand.text)).toEqual(["a"]);
    expect(() => parse(["-name"])).not.toThrow(); // -n with the value "ame"
  });

  test("takes everything behind -- as operands", () => {
    const parsed = parse(["a", "--", "-r", "--", "--nonsense"]);
    expect(parsed.operands).toEqual(["a", "-r", "--", "--nonsense"]);
    expect(parsed.options.recursive).toBe(false);
  });

  test("the last of several values counts", () => {
    expect(parse(["--replicas", "2", "--replicas=3"]).options.replicas).toBe(3);
  });

  test("several values are joined where the option says how; those typed replace the environment's", () => {
    expect(parse(["-o", "a", "-ob", "--lists=c"]).options.lists).toBe("a,b,c");
    expect(parse(["-o", "a", "-o", "b"], { DFS_LISTS: "z" }).options.lists).toBe("a,b");
    expect(parse([], { DFS_LISTS: "z" }).options.lists).toBe("z");
  });

  test("asks for help with -h and --help, anywhere before --", () => {
    expect(parse(["a", "--help"]).help).toBe(true);
    expect(parse(["-rh"]).help).toBe(true);
    expect(parse(["--", "--help"]).help).toBe(false);
  });

  const wrong: readonly (readonly [args: string[], message: string])[] = [
    [["--recusive"], "unknown option --recusive\ndid you mean --recursive?"],
    [["--xyzzy"], "unknown option --xyzzy"],
    [["-x"], "unknown option -x"],
    [["-rx"], "unknown option -x (in -rx)"],
    [["--recursive=1"], "--recursive takes no value"],
    [["--mode"], "--mode needs a value: --mode <mode>"],
    [["-m"], "-m needs a value: -m <mode>"],
    [["--mode", "9"], "--mode 9: expected permission bits in octal, such as 755"],
    [["--replicas", "9"], "--replicas 9: expected a whole number from 1 to 8"],
    [["--\u001b[2J"], "unknown option --\\x1b[2J"],
  ];
  test.each(wrong)("refuses %j", (args, message) => {
    expect(() => parse(args)).toThrow(message);
  });

  test("an option that is not typed comes from the environment", () => {
    const env = { DFS_RECURSIVE: "1", DFS_BLOCK_SIZE: "8", DFS_OTHER_NAME: "x", DFS_NAME: "y" };
    const parsed = parse([], env);
    expect(parsed.options).toMatchObject({ recursive: true, blockSize: 8, name: "x" });
    expect(parsed.typed.size).toBe(0);
    expect(parse(["--block-size", "16"], env).options.blockSize).toBe(16);
  });

  test("a flag in the environment may say no, and an empty value is none", () => {
    const env = { DFS_RECURSIVE: "0", DFS_PRESERVE: "Yes", DFS_BLOCK_SIZE: "" };
    expect(parse([], env).options).toMatchObject({ recursive: false, preserve: true });
    expect(parse([], env).options.blockSize).toBeUndefined();
  });

  test("a wrong value in the environment is refused by the variable's name", () => {
    expect(() => parse([], { DFS_RECURSIVE: "perhaps" })).toThrow(
      "DFS_RECURSIVE=perhaps: give 1 or 0",
    );
    expect(() => parse([], { DFS_REPLICAS: "many" })).toThrow("DFS_REPLICAS=many: expected");
  });

  test("a hundred thousand operands are read in no time", () => {
    const many = Array.from({ length: 100_000 }, (_, index) => `file-${index}`);
    expect(parse(many).operands).toHaveLength(many.length);
  });
});

// If one of these fails because cac has changed, its parser may have become good enough to use.
describe("the parser of cac, which is why we have our own,", () => {
  function parsedByCac(args: readonly string[]) {
    const cli = cac("dfs");
    cli
      .command("put [...paths]", "")
      .option("-m, --mode <mode>", "")
      .action(() => undefined);
    return cli.parse(["bun", "dfs", "put", ...args], { run: false });
  }

  test("turns texts into numbers", () => {
    expect(parsedByCac(["--mode", "0755"]).options["mode"]).toBe(755);
  });

  test("lets - swallow the operand behind it", () => {
    expect(parsedByCac(["-", "name"]).args).toEqual([]);
  });

  test("does not count what stands behind -- as operands", () => {
    expect(parsedByCac(["a", "--", "-b"]).args).toEqual(["a"]);
  });

  test("takes a value that begins with a dash for an option", () => {
    expect(parsedByCac(["--mode", "-1"]).options["mode"]).toBe(true);
  });
});
