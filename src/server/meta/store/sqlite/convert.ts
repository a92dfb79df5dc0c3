/**
 * Conversions between what SQLite holds and what rows hold. With `safeIntegers` every integer arrives as a bigint.
 */
import { DfsError } from "../../../../base/errors.ts";

/** An unsigned 64-bit value as the signed one with the same bits, and back. */
export const toSigned = (value: bigint): bigint => BigInt.asIntN(64, value);
export const toUnsigned = (value: bigint): bigint => BigInt.asUintN(64, value);

/** A column that may be NULL. */
export const orUndefined = <T>(value: T | null): T | undefined => value ?? undefined;
export const orNull = <T>(value: T | undefined): T | null => value ?? null;

/** A set of names kept as small numbers. The numbers are on disk: append only. */
export class Enumeration<Name extends string> {
  readonly #numbers: Readonly<Record<Name, number>>;
  readonly #names: readonly (Name | undefined)[];
  readonly #what: string;

  constructor(what: string, numbers: Readonly<Record<Name, number>>) {
    this.#what = what;
    this.#numbers = numbers;
    const names: (Name | undefined)[] = [];
    for (const name of Object.keys(numbers) as Name[]) names[numbers[name]] = name;
    this.#names = names;
  }

  number(name: Name): number {
    return this.#numbers[name];
  }

  /** @throws DfsError `io` when the database holds a number that this build does not know. */
  name(number: bigint): Name {
    const name = this.#names[Number(number)];
    if (name === undefined) {
      throw new DfsError("io", `the metadata database holds an unknown ${this.#what}: ${number}`);
    }
    return name;
  }
}
