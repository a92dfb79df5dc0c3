/**
 * Tables for people: aligned columns, a head line in bold on a terminal.
 */
import { bold } from "./colours.ts";
import { outputColumns } from "./terminal.ts";

export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
}

/**
 * The lines of a table. The last column is not padded. Cells must have been escaped. Where a terminal is too narrow for
 * them, each row takes several lines, one for each cell.
 */
export function tableLines(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  room = outputColumns(),
): string[] {
  const widths = columns.map((column, index) =>
    Math.max(Bun.stringWidth(column.title), ...widthsOf(rows, index)),
  );
  const head = bold(
    aligned(
      columns,
      widths,
      columns.map((column) => column.title),
    ),
  );
  const lines = [head, ...rows.map((row) => aligned(columns, widths, row))];
  const isTooWide = room !== undefined && lines.some((line) => Bun.stringWidth(line) > room);
  return isTooWide && rows.length > 0 ? stacked(columns, rows) : lines;
}

/** Each row as lines of title and cell, below the first of them. */
function stacked(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const widest = Math.max(...columns.map(({ title }) => Bun.stringWidth(title)));
  return rows.flatMap((row) =>
    columns.flatMap(({ title }, index) => {
      const cell = row[index] ?? "";
      if (index === 0) return [`${bold(title)} ${cell}`];
      return cell === ""
        ? []
        : [`  ${bold(title)}${" ".repeat(widest - Bun.stringWidth(title))}  ${cell}`];
    }),
  );
}

/** Cells in columns of the given widths, two spaces apart. */
export function aligned(
  columns: readonly Pick<Column, "align">[],
  widths: readonly number[],
  cells: readonly string[],
): string {
  const padded = cells.map((cell, index) => {
    const room = " ".repeat(Math.max(0, (widths[index] ?? 0) - Bun.stringWidth(cell)));
    if (columns[index]?.align === "right") return room + cell;
    return index === cells.length - 1 ? cell : cell + room;
  });
  const line = padded.join("  ");
  return cells.at(-1) === "" ? line.trimEnd() : line;
}

/** The width of each row's cell `index`, without making an argument list of a hundred thousand of them. */
function widthsOf(rows: readonly (readonly string[])[], index: number): number[] {
  let widest = 0;
  for (const row of rows) widest = Math.max(widest, Bun.stringWidth(row[index] ?? ""));
  return [widest];
}
