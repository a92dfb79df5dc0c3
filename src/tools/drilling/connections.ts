/**
 * The clients of a drill. Each step has a new one, as each command has; when the drill is interrupted all are closed, which
 * ends whatever they were waiting for.
 */
import type { ClientOptions, DfsClient } from "../../client/api.ts";

const CLOSE_TIMEOUT_MS = 1_000;

export class Connections {
  readonly #address: () => string;
  readonly #options: Omit<ClientOptions, "metaAddress">;
  readonly #open = new Set<DfsClient>();

  /** `address`: of the metadata server, asked each time. */
  constructor(address: () => string, options: Omit<ClientOptions, "metaAddress">) {
    this.#address = address;
    this.#options = options;
  }

  /** Runs `work` with a new client. @throws DfsError as `connectClient`, and what `work` throws. */
  async with<T>(
    work: (client: DfsClient) => Promise<T>,
    wish: Partial<ClientOptions> = {},
  ): Promise<T> {
    const { connectClient } = await import("../../client/client.ts");
    const client = await connectClient({
      ...this.#options,
      metaAddress: this.#address(),
      ...wish,
    });
    this.#open.add(client);
    try {
      return await work(client);
    } finally {
      await this.#close(client);
    }
  }

  /** Closes all clients. */
  async close(): Promise<void> {
    await Promise.all([...this.#open].map((client) => this.#close(client)));
  }

  /** A courtesy to the service, which forgets silent sessions anyway: nobody waits for long. */
  async #close(client: DfsClient): Promise<void> {
    if (!this.#open.delete(client)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
    await Promise.race([client.close().catch(() => undefined), promise]);
    clearTimeout(timer);
  }
}
