/**
 * Tables for people: aligned columns, a head line in bold on a terminal.
 */
import { bold } from "./colours.ts";

export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
}

/** The lines of a table. The last column is not padded. Cells must have been escaped. */
export function tableLines(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
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
  return [head, ...rows.map((row) => aligned(columns, widths, row))];
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
