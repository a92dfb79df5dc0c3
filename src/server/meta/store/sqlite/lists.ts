/** Statements that name a list of ids: one statement for up to 256 of them. */
import type { Database, SQLQueryBindings } from "bun:sqlite";

/**
 * Lengths of lists that there are statements for; the rest of a list is filled up with NULL, which is equal to nothing. Lists
 * as parameters, because SQLite takes twice the time to get them out of JSON (3.54.1, 256 rows by primary key).
 */
const LENGTHS = [1, 16, 256] as const;
const LONGEST = 256;

export class ListStatement<Row> {
  private readonly statements;

  /** `sql` is given the text of the list, with its parentheses. */
  constructor(database: Database, sql: (list: string) => string) {
    this.statements = LENGTHS.map((length) => {
      const list = `(${Array.from({ length }, () => "?").join(",")})`;
      return { length, statement: database.prepare<Row, SQLQueryBindings[]>(sql(list)) };
    });
  }

  /** Rows for all of the ids: those for 256 of them behind those for the 256 before. */
  all(ids: readonly (bigint | number)[]): Row[] {
    const parts = this.parts(ids).map(({ statement, list }) => statement.all(...list));
    return parts.length === 1 ? parts[0]! : parts.flat();
  }

  /** Values of other parameters stand before and behind the list. Returns how many rows were changed. */
  run(
    ids: readonly (bigint | number)[],
    before: readonly (bigint | number)[] = [],
    behind: readonly (bigint | number)[] = [],
  ): number {
    let changes = 0;
    for (const { statement, list } of this.parts(ids)) {
      changes += statement.run(...before, ...list, ...behind).changes;
    }
    return changes;
  }

  private parts(ids: readonly (bigint | number)[]) {
    const parts = [];
    for (let from = 0; from < ids.length; from += LONGEST) {
      const list: (bigint | number | null)[] = ids.slice(from, from + LONGEST);
      const { length, statement } = this.statements.find((each) => list.length <= each.length)!;
      while (list.length < length) list.push(null);
      parts.push({ statement, list });
    }
    return parts;
  }
}
