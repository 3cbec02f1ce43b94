import { describe, expect, it } from "vitest";

import type { Alert, Delta, FeedEvent, Frame, Snapshot, Student } from "./protocol";
import { apply, emptyState, FEED_LENGTH, type ClassState } from "./store";

function student(id: string, changes: Partial<Student> = {}): Student {
  return {
    id,
    name: id,
    team: null,
    status: "active",
    notebook: null,
    cellId: null,
    cellIndex: null,
    executions: 0,
    errors: 0,
    consecutiveErrors: 0,
    lastActivity: null,
    help: null,
    isDefaultAddress: false,
    people: [],
    ...changes,
  };
}

function event(eventId: string): FeedEvent {
  return {
    eventId,
    eventType: "notebook_saved",
    student: "a",
    notebook: null,
    cellId: null,
    cellIndex: null,
    status: null,
    eventTime: "2026-01-01T00:00:00.000Z",
  };
}

function alert(id: string, state: string): Alert {
  return { id, kind: "errors_in_a_row", student: "a", cellId: null, since: "", reason: "", state };
}

function snapshot(changes: Partial<Snapshot> = {}): Snapshot {
  return {
    type: "snapshot",
    classroom: "default",
    epoch: "e1",
    seq: 10,
    students: [student("a"), student("b")],
    alerts: [],
    recent: [],
    ...changes,
  };
}

function delta(after: number, seq: number, changes: Partial<Delta> = {}): Delta {
  return {
    type: "delta",
    classroom: "default",
    epoch: "e1",
    after,
    seq,
    students: [],
    removed: [],
    events: [],
    eventsOmitted: 0,
    alerts: [],
    ...changes,
  };
}

/** The state after all of these, and how often a new subscription was asked for. */
function run(...frames: Frame[]): { state: ClassState; resubscriptions: number } {
  let state = emptyState("default");
  let resubscriptions = 0;
  for (const frame of frames) {
    const step = apply(state, frame);
    state = step.state;
    if (step.resubscribe) resubscriptions += 1;
  }
  return { state, resubscriptions };
}

