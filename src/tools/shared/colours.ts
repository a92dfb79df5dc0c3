/**
 * Colours, on a terminal only and never under NO_COLOR (https://no-color.org). picocolors is loaded only then.
 */
type Paint = (text: string) => string;

interface Paints {
  readonly bold: Paint;
  readonly dim: Paint;
  readonly red: Paint;
  readonly yellow: Paint;
  readonly green: Paint;
  readonly blue: Paint;
  readonly cyan: Paint;
}

const plain: Paint = (text) => text;

let paints: Paints = {
  bold: plain,
  dim: plain,
  red: plain,
  yellow: plain,
  green: plain,
  blue: plain,
  cyan: plain,
};

/** True when standard output should be coloured. */
export function wantsColours(
  environment: Readonly<Record<string, string | undefined>>,
  isTerminal: boolean,
): boolean {
  return isTerminal && !environment["NO_COLOR"] && environment["TERM"] !== "dumb";
}

/** Turns colours on for this process. */
export async function useColours(): Promise<void> {
  const { createColors } = (await import("picocolors")).default;
  paints = createColors(true);
}

export const bold: Paint = (text) => paints.bold(text);
export const dim: Paint = (text) => paints.dim(text);
export const red: Paint = (text) => paints.red(text);
export const yellow: Paint = (text) => paints.yellow(text);
export const green: Paint = (text) => paints.green(text);
export const blue: Paint = (text) => paints.blue(text);
export const cyan: Paint = (text) => paints.cyan(text);
