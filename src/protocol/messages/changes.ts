/**
 * What the metadata service tells clients of its own accord: something that they may have cached has changed. Codes 0x0313,
 * 0x0314 and 0x0316, to sessions that have asked for it (`session.watch`).
 *
 * Notices come when the change is durable. They are hints: one may get lost, and a client's own changes are not told to it.
 */
import { notice, nothing } from "../message.ts";
import { record, uint64 } from "../schema.ts";
import { inodeField, nameField } from "./common.ts";

/** Attributes of the inode have changed, and its content when the version is another one than the client knows. */
export const inodeChanged = notice(
  0x0313,
  "namespace.inodeChanged",
  record({
    inode: inodeField,
    /** Of the content now; 0 when the inode is gone. */
    version: uint64,
  }),
);

/** The name means something else now, or has come or gone. */
export const entryChanged = notice(
  0x0314,
  "namespace.entryChanged",
  record({ parent: inodeField, name: nameField }),
);

/** The service has lost sight of what the client may have cached: all of it may be out of date. */
export const everythingChanged = notice(0x0316, "namespace.everythingChanged", nothing);
