/**
 * Memory whose address does not change, for system calls that read and write it.
 *
 * A small typed array may be moved by the engine when somebody asks for its `buffer`. One that is made of an ArrayBuffer stays.
 */
import { ptr, type Pointer } from "bun:ffi";

export interface Memory {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly address: Pointer;
}

export function allocateMemory(length: number): Memory {
  const buffer = new ArrayBuffer(length);
  const bytes = new Uint8Array(buffer);
  return { bytes, view: new DataView(buffer), address: ptr(bytes) };
}
