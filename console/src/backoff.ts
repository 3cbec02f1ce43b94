/** How long to wait before the next try to connect. Pure. */

const FIRST_MS = 500;
const LONGEST_MS = 10_000;

/**
 * The wait before try number `attempt` (from 0): doubles from half a second
 * to ten, and is spread over its upper half, so that a class of consoles does
 * not come back in one moment. `random` is in [0, 1).
 */
export function waitMs(attempt: number, random: number): number {
  const full = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt, 10));
  return Math.round(full / 2 + (full / 2) * random);
}

/** Whether a socket closed with this code may be opened again. */
export function isFinal(code: number): boolean {
  return code === 1008 || (code >= 4400 && code < 4500);
}
