/**
 * Errors on the wire: the kind's number is the frame's code, the body is [message, [[key, value], ...]].
 */
import {
  DfsError,
  ERROR_KINDS,
  errorKindOf,
  isDfsError,
  type ErrorDetails,
} from "../base/errors.ts";
import type { Item } from "./schema.ts";

/** Longest message and longest text among the details, in UTF-16 units; what is longer is cut by the sender. */
export const MAX_ERROR_TEXT = 4096;

/** Most details of an error; surplus ones are left out by the sender. */
export const MAX_ERROR_DETAILS = 32;

const UINT32_MAX = 2 ** 32 - 1;
const INT64_MAX = (1n << 63n) - 1n;

/** The code and body of the frame that carries `error`. Anything but a DfsError is told as `internal`. */
export function encodeError(error: unknown): { readonly code: number; readonly body: Item } {
  const known = isDfsError(error)
    ? error
    : new DfsError("internal", "internal error in the server; its log has the details");
  const details = Object.entries(known.details).slice(0, MAX_ERROR_DETAILS);
  return {
    code: ERROR_KINDS[known.kind],
    body: [
      shortText(known.message),
      details.map(([key, value]) => [shortText(key), itemOf(value)]),
    ],
  };
}

/**
 * The error that a frame with this code and decoded body carries.
 * @throws DfsError `protocol` when the body is not that of an error.
 */
export function decodeError(code: number, body: unknown): DfsError {
  if (!Array.isArray(body)) throw new DfsError("protocol", "the peer sent an error without a body");
  const [message, list] = body as unknown[];
  if (typeof message !== "string" || !Array.isArray(list)) {
    throw new DfsError("protocol", "the peer sent an error without message or details");
  }
  if (message.length > MAX_ERROR_TEXT || list.length > MAX_ERROR_DETAILS) {
    throw new DfsError("protocol", "the peer sent an error with more text or details than allowed");
  }
  const details: ErrorDetails = Object.fromEntries(list.map(detailOf));
  return new DfsError(errorKindOf(code), message, { details });
}

function detailOf(pair: unknown): [string, ErrorDetails[string]] {
  const [key, value] = Array.isArray(pair) ? (pair as unknown[]) : [];
  if (typeof key !== "string" || !isDetail(value)) {
    throw new DfsError("protocol", "the peer sent an error with a malformed detail");
  }
  return [key, value];
}

function isDetail(value: unknown): value is ErrorDetails[string] {
  return ["string", "number", "bigint", "boolean"].includes(typeof value);
}

/** The item for a detail. What the wire does not carry as a number travels as text. */
function itemOf(value: ErrorDetails[string]): Item {
  if (typeof value === "boolean") return value;
  if (typeof value === "string") return shortText(value);
  if (typeof value === "bigint") {
    return value >= -INT64_MAX - 1n && value <= INT64_MAX ? value : String(value);
  }
  if (!Number.isSafeInteger(value)) return String(value);
  return value >= 0 && value <= UINT32_MAX ? value : BigInt(value);
}

function shortText(text: string): string {
  const cut = text.length <= MAX_ERROR_TEXT ? text : `${text.slice(0, MAX_ERROR_TEXT - 3)}...`;
  return cut.toWellFormed();
}
