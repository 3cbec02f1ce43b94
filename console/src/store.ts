/**
 * What the page knows of a classroom, as a pure fold over frames.
 *
 * It promises: the state is that of the last frame in an unbroken chain. A
 * delta that does not join on is not applied; the fold asks for a new
 * subscription instead and waits for what joins.
 */

import type { Alert, Cursor, Delta, FeedEvent, Frame, Snapshot, Student } from "./protocol";

/** Events kept for the feed. */
export const FEED_LENGTH = 200;

export interface ClassState {
  readonly classroom: string;
  /** Where we stand; null before the first snapshot. */
  readonly cursor: Cursor | null;
  /** A snapshot has come: what is empty is really empty. */
  readonly isReady: boolean;
  /** In the order of arrival; a student keeps its object as long as nothing about it changed. */
  readonly students: ReadonlyMap<string, Student>;
  /** Open ones only. */
  readonly alerts: ReadonlyMap<string, Alert>;
  /** Oldest first, at most `FEED_LENGTH`. */
  readonly events: readonly FeedEvent[];
  /** Events that the server merged away since the snapshot: they happened, but are not in the feed. */
  readonly eventsOmitted: number;
  /** Deltas are passed over until one joins on, or a snapshot comes. */
  readonly isResyncing: boolean;
  /** Since when nothing has come where something should. */
  readonly staleSince: string | null;
}

export interface Step {
  readonly state: ClassState;
  /** The chain broke: subscribe again, from `state.cursor`. */
  readonly resubscribe: boolean;
}

export function emptyState(classroom: string): ClassState {
  return {
    classroom,
    cursor: null,
    isReady: false,
    students: new Map(),
    alerts: new Map(),
    events: [],
    eventsOmitted: 0,
    isResyncing: false,
    staleSince: null,
  };
}

/** The state after this frame. */
export function apply(state: ClassState, frame: Frame): Step {
  switch (frame.type) {
    case "snapshot":
      return frame.classroom === state.classroom ? stay(fromSnapshot(frame)) : stay(state);
    case "delta":
      return frame.classroom === state.classroom ? afterDelta(state, frame) : stay(state);
    case "reset":
      // what is shown stays until the snapshot is here, but nothing may join on to it any more
      return frame.classroom === state.classroom
        ? stay({ ...state, cursor: null, isResyncing: true })
        : stay(state);
    case "stale":
      return frame.classroom === state.classroom
        ? stay({ ...state, staleSince: frame.since ?? "" })
        : stay(state);
    case "malformed":
      // one that we cannot read may have been a delta: the chain is no longer sure
      return breakChain(state);
    case "hello":
    case "ack":
    case "error":
    case "unknown":
      return stay(state);
  }
}

function stay(state: ClassState): Step {
  return { state, resubscribe: false };
}

function breakChain(state: ClassState): Step {
  if (state.isResyncing) return stay(state);
  return { state: { ...state, isResyncing: true }, resubscribe: true };
}

function fromSnapshot(frame: Snapshot): ClassState {
  return {
    classroom: frame.classroom,
    cursor: { epoch: frame.epoch, seq: frame.seq },
    isReady: true,
    students: new Map(frame.students.map((student) => [student.id, student])),
    alerts: withAlerts(new Map(), frame.alerts),
    events: frame.recent.slice(-FEED_LENGTH),
    eventsOmitted: 0,
    isResyncing: false,
    staleSince: null,
  };
}

function afterDelta(state: ClassState, frame: Delta): Step {
  const { cursor } = state;
  if (cursor === null) return stay(state);
  if (frame.epoch === cursor.epoch && frame.seq <= cursor.seq) {
    // had already: a subscription that was repeated tells some things twice
    return stay(frame.after === cursor.seq ? { ...state, isResyncing: false, staleSince: null } : state);
  }
  if (frame.epoch !== cursor.epoch || frame.after !== cursor.seq) return breakChain(state);
  return stay({
    ...state,
    cursor: { epoch: frame.epoch, seq: frame.seq },
    students: withStudents(state.students, frame),
    alerts: frame.alerts.length === 0 ? state.alerts : withAlerts(state.alerts, frame.alerts),
    events: withEvents(state.events, frame),
    eventsOmitted: state.eventsOmitted + frame.eventsOmitted,
    isResyncing: false,
    staleSince: null,
  });
}

/** Who is removed may have been erased: nothing of what they did stays on the page. */
function withEvents(events: readonly FeedEvent[], frame: Delta): readonly FeedEvent[] {
  if (frame.events.length === 0 && frame.removed.length === 0) return events;
  const gone = new Set(frame.removed);
  const left = gone.size === 0 ? events : events.filter((event) => !gone.has(event.student));
  return [...left, ...frame.events].slice(-FEED_LENGTH);
}

function withStudents(
  students: ReadonlyMap<string, Student>,
  frame: Delta,
): ReadonlyMap<string, Student> {
  if (frame.students.length === 0 && frame.removed.length === 0) return students;
  const next = new Map(students);
  for (const id of frame.removed) next.delete(id);
  for (const student of frame.students) next.set(student.id, student);
  return next;
}

function withAlerts(
  alerts: ReadonlyMap<string, Alert>,
  changed: readonly Alert[],
): ReadonlyMap<string, Alert> {
  const next = new Map(alerts);
  for (const alert of changed) {
    if (alert.state === "open") next.set(alert.id, alert);
    else next.delete(alert.id);
  }
  return next;
}
