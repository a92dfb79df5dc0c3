/**
 * Help for a terminal that is narrower than its lines: prose is filled anew, rows of two columns go on below their second
 * one, and what is code stays as it is, however long.
 */

const DEFAULT_COLUMNS = 80;
/** On a narrower terminal nothing reads well; lines are left to wrap there. */
const LEAST_COLUMNS = 24;
/** A line of prose that is this long goes on in the next one; a shorter one ends a paragraph. */
const FULL_LINE = 96;
/** A second column that begins further to the right gets a line of its own below the first. */
const FARTHEST_COLUMN = 0.45;
const CONTINUED_INDENT = 4;

/** A term, two spaces or more, and what it means; the term may be indented. */
const ROW = /^(\s*\S+(?: \S+)*) {2,}(\S.*)$/;

/** What is to be pasted stays in one piece. */
const PASTED = /^\s+(\$ |dfs |tar |eval )/;

/** `text` in lines that fit, as far as they are prose or rows. */
export function wrapped(text: string, columns: number | undefined): string {
  const width = Math.max(LEAST_COLUMNS, columns ?? DEFAULT_COLUMNS);
  return paragraphs(text.split("\n"))
    .flatMap((line) => (line.length <= width ? [line] : broken(line, width)))
    .join("\n");
}

/** Joins lines of unindented prose that belong together, and rows with what goes on below their second column. */
function paragraphs(lines: readonly string[]): string[] {
  const joined: string[] = [];
  let isOpen = false;
  let column: number | undefined;
  for (const line of lines) {
    const isProse = /^\S/.test(line);
    const goesOn = isProse ? isOpen : column !== undefined && indentOf(line).length === column;
    if (goesOn) joined.push(`${joined.pop() ?? ""} ${line.trim()}`);
    else {
      joined.push(line);
      column = columnOf(line);
    }
    isOpen = isProse && line.length >= FULL_LINE;
  }
  return joined;
}

/** Where the second column of a row begins. */
function columnOf(line: string): number | undefined {
  const right = ROW.exec(line)?.[2];
  return right === undefined || right.startsWith("#") ? undefined : line.length - right.length;
}

function broken(line: string, width: number): string[] {
  const column = columnOf(line);
  const indent = indentOf(line);
  if (column === undefined) {
    return PASTED.test(line) ? [line] : filled(line.trim(), indent, indent, width);
  }
  const right = line.slice(column);
  if (column <= width * FARTHEST_COLUMN) {
    const [first = "", ...others] = filled(right, "", " ".repeat(column), width, width - column);
    return [line.slice(0, column) + first, ...others];
  }
  const below = indent + " ".repeat(CONTINUED_INDENT);
  const left = line.slice(0, column).trim();
  return [...filled(left, indent, below, width), ...filled(right, below, below, width)];
}

/** Words in lines of at most `width`; a word that is longer stands alone. */
function filled(
  text: string,
  firstIndent: string,
  indent: string,
  width: number,
  firstWidth = width,
): string[] {
  const lines: string[] = [];
  let line = "";
  const most = (): number =>
    lines.length === 0 ? firstWidth - firstIndent.length : width - indent.length;
  const push = (): number => lines.push((lines.length === 0 ? firstIndent : indent) + line);
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > most()) {
      push();
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  push();
  return lines;
}

function indentOf(line: string): string {
  return /^\s*/.exec(line)?.[0] ?? "";
}
