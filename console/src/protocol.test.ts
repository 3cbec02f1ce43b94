import { describe, expect, it } from "vitest";

import { parseFrame } from "./protocol";

const student = {
  id: "s1",
  name: "山田花子",
  team: null,
  status: "help",
  notebook: "nb1.ipynb",
  cellId: "c",
  cellIndex: 0,
  executions: 3,
  errors: 1,
  consecutiveErrors: 0,
  lastActivity: "2026-11-21T22:25:38.629Z",
  help: { id: "h1", since: "2026-11-21T22:26:47.000Z", cellId: null, claimedBy: null },
};

describe("parseFrame", () => {
  it("reads a snapshot with everything in it", () => {
    const text = JSON.stringify({
      type: "snapshot",
      classroom: "default",
      epoch: "e1",
      seq: 7,
      students: [student],
      alerts: [
        { id: "a", kind: "errors_in_a_row", student: "s1", cellId: null, since: "x", reason: "r", state: "open" },
      ],
      recent: [
        { eventId: "e", eventType: "help", student: "s1", notebook: null, cellId: null, cellIndex: null, eventTime: "t" },
      ],
    });

    const frame = parseFrame(text);

    expect(frame).toMatchObject({
      type: "snapshot",
      seq: 7,
      students: [student],
      alerts: [{ id: "a", state: "open" }],
      recent: [{ eventId: "e", status: null }],
    });
  });

  it("takes what a delta leaves out as empty", () => {
    const text = JSON.stringify({ type: "delta", classroom: "default", epoch: "e1", after: 7, seq: 8 });

    const frame = parseFrame(text);

    expect(frame).toMatchObject({
      students: [],
      removed: [],
      events: [],
      alerts: [],
      eventsOmitted: 0,
    });
  });

  it("reads a status of a later version as offline, and unknown fields not at all", () => {
    const odd = { ...student, status: "levitating", aura: 5 };
    const text = JSON.stringify({
      type: "delta",
      classroom: "default",
      epoch: "e1",
      after: 1,
      seq: 2,
      students: [odd],
    });

    const frame = parseFrame(text);

    expect(frame).toMatchObject({ students: [{ status: "offline" }] });
    expect(frame).not.toHaveProperty("students.0.aura");
  });

  it("reads who works under one address, and that an address is not set up", () => {
    const person = {
      name: "佐藤次郎",
      team: null,
      notebook: "nb2.ipynb",
      cellId: "c2",
      cellIndex: 1,
      lastActivity: "2026-11-21T22:25:38.629Z",
    };
    const shared = { ...student, isDefaultAddress: true, people: [person, { odd: 1 }] };
    const text = (students: unknown[]) =>
      JSON.stringify({ type: "delta", classroom: "default", epoch: "e1", after: 1, seq: 2, students });

    const frame = parseFrame(text([shared, student]));

    const nobody = { name: "", team: null, notebook: null, cellId: null, cellIndex: null, lastActivity: null };
    expect(frame).toMatchObject({
      students: [
        { isDefaultAddress: true, people: [person, nobody] },
        { isDefaultAddress: false, people: [] },
      ],
    });
  });

  it("passes over a type of a later version", () => {
    expect(parseFrame('{"type":"fireworks"}')).toEqual({ type: "unknown", name: "fireworks" });
  });

  it.each([
    ["no JSON", "{"],
    ["not an object", "[]"],
    ["null", "null"],
    ["no type", "{}"],
    ["a student without an id", '{"type":"delta","classroom":"d","epoch":"e","after":1,"seq":2,"students":[{}]}'],
    ["a number that is text", '{"type":"delta","classroom":"d","epoch":"e","after":"1","seq":2}'],
    ["a list that is none", '{"type":"snapshot","classroom":"d","epoch":"e","seq":2,"students":{}}'],
  ])("tells of a malformed frame instead of throwing: %s", (_, text) => {
    expect(parseFrame(text).type).toBe("malformed");
  });
});
