import { beforeEach, describe, expect, it } from "vitest";

import { ageText, learnServerClock, learnServerTime, now } from "./clock";

const HOUR = 3_600_000;

const fromNow = (millis: number) => new Date(Date.now() + millis).toISOString();

/** By how much our idea of the server's clock changes. */
function changeBy(learn: () => void): number {
  const before = now();
  learn();
  return Math.round((now() - before) / 10_000) * 10_000;
}

beforeEach(() => learnServerClock(fromNow(0)));

describe("the server's clock", () => {
  it("is told by the date of an answer", () => {
    expect(changeBy(() => learnServerClock(fromNow(-HOUR)))).toBe(-HOUR);
  });

  it("is further ahead than we thought if it gives a time in the future", () => {
    expect(changeBy(() => learnServerTime(fromNow(HOUR)))).toBe(HOUR);
    expect(ageText(fromNow(HOUR - 40_000), now())).toMatch(/^\d+ s$/);
  });

  it("is not told by times in the past, nor by none", () => {
    expect(changeBy(() => learnServerTime(fromNow(-HOUR)))).toBe(0);
    expect(changeBy(() => learnServerTime(null))).toBe(0);
  });
});
