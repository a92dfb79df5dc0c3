/**
 * Names as text. A name in dfs is bytes: it may hold newlines, control characters, or no valid UTF-8 at all.
 *
 * - For people: {@link escaped}. What is printable stays; everything else becomes a backslash escape, so that no name
 *   can drive a terminal, and two different names never look the same.
 * - For programs: {@link jsonName}. The text, and the exact bytes in base64 when the text cannot give them back.
 */

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** What must not reach a terminal: controls, line and paragraph separators, and what reorders or hides text. */
const UNSAFE =
  // oxlint-disable-next-line no-control-regex -- these are the characters to find
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/gu;

const SHORT: Readonly<Record<string, string>> = { "\n": "\\n", "\t": "\\t", "\r": "\\r" };

/** A name for people: `a\nb`, `\xff`, `\u{202e}`; a backslash in the name is doubled. */
export function escaped(name: Uint8Array): string {
  const text = decoder.decode(name);
  return text.includes("\ufffd") ? escapedBytes(name) : escapedText(text);
}

/** As {@link escaped}, in quotes where a bare name would be hard to see in a sentence. */
export function quoted(name: Uint8Array): string {
  const text = escaped(name);
  return text === "" || /[\s\\'"]/.test(text) ? `'${text}'` : text;
}

/** Text of unknown origin (an error message, a zone's name) made safe for a terminal; newlines stay. */
export function printable(text: string): string {
  return text.replace(UNSAFE, (character) => (character === "\n" ? character : escape(character)));
}

/** A name's text and, where that is not its exact bytes, those as base64. */
export function jsonName<Key extends string>(
  key: Key,
  name: Uint8Array,
): Record<Key | `${Key}Base64`, string> | Record<Key, string> {
  const text = decoder.decode(name);
  const isExact = !text.includes("\ufffd") || Buffer.from(text).equals(name);
  const fields = { [key]: text, ...(isExact ? {} : { [`${key}Base64`]: name.toBase64() }) };
  return fields as Record<Key, string>;
}

/** One JSON Lines row: one line of ASCII controls-free text, whatever is in the values; bigints become strings. */
export function jsonRow(row: object): string {
  const text = JSON.stringify(row, (_key, value: unknown) =>
    typeof value === "bigint" ? value.toString() : value,
  );
  return text.replace(
    UNSAFE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function escapedText(text: string): string {
  return text.replaceAll("\\", "\\\\").replace(UNSAFE, escape);
}

function escape(character: string): string {
  const short = SHORT[character];
  if (short !== undefined) return short;
  const code = character.codePointAt(0) ?? 0;
  return code < 0x80
    ? `\\x${code.toString(16).padStart(2, "0")}`
    : `\\u{${code.toString(16).padStart(4, "0")}}`;
}

/** Escapes byte by byte what is not part of a valid UTF-8 sequence. */
function escapedBytes(name: Uint8Array): string {
  let result = "";
  for (let at = 0; at < name.length;) {
    const length = sequenceLength(name, at);
    if (length === 0) {
      result += `\\x${(name[at] ?? 0).toString(16).padStart(2, "0")}`;
      at += 1;
    } else {
      result += escapedText(decoder.decode(name.subarray(at, at + length)));
      at += length;
    }
  }
  return result;
}

/** Bytes of the valid UTF-8 sequence at `at`, or 0 when there is none. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0;
  const length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (length === 0 || at + length > bytes.length) return 0;
  const sequence = bytes.subarray(at, at + length);
  return Buffer.from(decoder.decode(sequence)).equals(sequence) ? length : 0;
}
