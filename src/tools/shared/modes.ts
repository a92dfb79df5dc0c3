/**
 * Permission bits as chmod(1) takes them: octal (`755`), or clauses such as `u+rwX,g=r,o-w,a=u`.
 *
 * The set-id bits of a directory stay unless they are named: by `s`, or in octal of five digits or behind a sign.
 */
import { DfsError } from "../../base/errors.ts";

const ALL = 0o7777;
const SET_ID = 0o6000;
const STICKY = 0o1000;
const READ = 0o444;
const WRITE = 0o222;
const EXECUTE = 0o111;

/** The bits that each letter in front of a sign means. */
const WHO: Readonly<Record<string, number>> = { u: 0o4700, g: 0o2070, o: 0o1007, a: ALL };
const PERMISSIONS: Readonly<Record<string, number>> = {
  r: READ,
  w: WRITE,
  x: EXECUTE,
  s: SET_ID,
  t: STICKY,
  X: 0,
};

const OCTAL = /^[0-7]{1,12}$/;
const CLAUSE = /^([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)$/;
const OCTAL_CLAUSE = /^([-+=])([0-7]{1,12})$/;
const ACTION = /([-+=])([ugo]|[rwxXst]*)/g;

/** One step from old bits to new ones. */
interface Action {
  readonly sign: string;
  /** The bits that it is about; 0: all that the umask lets pass. */
  readonly who: number;
  readonly bits: number;
  /** Execution is meant for directories, and for what somebody may execute already. */
  readonly executeIfAny: boolean;
  /** The class whose permissions are copied. */
  readonly copyOf: string | undefined;
  /** Bits that are named: of set-id bits of directories, only these are changed. */
  readonly named: number;
}

/** A change of permission bits. */
export type ModeChange = readonly Action[];

/** @throws DfsError `usage` whose message says what was expected. */
export function parseModeChange(text: string): ModeChange {
  if (OCTAL.test(text)) {
    const bits = octal(text);
    const named = text.length > 4 ? ALL : (bits & SET_ID) | (ALL & ~SET_ID);
    return [actionOf("=", ALL, bits, named)];
  }
  const clauses = text.split(",");
  return clauses.flatMap((clause) => {
    const [, sign, digits] = OCTAL_CLAUSE.exec(clause) ?? [];
    if (sign !== undefined) return [actionOf(sign, ALL, octal(digits ?? ""), ALL)];
    const [, who, actions] = CLAUSE.exec(clause) ?? [];
    if (actions === undefined) throw notUnderstood();
    return actionsOf(who ?? "", actions);
  });
}

function actionsOf(letters: string, actions: string): Action[] {
  const who = bitsNamed(WHO, letters);
  return Array.from(actions.matchAll(ACTION), ([, sign = "", what = ""]) => {
    if (/^[ugo]$/.test(what)) return { ...actionOf(sign, who, 0, 0), copyOf: what };
    const bits = bitsNamed(PERMISSIONS, what);
    const named = who === 0 ? bits : bits & who;
    return { ...actionOf(sign, who, bits, named), executeIfAny: what.includes("X") };
  });
}

/** The bits of all these letters. */
function bitsNamed(table: Readonly<Record<string, number>>, letters: string): number {
  return letters.split("").reduce((bits, letter) => bits | (table[letter] ?? 0), 0);
}

function actionOf(sign: string, who: number, bits: number, named: number): Action {
  return { sign, who, bits, named, executeIfAny: false, copyOf: undefined };
}

function octal(digits: string): number {
  const bits = Number.parseInt(digits, 8);
  return bits <= ALL ? bits : notUnderstoodOctal();
}

/** The bits that `mode` becomes; `umask` holds back what a clause without u, g, o or a would give. */
export function changedMode(
  change: ModeChange,
  mode: number,
  isDirectory: boolean,
  umask: number,
): number {
  return change.reduce((now, action) => applied(action, now, isDirectory, umask), mode);
}

function applied(action: Action, mode: number, isDirectory: boolean, umask: number): number {
  const { sign, who } = action;
  const kept = isDirectory ? SET_ID & ~action.named : 0;
  const reach = (who === 0 ? ALL & ~umask : who) & ~kept;
  const bits = bitsOf(action, mode, isDirectory) & reach;
  if (sign === "+") return mode | bits;
  if (sign === "-") return mode & ~bits;
  const untouched = (who === 0 ? 0 : ALL & ~who) | kept;
  return (mode & untouched) | bits;
}

function bitsOf(action: Action, mode: number, isDirectory: boolean): number {
  if (action.copyOf !== undefined) {
    const shift = { u: 6, g: 3, o: 0 }[action.copyOf] ?? 0;
    return ((mode >> shift) & 0o7) * EXECUTE; // the same for user, group and others
  }
  const executes = action.executeIfAny && (isDirectory || (mode & EXECUTE) !== 0);
  return action.bits | (executes ? EXECUTE : 0);
}

function notUnderstood(): DfsError {
  return new DfsError("usage", "expected a mode, such as 755, u+x, go-w, a=rX or u=rw,go=r");
}

function notUnderstoodOctal(): never {
  throw new DfsError("usage", "expected a mode of at most 7777 in octal");
}
