/**
 * The service of names and content: each message of a client's session is bound to its operation and to the way in which
 * that is run.
 *
 * - A question sees everything committed, and is answered when what it saw is durable.
 * - A change is executed once, under its session and operation number, and answered when it is durable. One that is vital is
 *   also made on a full disk.
 * - A change that makes a file grow of which a long tail has just been cut off waits until that is removed, and so does what the
 *   same connection asks of that file later (cutting.ts).
 * - `open` and `release` are written but not waited for: they matter only while the session lives, and a client that
 *   resumes its session says again what it has open.
 */
import type { InodeId, Lsn, SessionId } from "../../base/ids.ts";
import type { Peer } from "../../protocol/peer.ts";
import type { HandlerTable } from "../../protocol/endpoint.ts";
import type { MutationHead, RequestDefinition } from "../../protocol/message.ts";
import { lockGet, lockRelease, lockSet } from "../../protocol/messages/locks.ts";
import * as content from "../../protocol/messages/content.ts";
import * as names from "../../protocol/messages/namespace.ts";
import { Changes, watched } from "./changes.ts";
import type { ClientNotices } from "./client-notices.ts";
import { CutWaits } from "./cutting.ts";
import type { Engine } from "./engine.ts";
import { getLock, releaseLocks, setLock } from "./locks/operations.ts";
import * as operations from "./namespace/operations.ts";
import { executeOnce, liveSession, type OperationContext } from "./namespace/operations.ts";
import type { Sessions } from "./sessions.ts";
import type { Operation } from "./store/store.ts";

type Ask<Request, Reply> = (context: OperationContext, body: Request) => Operation<Reply>;

/** Registers the handlers of all namespace, lock and content messages but `statfs`. */
export function serveNamespace(
  table: HandlerTable,
  engine: Engine,
  sessions: Sessions,
  notices: ClientNotices,
): void {
  const serve = new Server(table, engine, sessions, notices);
  serve.question(names.resolve, operations.resolve);
  serve.question(names.lookup, operations.lookup);
  serve.question(names.getattr, operations.getattr);
  serve.question(names.readdir, operations.readdir);
  serve.question(names.readlink, operations.readlink);
  serve.question(names.xattrGet, operations.xattrGet);
  serve.question(names.xattrList, operations.xattrList);
  serve.question(names.map, operations.map);
  serve.lazy(names.open, operations.open);
  serve.lazy(names.release, operations.release);
  serve.lazy(names.accessed, operations.accessed);
  serve.change(names.create, operations.create);
  serve.change(names.mkdir, operations.mkdir);
  serve.change(names.symlink, operations.symlink);
  serve.change(names.mknod, operations.mknod);
  serve.change(names.link, operations.link);
  serve.vital(names.unlink, operations.unlink);
  serve.vital(names.rmdir, operations.rmdir);
  serve.change(names.rename, operations.rename);
  serve.change(names.setattr, operations.setattr);
  serve.change(names.xattrSet, operations.xattrSet);
  serve.vital(names.xattrRemove, operations.xattrRemove);
  serve.question(lockGet, getLock);
  serve.change(lockSet, setLock);
  serve.vital(lockRelease, releaseLocks);
  serve.change(content.reserve, operations.reserve);
  serve.change(content.commit, operations.commit);
  serve.change(content.nameless, operations.nameless);
  serve.change(content.place, operations.place);
  serve.change(content.put, operations.put);
  serve.change(content.punch, operations.punch);
  serve.change(content.clone, operations.clone);
}

/** The context of an operation that is executed now on behalf of a session. */
export function operationContext(
  engine: Engine,
  sessions: Sessions,
  session: SessionId,
): OperationContext {
  const { settings, idSource: ids } = engine;
  return { ...sessions.moment, session, settings, ids };
}

class Server {
  private readonly table: HandlerTable;
  private readonly engine: Engine;
  private readonly sessions: Sessions;
  private readonly notices: ClientNotices;
  private readonly cutWaits: CutWaits;