describe("the fold over frames", () => {
  it("begins with the snapshot", () => {
    const { state } = run(snapshot({ alerts: [alert("x", "open")], recent: [event("1")] }));

    expect(state.isReady).toBe(true);
    expect([...state.students.keys()]).toEqual(["a", "b"]);
    expect(state.cursor).toEqual({ epoch: "e1", seq: 10 });
    expect([...state.alerts.keys()]).toEqual(["x"]);
    expect(state.events).toHaveLength(1);
  });

  it("applies a delta that joins on, merged or not", () => {
    const { state, resubscriptions } = run(
      snapshot(),
      delta(10, 11, { students: [student("a", { executions: 1 })] }),
      delta(11, 40, { students: [student("c")], removed: ["b"], eventsOmitted: 3 }),
    );

    expect(resubscriptions).toBe(0);
    expect(state.students.get("a")?.executions).toBe(1);
    expect([...state.students.keys()]).toEqual(["a", "c"]);
    expect(state.cursor?.seq).toBe(40);
    expect(state.eventsOmitted).toBe(3);
  });

  it("keeps the object of a student about whom nothing changed", () => {
    const before = run(snapshot()).state;

    const { state } = apply(before, delta(10, 11, { students: [student("a", { errors: 1 })] }));

    expect(state.students.get("b")).toBe(before.students.get("b"));
    expect(state.students.get("a")).not.toBe(before.students.get("a"));
  });

  it("asks once for a new subscription when a delta does not join on, and waits for what does", () => {
    const { state, resubscriptions } = run(
      snapshot(),
      delta(12, 13, { students: [student("a", { executions: 99 })] }),
      delta(13, 14, { students: [student("a", { executions: 100 })] }),
    );

    expect(resubscriptions).toBe(1);
    expect(state.isResyncing).toBe(true);
    expect(state.students.get("a")?.executions).toBe(0);
    expect(state.cursor).toEqual({ epoch: "e1", seq: 10 });

    const healed = apply(state, delta(10, 14, { students: [student("a", { executions: 100 })] })).state;
    expect(healed.isResyncing).toBe(false);
    expect(healed.students.get("a")?.executions).toBe(100);
  });

  it("is whole again by an empty delta that says nothing was missed", () => {
    const { state } = run(snapshot(), { type: "malformed", name: "delta" }, delta(10, 10));

    expect(state.isResyncing).toBe(false);
  });

  it("passes over what it had already", () => {
    const { state, resubscriptions } = run(
      snapshot(),
      delta(10, 12, { events: [event("1"), event("2")] }),
      delta(11, 12, { events: [event("2")] }),
    );

    expect(resubscriptions).toBe(0);
    expect(state.events.map((line) => line.eventId)).toEqual(["1", "2"]);
  });

  it("takes a delta of another epoch as a break", () => {
    const { resubscriptions } = run(snapshot(), delta(10, 11, { epoch: "e2" }));

    expect(resubscriptions).toBe(1);
  });

  it("shows the last known after a reset, applies nothing to it, and takes the new snapshot", () => {
    const reset: Frame = { type: "reset", classroom: "default", reason: "epoch" };
    const { state, resubscriptions } = run(snapshot(), reset, delta(10, 11, { removed: ["a"] }));

    expect(resubscriptions).toBe(0);
    expect(state.students.size).toBe(2);
    expect(state.isReady).toBe(true);
    expect(state.cursor).toBeNull();

    const renewed = apply(state, snapshot({ epoch: "e2", seq: 1, students: [] })).state;
    expect(renewed.students.size).toBe(0);
    expect(renewed.cursor).toEqual({ epoch: "e2", seq: 1 });
    expect(renewed.isResyncing).toBe(false);
  });

  it("keeps the latest events only", () => {
    const many = Array.from({ length: FEED_LENGTH + 5 }, (_, index) => event(String(index)));

    const { state } = run(snapshot(), delta(10, 11, { events: many }), delta(11, 12, { events: [event("last")] }));

    expect(state.events).toHaveLength(FEED_LENGTH);
    expect(state.events.at(-1)?.eventId).toBe("last");
    expect(state.events[0]?.eventId).toBe("6");
  });

  it("keeps open alerts and lets go of the others", () => {
    const { state } = run(
      snapshot({ alerts: [alert("x", "open"), alert("y", "open")] }),
      delta(10, 11, { alerts: [alert("x", "closed"), alert("y", "snoozed"), alert("z", "open")] }),
    );

    expect([...state.alerts.keys()]).toEqual(["z"]);
  });

  it("is stale until something comes", () => {
    const stale: Frame = { type: "stale", classroom: "default", since: "2026-01-01T00:00:00.000Z" };
    const { state } = run(snapshot(), stale);
    expect(state.staleSince).toBe("2026-01-01T00:00:00.000Z");

    expect(apply(state, delta(10, 11)).state.staleSince).toBeNull();
  });

  it("is stale before the first snapshot too, and no longer with it", () => {
    const stale: Frame = { type: "stale", classroom: "default", since: "2026-01-01T00:00:00.000Z" };
    const waiting = run(stale).state;
    expect([waiting.isReady, waiting.staleSince]).toEqual([false, "2026-01-01T00:00:00.000Z"]);

    expect(apply(waiting, snapshot()).state.staleSince).toBeNull();
  });

  it("is not made stale by another classroom, and not healed by a reset alone", () => {
    const stale: Frame = { type: "stale", classroom: "default", since: null };
    const { state } = run(snapshot(), { ...stale, classroom: "other" });
    expect(state.staleSince).toBeNull();

    const reset: Frame = { type: "reset", classroom: "default", reason: "restarted" };
    expect(run(snapshot(), stale, reset).state.staleSince).not.toBeNull();
  });

  it("does not listen to another classroom", () => {
    const { state } = run(snapshot(), delta(10, 11, { classroom: "other", removed: ["a"] }));

    expect(state.students.size).toBe(2);
  });

  it("ends the same whether deltas come one by one or merged", () => {
    const steps = [1, 2, 3, 4, 5].map((n) =>
      delta(9 + n, 10 + n, { students: [student(n % 2 === 0 ? "a" : "b", { executions: n })] }),
    );
    const merged = delta(10, 15, {
      students: [student("a", { executions: 4 }), student("b", { executions: 5 })],
    });

    expect(run(snapshot(), ...steps).state.students).toEqual(run(snapshot(), merged).state.students);
  });
});
