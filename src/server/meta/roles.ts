/** Who may send what: roles are those of the hello. */
import { DfsError } from "../../base/errors.ts";
import type { Peer, Role } from "../../protocol/peer.ts";

/** @throws DfsError `protocol` when the peer said another role in its hello. */
export function requireRole(peer: Peer, role: Role): void {
  if (peer.identity.role === role) return;
  throw new DfsError(
    "protocol",
    `only a ${role} may send this, and the hello of this connection said ${peer.identity.role}`,
  );
}