  constructor(table: HandlerTable, engine: Engine, sessions: Sessions, notices: ClientNotices) {
    this.table = table;
    this.engine = engine;
    this.sessions = sessions;
    this.notices = notices;
    this.cutWaits = new CutWaits(engine);
  }

  question<Request extends object, Reply>(
    definition: RequestDefinition<Request, Reply>,
    operation: Ask<Request, Reply>,
  ): void {
    const { engine, sessions, notices } = this;
    this.table.onRequest(definition, async ({ peer, body }) => {
      const session = sessions.of(peer);
      const run = (): Operation<Reply> => {
        const asked = operation(operationContext(engine, sessions, session), body);
        return notices.watches(session) ? watched(asked, notices.changesOf(session)) : asked;
      };
      const reply = await this.cutWaits.run(
        peer,
        () => filesOf(body),
        (inTurn) => engine.question(() => inTurn(run()), peer),
      );
      return { body: reply };
    });
  }

  lazy<Request extends object, Reply>(
    definition: RequestDefinition<Request, Reply>,
    operation: Ask<Request, Reply>,
  ): void {
    const { engine, sessions, notices } = this;
    this.table.onRequest(definition, async ({ peer, body }) => {
      const session = sessions.of(peer);
      let changes = new Changes();
      const run = function* (): Operation<Reply> {
        sessions.checkBound(peer, session);
        yield* liveSession({ session });
        changes = notices.changesOf(session);
        const context = operationContext(engine, sessions, session);
        return yield* watched(operation(context, body), changes);
      };
      const reply = await this.cutWaits.run(
        peer,
        () => filesOf(body),
        (inTurn) => engine.lazy(() => inTurn(run()), peer),
      );
      notices.publish(changes, session);
      return { body: reply };
    });
  }

  change<Request extends MutationHead, Reply extends { lsn: Lsn }>(
    definition: RequestDefinition<Request, Reply>,
    operation: Ask<Request, Omit<Reply, "lsn">>,
  ): void {
    this.once(definition, operation, (run, peer) => this.engine.change(run, peer));
  }

  vital<Request extends MutationHead, Reply extends { lsn: Lsn }>(
    definition: RequestDefinition<Request, Reply>,
    operation: Ask<Request, Omit<Reply, "lsn">>,
  ): void {
    this.once(definition, operation, (run, peer) => this.engine.vital(run, peer));
  }

  private once<Request extends MutationHead, Reply extends { lsn: Lsn }>(
    definition: RequestDefinition<Request, Reply>,
    operation: Ask<Request, Omit<Reply, "lsn">>,
    execute: (run: (lsn: Lsn) => Operation<Reply>, peer: Peer) => Promise<Reply>,
  ): void {
    const { engine, sessions, notices } = this;
    this.table.onRequest(definition, async ({ peer, body }) => {
      const session = sessions.of(peer);
      let changes = new Changes();
      const run = function* (lsn: Lsn): Operation<Reply> {
        sessions.checkBound(peer, session);
        const context = operationContext(engine, sessions, session);
        changes = notices.changesOf(session);
        const done = yield* executeOnce(context, body, definition, () =>
          watched(operation(context, body), changes),
        );
        return { ...done, lsn } as Reply;
      };
      const reply = await this.cutWaits.run(
        peer,
        () => filesOf(body),
        (inTurn) => execute((lsn) => inTurn(run(lsn)), peer),
      );
      notices.publish(changes, session);
      return { body: reply };
    });
  }
}

/** The inodes that a request names by their numbers. */
function filesOf(body: object): InodeId[] {
  const { inode, source, inodes } = body as {
    readonly inode?: InodeId;
    readonly source?: InodeId;
    readonly inodes?: readonly InodeId[];
  };
  return [inode, source, ...(inodes ?? [])].filter((each) => each !== undefined);
}
