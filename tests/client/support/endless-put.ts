// Puts a file that never ends to /file of the cluster at the address given, and says so on standard output after some
// megabytes. To be killed.

import { connectClient } from "../../../src/client/client.ts";

const client = await connectClient({ metaAddress: process.argv[2]!, label: "endless put" });
let told = false;
const content = async function* () {
  for (;;) yield new Uint8Array(256 * 1024);
};
await client.put(new TextEncoder().encode("/file"), content(), {
  mode: 0o600,
  uid: 0,
  gid: 0,
  keepReplaced: false,
  onProgress: (bytes) => {
    if (told || bytes < 4 * 1024 * 1024) return;
    told = true;
    process.stdout.write("under way\n");
  },
});
