/**
 * Owners as chown(1) takes them: `OWNER`, `OWNER:GROUP`, `OWNER:` (with the group of that user), `:GROUP`. Names are those of
 * this machine; numbers are taken where no name is the same, and always behind a `+`.
 */
import { DfsError } from "../../base/errors.ts";
import { groupNumbers, userNumbers } from "./owners.ts";
import { printable } from "./text.ts";

/** Numbers are of 32 bits; the largest one means "none" to the system. */
const MOST = 2 ** 32 - 2;

/** What is to be changed. */
export interface OwnerWish {
  readonly uid?: number;
  readonly gid?: number;
}

/** @throws DfsError `usage` that says what is wrong, for a name that this machine does not know too. */
export function parseOwnerWish(text: string): OwnerWish {
  const colon = text.indexOf(":");
  const user = colon < 0 ? text : text.slice(0, colon);
  const group = colon < 0 ? undefined : text.slice(colon + 1);
  if (user === "" && (group === undefined || group === "")) {
    throw new DfsError("usage", "an owner is needed: OWNER, OWNER:GROUP or :GROUP");
  }
  const uid = user === "" ? undefined : userOf(user);
  const gid = group === undefined ? undefined : group === "" ? groupOfUser(user) : groupOf(group);
  return { ...(uid === undefined ? {} : { uid }), ...(gid === undefined ? {} : { gid }) };
}

function userOf(text: string): number {
  const known = text.startsWith("+") ? undefined : userNumbers(text)?.uid;
  return known ?? numberOf(text) ?? unknown("user", text);
}

function groupOf(text: string): number {
  const known = text.startsWith("+") ? undefined : groupNumbers(text);
  return known ?? numberOf(text) ?? unknown("group", text);
}

function groupOfUser(user: string): number {
  const known = userNumbers(user);
  if (known !== undefined) return known.gid;
  throw new DfsError(
    "usage",
    `this machine does not know the group of user ${printable(user)}\nname one: OWNER:GROUP`,
  );
}

function numberOf(text: string): number | undefined {
  const number = /^\+?\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  return number <= MOST ? number : undefined;
}

function unknown(what: string, text: string): never {
  throw new DfsError(
    "usage",
    `this machine knows no ${what} ${printable(text)}\ngive a name from /etc/${what === "user" ? "passwd" : "group"}, or a number up to ${MOST}`,
  );
}
