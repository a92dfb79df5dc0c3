/**
 * The chain of reigns, which tells a database apart from older copies of itself.
 *
 * Each start begins a reign: a random id and the log sequence number (LSN) at which it began, that is the last one of
 * the reign before. Data servers remember the newest (reign, LSN) that they have been told, and ask for the end of that
 * reign before they serve again. When a database was put back from an older copy, its next start began a reign of its
 * own at an earlier LSN: the end of the remembered reign then lies before what the data server has seen, or the reign is
 * not in the chain at all.
 */
import { lsn as lsnOf, reignId, type Lsn, type ReignId } from "../../base/ids.ts";
import type { Random } from "../../base/random.ts";
import { LSN_COUNTER } from "./group-commit.ts";
import type { Reign } from "./store/rows.ts";
import { ask, type Operation } from "./store/store.ts";

/** Begins a reign. To be run in a transaction of its own before anything else is, and made durable. */
export function* beginReign(random: Random): Operation<Reign> {
  const before = yield* ask("reign.last");
  const startLsn = yield* ask("counter.get", LSN_COUNTER);
  const reign: Reign = {
    number: (before?.number ?? 0n) + 1n,
    reign: reignId(random.id64()),
    startLsn: lsnOf(startLsn),
  };
  yield* ask("reign.insert", reign);
  yield* ask("counter.put", LSN_COUNTER, startLsn + 1n);
  return reign;
}

/**
 * The LSN at which a reign of this database ended, `current` for the one that goes on, undefined for one that this
 * database knows nothing of.
 */
export function* endOfReign(reign: ReignId, current: Lsn): Operation<Lsn | undefined> {
  const found = yield* ask("reign.find", reign);
  if (found === undefined) return undefined;
  const next = yield* ask("reign.next", found.number);
  return next?.startLsn ?? current;
}
