/**
 * Patterns for names, as fnmatch(3) has them without flags: `*` any text, `?` one character, `[a-z]` one of several, `[!a-z]`
 * one that is none of them, `\` takes the next character as it is. Slashes and leading dots are like any other character.
 *
 * Matching takes time in proportion to the lengths of pattern and text multiplied, whatever the pattern.
 */

/** Says whether it matches one character; `star` stands for any number of them. */
type Token = ((character: string) => boolean) | "star";

/** Makes a function that tells whether a text matches `pattern` as a whole. */
export function globMatcher(
  pattern: string,
  options: { readonly ignoreCase?: boolean } = {},
): (text: string) => boolean {
  const fold = (text: string): string => (options.ignoreCase ? text.toLowerCase() : text);
  const tokens = tokensOf(Array.from(fold(pattern)));
  return (text) => matches(tokens, Array.from(fold(text)));
}

/** After a mismatch the last star takes one character more; earlier stars never need to. */
function matches(tokens: readonly Token[], text: readonly string[]): boolean {
  let next = 0;
  let at = 0;
  let star: { readonly behind: number; at: number } | undefined;
  while (at < text.length) {
    const token = tokens[next];
    if (token === "star") {
      next++;
      star = { behind: next, at };
    } else if (token?.(text[at] ?? "")) {
      next++;
      at++;
    } else if (star !== undefined) {
      star.at++;
      at = star.at;
      next = star.behind;
    } else return false;
  }
  return tokens.slice(next).every((token) => token === "star");
}

function tokensOf(pattern: readonly string[]): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern[at] ?? "";
    const set = character === "[" ? setAt(pattern, at + 1) : undefined;
    if (character === "*") tokens.push("star");
    else if (character === "?") tokens.push(() => true);
    else if (set !== undefined) {
      tokens.push(set.token);
      at = set.end;
    } else {
      if (character === "\\" && at + 1 < pattern.length) at++;
      const wanted = pattern[at];
      tokens.push((each) => each === wanted);
    }
  }
  return tokens;
}

/** The set whose `[` stands before `start`, and where its `]` is; undefined when there is none, and `[` means itself. */
function setAt(
  pattern: readonly string[],
  start: number,
): { readonly token: Token; readonly end: number } | undefined {
  const isNegated = pattern[start] === "!" || pattern[start] === "^";
  const first = isNegated ? start + 1 : start;
  const ranges: [string, string][] = [];
  for (let at = first; at < pattern.length; at++) {
    if (pattern[at] === "]" && at > first) {
      const isIn = (each: string): boolean =>
        ranges.some(([low, high]) => low <= each && each <= high);
      return { token: (each) => isIn(each) !== isNegated, end: at };
    }
    if (pattern[at] === "\\" && at + 1 < pattern.length) at++;
    const low = pattern[at] ?? "";
    const hasEnd = pattern[at + 1] === "-" && at + 2 < pattern.length && pattern[at + 2] !== "]";
    if (hasEnd) at += 2;
    ranges.push([low, pattern[at] ?? low]);
  }
  return undefined;
}
