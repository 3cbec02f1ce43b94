/** Times as people read them. Pure but for the clocks at the end. */

import { createSignal } from "solid-js";

import { words } from "./words";

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Milliseconds since 1970, or null for what is no time. */
export function millisOf(time: string | null): number | null {
  if (time === null) return null;
  const millis = Date.parse(time);
  return Number.isNaN(millis) ? null : millis;
}

/** How long ago: `12 s`, `4 min`, `2 h 5 min`, `3 d`. Never negative. */
export function ageText(time: string | null, now: number): string {
  const millis = millisOf(time);
  if (millis === null) return words.never;
  const seconds = Math.max(0, Math.floor((now - millis) / 1000));
  if (seconds < MINUTE) return words.seconds(seconds);
  if (seconds < HOUR) return words.minutes(Math.floor(seconds / MINUTE));
  if (seconds < DAY) return words.hours(Math.floor(seconds / HOUR), Math.floor((seconds % HOUR) / MINUTE));
  return words.days(Math.floor(seconds / DAY));
}

/** The time of day on this machine: `10:32:05`. */
export function timeOfDay(time: string | null): string {
  const millis = millisOf(time);
  if (millis === null) return "";
  const date = new Date(millis);
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
}

/** Date and time on this machine, for tooltips. */
export function fullTime(time: string | null): string {
  const millis = millisOf(time);
  return millis === null ? "" : new Date(millis).toLocaleString();
}

/** The server's clock minus ours, in ms; what the Date header says is good to a second. */
let serverAhead = 0;

/** Ages are counted by the server's clock: that of an instructor's laptop may be minutes off. */
export function learnServerClock(dateHeader: string | null): void {
  const server = millisOf(dateHeader);
  if (server === null) return;
  const ahead = server - Date.now();
  serverAhead = Math.abs(ahead) < 2_000 ? 0 : ahead;
}

/** A time that the server gave cannot be in its future: if it seems so, its clock is further ahead. */
export function learnServerTime(time: string | null): void {
  const server = millisOf(time);
  if (server === null) return;
  const ahead = server - Date.now();
  if (ahead > serverAhead + 2_000) serverAhead = ahead;
}

const [tick, setTick] = createSignal(Date.now());
setInterval(() => setTick(Date.now()), 1_000);

/** Now by the server's clock; ticks once a second. */
export function now(): number {
  return tick() + serverAhead;
}
