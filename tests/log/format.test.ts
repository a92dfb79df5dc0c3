// The bytes of headers: where each field is, and that nothing but the right bytes in the right place is taken for one.

import { describe, expect, test } from "bun:test";
import { blockId, clusterId, inodeId, lsn, serverId } from "../../src/base/ids.ts";
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  SEGMENT_HEADER_BYTES,
  segmentIdentity,
} from "../../src/log/format.ts";
import {
  decodeRecordHeader,
  decodeTombstoneBody,
  encodeRecordHeader,
  encodeTombstoneBody,
  MAX_RECORD_BYTES,
  putBodyLength,
  RECORD_HEADER_BYTES,
  RECORD_KINDS,
  recordBytes,
  SEAL_BYTES,
  SEAL_REASONS,
  type PutHeader,
  type RecordHeader,
} from "../../src/log/record.ts";
import { hash64 } from "../../src/base/checksum.ts";
import { CLUSTER, SERVER } from "./support.ts";

const identity = segmentIdentity(CLUSTER, SERVER, 7, 0x1122334455667788n);
const put: PutHeader = {
  kind: "put",
  position: 4096,
  synced: 1024,
  lsn: lsn(99n),
  bodyLength: putBodyLength(70_000),
  bodyChecksum: 0xfedc_ba98_7654_3210n,
  block: blockId(0x0102030405060708n),
  length: 70_000,
  inode: inodeId(42n),
  fileOffset: 2 ** 40 + 1,
};
const seal: RecordHeader = {
  kind: "seal",
  position: 64,
  synced: 64,
  lsn: lsn(5n),
  bodyLength: 0,
  bodyChecksum: hash64(new Uint8Array(0)),
  segment: 6,
  end: 1000,
  reason: "suspect",
};

/** Encodes after changing bytes of a header, with the checksum made right again. */
function forged(header: RecordHeader, change: (bytes: DataView) => void): Uint8Array {
  const bytes = encodeRecordHeader(identity, header);
  const view = new DataView(bytes.buffer);
  change(view);
  view.setBigUint64(RECORD_HEADER_BYTES - 8, hash64(bytes.subarray(0, RECORD_HEADER_BYTES - 8)));
  return bytes;
}

describe("numbers that are frozen", () => {
  test("sizes, kinds and reasons", () => {
    expect(SEGMENT_HEADER_BYTES).toBe(64);
    expect(RECORD_HEADER_BYTES).toBe(120);
    expect(SEAL_BYTES).toBe(120);
    expect(RECORD_KINDS).toEqual({ put: 1, tombstone: 2, seal: 3 });
    expect(SEAL_REASONS).toEqual({ full: 1, closed: 2, suspect: 3 });
    expect(recordBytes(putBodyLength(1))).toBe(120 + 8 + 8);
    expect(recordBytes(putBodyLength(65_537))).toBe(120 + 16 + 65_544);
    expect(MAX_RECORD_BYTES).toBe(120 + 256 * 8 + 16 * 1024 * 1024);
  });

  test("where the fields of a segment's header are", () => {
    const bytes = encodeSegmentHeader({ identity, lsnFloor: lsn(12n) });
    const view = new DataView(bytes.buffer);
    expect(Buffer.from(bytes.subarray(0, 8)).toString()).toBe("dfs-log\n");
    expect(view.getUint32(8)).toBe(1);
    expect(view.getUint32(12)).toBe(SERVER);
    expect(Buffer.from(bytes.subarray(16, 32)).toString("hex")).toBe(CLUSTER);
    expect(view.getBigUint64(32)).toBe(7n);
    expect(view.getBigUint64(40)).toBe(identity.salt);
    expect(view.getBigUint64(48)).toBe(12n);
    expect(view.getBigUint64(56)).toBe(hash64(bytes.subarray(0, 56)));
  });

  test("where the fields of a put's header are", () => {
    const bytes = encodeRecordHeader(identity, put);
    const view = new DataView(bytes.buffer);
    expect(Buffer.from(bytes.subarray(0, 4)).toString()).toBe("dfsR");
    expect([view.getUint8(4), view.getUint8(5), view.getUint16(6)]).toEqual([1, 1, 0]);
    expect(Buffer.from(bytes.subarray(8, 24)).toString("hex")).toBe(CLUSTER);
    expect([view.getUint32(24), view.getUint32(28)]).toEqual([SERVER, 70_016]);
    const words = Array.from({ length: 8 }, (_, index) => view.getBigUint64(32 + index * 8));
    expect(words).toEqual([
      7n,
      identity.salt,
      4096n,
      1024n,
      99n,
      0x0102030405060708n,
      42n,
      2n ** 40n + 1n,
    ]);
    expect([view.getUint32(96), view.getUint32(100)]).toEqual([70_000, 0]);
    expect(view.getBigUint64(104)).toBe(put.bodyChecksum);
    expect(view.getBigUint64(112)).toBe(hash64(bytes.subarray(0, 112)));
  });

  test("where the fields of a seal are", () => {
    const view = new DataView(encodeRecordHeader(identity, seal).buffer);
    expect([view.getUint8(4), view.getBigUint64(72), view.getBigUint64(80)]).toEqual([
      3,
      6n,
      1000n,
    ]);
    expect([view.getUint32(88), view.getUint32(92), view.getBigUint64(96)]).toEqual([3, 0, 0n]);
  });
});

