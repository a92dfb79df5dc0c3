/**
 * A drill: stores files, plays faults one after the other, and looks after each whether everything is as it has to be.
 *
 *     for each fault:  play it ─► read everything, judge ─► heal ─► wait for three verified copies ─► read everything, judge
 *
 * What is not as expected is told and counted, and the drill goes on: files that could not be read then are stored again, so
 * that the next fault is judged on its own.
 */
import { isDfsError, messageOf } from "../../base/errors.ts";
import { seededRandom } from "../../base/random.ts";
import { fsckErrors } from "./copies.ts";
import { inParallel } from "./parallel.ts";
import { judge, layoutOf, readAll, verdictText, type Laid, type Verdict } from "./reading.ts";
import { type Fault, type Played, type Stage } from "./stage.ts";
import { untilQuiet, untilWhole, type Healing } from "./whole.ts";

/** For how long to wait until everything has its copies again. */
const PATIENCE_MS = 60_000;
const PUTS_AT_ONCE = 4;

/** One line of the report. */
export interface DrillRow {
  readonly fault: string;
  readonly expected: string;
  readonly observed: string;
  readonly problems: readonly string[];
  /** From when healing began until everything had its verified copies; undefined when that did not come. */
  readonly healedMs: number | undefined;
}

export interface DrillPlan {
  readonly faults: readonly Fault[];
  readonly seed: number;
  /** Of the files to begin with, in all. */
  readonly totalBytes: number;
  /** What is being done, for a display. */
  readonly onStep: (step: string) => void;
  /** A fault was played. */
  readonly onRow: (row: DrillRow) => Promise<void>;
}

type Around = Omit<Stage, "random">;

/** Plays a drill. @throws DfsError when the cluster cannot be used at all; the signal's reason. */
export async function playDrill(around: Around, plan: DrillPlan): Promise<void> {
  const { faults, seed, totalBytes, onStep, onRow } = plan;
  const stageOf = (number: number): Stage => ({ ...around, random: seededRandom(seed + number) });
  onStep("storing files");
  const first = stageOf(0);
  await first.connections.with((client) =>
    inParallel(around.files.first(totalBytes, first.random), PUTS_AT_ONCE, (file) =>
      around.files.put(client, file),
    ),
  );
  for (const [index, fault] of faults.entries()) {
    const step = (what: string): void => onStep(`${fault.name}: ${what}`);
    await onRow(await playFault(stageOf(index + 1), fault, step));
  }
  onStep("fsck");
  await onRow(await lastCheck(stageOf(0)));
}

/** Plays one fault. What is not as expected is in the row. @throws the signal's reason. */
async function playFault(
  stage: Stage,
  fault: Fault,
  step: (what: string) => void,
): Promise<DrillRow> {
  const trial = new Trial(stage);
  const { name, expected } = fault;
  let healedMs: number | undefined;
  await trial.attempt(async () => {
    const laid = await trial.layout();
    step("breaking");
    const played = await fault.play(stage, laid);
    if (played.observed !== undefined) trial.observed.push(played.observed);
    step("reading");
    trial.take(await trial.read(laid, played.unreadable));
    const { meanwhile } = played;
    if (meanwhile !== undefined) {
      await trial.attempt(async () => void trial.observed.push(await meanwhile()));
    }
    step("healing");
    healedMs = await heal(trial, played);
    step("reading again");
    await trial.readHealed();
  });
  if (trial.problems.length > 0) await setRight(trial);
  return { fault: name, expected, observed: trial.text, problems: trial.problems, healedMs };
}

/** Has the cluster heal; returns how long it took. */
async function heal(trial: Trial, { heal: begin, after }: Played): Promise<number> {
  const { stage } = trial;
  const startMs = performance.now();
  await begin();
  await trial.whole();
  const healedMs = performance.now() - startMs;
  await after?.();
  if (stage.own !== undefined) await trial.quiet();
  if (after !== undefined) await trial.whole();
  return healedMs;
}

/** After something that was not as expected: servers run, and files are stored anew where they cannot be read. */
async function setRight(trial: Trial): Promise<void> {
  const { stage } = trial;
  try {
    await stage.own?.startMissing();
    await stage.connections.with(async (client) => {
      for (const file of stage.files.stored) {
        const laid = await layoutOf(client, [file]).catch((): Laid[] => [{ file, rows: [] }]);
        const { problems } = judge(await readAll(client, laid), new Set());
        if (problems.length > 0) await stage.files.put(client, file);
      }
    });
    await trial.whole();
  } catch (error) {
    stage.signal.throwIfAborted();
    trial.problems.push(`it could not be set right for the next fault: ${messageOf(error)}`);
  }
}

/** What is observed of one fault. */
class Trial {
  readonly stage: Stage;
  readonly observed: string[] = [];
  readonly problems: string[] = [];

  constructor(stage: Stage) {
    this.stage = stage;
  }

  get text(): string {
    return this.observed.join(", ");
  }

  /** Does `work`; an error is a problem and ends nothing else. @throws the signal's reason. */
  async attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.stage.signal.throwIfAborted();
      const kind = isDfsError(error) ? "" : "unexpected error: ";
      this.problems.push(kind + messageOf(error));
    }
  }

  layout(): Promise<Laid[]> {
    return this.stage.connections.with((client) => layoutOf(client, this.stage.files.stored));
  }

  /** Reads everything with a new client, as a command does. */
  async read(laid: readonly Laid[], unreadable: ReadonlySet<string>): Promise<Verdict> {
    return judge(await this.stage.connections.with((client) => readAll(client, laid)), unreadable);
  }

  take(verdict: Verdict): void {
    this.observed.push(verdictText(verdict));
    this.problems.push(...verdict.problems);
  }

  /** Reads everything when it has been healed: all of it has to be right. */
  async readHealed(): Promise<void> {
    const { problems } = await this.read(await this.layout(), new Set());
    this.problems.push(...problems.map((problem) => `after healing: ${problem}`));
  }

  /** Waits until everything has its verified copies. @throws DfsError `timeout`. */
  whole(): Promise<void> {
    return this.#healed(untilWhole);
  }

  /** Waits until nothing is left to repair. @throws DfsError `timeout`. */
  quiet(): Promise<void> {
    return this.#healed(untilQuiet);
  }

  #healed(until: (healing: Healing) => Promise<void>): Promise<void> {
    const { connections, signal, files } = this.stage;
    return connections.with((client) =>
      until({ client, files: files.stored, signal, patienceMs: PATIENCE_MS }),
    );
  }
}

/** After all faults: everything is read on its server once more, and the record is checked. */
async function lastCheck(stage: Stage): Promise<DrillRow> {
  const trial = new Trial(stage);
  await trial.attempt(async () => {
    const errors = await stage.connections.with((client) => fsckErrors(client, stage, true));
    trial.observed.push(errors.length === 0 ? "no errors" : `${errors.length} errors`);
    trial.problems.push(...errors.map((error) => `fsck: ${error}`));
  });
  const { text: observed, problems } = trial;
  return { fault: "in the end", expected: "fsck finds no errors", observed, problems, healedMs: 0 };
}
