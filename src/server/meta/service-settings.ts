/**
 * How the service judges silence, repairs and backs up.
 *
 * What is asked for at a start is kept in the database (table `meta`, one key each), and holds at later starts until something
 * else is asked for. What was never asked for is the default of the build, and is not kept.
 */
import { DfsError } from "../../base/errors.ts";
import { SERVICE_DEFAULTS } from "../../base/service-defaults.ts";
import type { ServiceSettings } from "../../protocol/messages/cluster.ts";
import { ask, type Operation } from "./store/store.ts";

const NAMES = Object.keys(SERVICE_DEFAULTS) as (keyof ServiceSettings)[];

/**
 * The settings of a start: what is wished for, which is kept from now on, else what was kept, else the default.
 * @throws DfsError `invalid` when what was kept is not a number.
 */
export function* serviceSettings(wish: Partial<ServiceSettings>): Operation<ServiceSettings> {
  const settings: { -readonly [Name in keyof ServiceSettings]: number } = { ...SERVICE_DEFAULTS };
  for (const name of NAMES) {
    const kept = yield* keptSetting(name);
    const wished = wish[name];
    if (wished !== undefined && wished !== kept) yield* ask("meta.put", name, String(wished));
    settings[name] = wished ?? kept ?? settings[name];
  }
  return settings;
}

function* keptSetting(name: keyof ServiceSettings): Operation<number | undefined> {
  const text = yield* ask("meta.get", name);
  if (text === undefined) return undefined;
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  throw new DfsError(
    "invalid",
    `the metadata database is damaged: its ${name} is ${JSON.stringify(text)}, which is no number`,
  );
}