describe("decodeSegmentHeader", () => {
  const bytes = encodeSegmentHeader({ identity, lsnFloor: lsn(12n) });

  test("gives back what was encoded", () => {
    expect(decodeSegmentHeader(bytes)).toEqual({ identity, lsnFloor: lsn(12n) });
  });

  test("notices every flipped bit, and a header cut short", () => {
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const bad = bytes.slice();
      bad[bit >> 3]! ^= 1 << (bit & 7);
      expect(decodeSegmentHeader(bad)).toBeUndefined();
    }
    expect(decodeSegmentHeader(bytes.subarray(0, 63))).toBeUndefined();
  });

  test("refuses a whole header of another version", () => {
    const newer = bytes.slice();
    const view = new DataView(newer.buffer);
    view.setUint32(8, 2);
    view.setBigUint64(56, hash64(newer.subarray(0, 56)));
    expect(() => decodeSegmentHeader(newer)).toThrow("a segment of format version 2");
  });
});

describe("decodeRecordHeader", () => {
  const bytes = encodeRecordHeader(identity, put);

  test("gives back what was encoded, for every kind", () => {
    const tombstone: RecordHeader = {
      kind: "tombstone",
      position: 64,
      synced: 64,
      lsn: lsn(4n),
      bodyLength: 24,
      bodyChecksum: 17n,
    };
    for (const header of [put, tombstone, seal]) {
      const encoded = encodeRecordHeader(identity, header);
      expect(decodeRecordHeader(encoded, 0, identity, header.position)).toEqual(header);
    }
  });

  test("notices every flipped bit", () => {
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const bad = bytes.slice();
      bad[bit >> 3]! ^= 1 << (bit & 7);
      expect(decodeRecordHeader(bad, 0, identity, put.position)).toBeUndefined();
    }
  });

  test("accepts it only in its own segment, at its own position", () => {
    const at = (other: typeof identity, position: number) =>
      decodeRecordHeader(bytes, 0, other, position);
    expect(at(identity, put.position)).toBeDefined();
    expect(at(identity, put.position + 8)).toBeUndefined();
    expect(at(segmentIdentity(CLUSTER, SERVER, 8, identity.salt), put.position)).toBeUndefined();
    expect(at(segmentIdentity(CLUSTER, SERVER, 7, 1n), put.position)).toBeUndefined();
    expect(
      at(segmentIdentity(CLUSTER, serverId(4), 7, identity.salt), put.position),
    ).toBeUndefined();
    const other = clusterId("00112233445566778899aabbccddeef0");
    expect(at(segmentIdentity(other, SERVER, 7, identity.salt), put.position)).toBeUndefined();
  });

  test("does not believe a length that the writer cannot have written, whatever its checksum says", () => {
    const cases: ((view: DataView) => void)[] = [
      (view) => view.setUint32(28, 70_015), // body length against block length
      (view) => view.setUint32(96, 0), // an empty block
      (view) => view.setUint32(96, 2 ** 31), // over the largest block
      (view) => view.setBigUint64(56, 4097n), // synced beyond its own position
    ];
    for (const change of cases) {
      expect(decodeRecordHeader(forged(put, change), 0, identity, put.position)).toBeUndefined();
    }
  });

  test("refuses a whole header of an unknown version, kind or reason", () => {
    const decode = (changed: Uint8Array, position: number) => () =>
      decodeRecordHeader(changed, 0, identity, position);
    const version = forged(put, (view) => view.setUint8(5, 2));
    const kind = forged(put, (view) => view.setUint8(4, 9));
    const reason = forged(seal, (view) => view.setUint32(88, 9));
    expect(decode(version, put.position)).toThrow("a record of format version 2");
    expect(decode(kind, put.position)).toThrow("a record of the unknown kind 9");
    expect(decode(reason, seal.position)).toThrow("a seal with the unknown reason 9");
  });
});

test("a tombstone's body is its ids, 8 bytes each", () => {
  const blocks = [1n, 2n ** 62n, 77n].map(blockId);
  const body = encodeTombstoneBody(blocks);
  expect(body.toHex()).toBe("00000000000000014000000000000000000000000000004d");
  expect(decodeTombstoneBody(body)).toEqual(blocks);
});
