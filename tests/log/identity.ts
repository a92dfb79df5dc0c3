// Who the logs under test belong to.

import { clusterId, serverId } from "../../src/base/ids.ts";

export const CLUSTER = clusterId("00112233445566778899aabbccddeeff");
export const SERVER = serverId(3);
