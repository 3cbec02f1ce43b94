/**
 * The frames of the live socket (`mimamori.v1`) as types, and their reading.
 *
 * Everything that comes from outside passes here once. What is malformed
 * becomes a fault, never an exception; what is merely new (a status, a kind)
 * is kept as text, so that an older page outlives a newer server.
 */

export const SUBPROTOCOL = "mimamori.v1";

export type Status = "help" | "stuck" | "error" | "active" | "idle" | "offline";

export interface Help {
  readonly id: string;
  readonly since: string;
  readonly cellId: string | null;
  readonly claimedBy: string | null;
}

export interface Student {
  /** Opaque and stable. */
  readonly id: string;
  /** As the student typed it: hostile. */
  readonly name: string;
  readonly team: string | null;
  /** A status this page does not know is read as `offline`. */
  readonly status: Status;
  readonly notebook: string | null;
  readonly cellId: string | null;
  /** Counted from 0. */
  readonly cellIndex: number | null;
  readonly executions: number;
  readonly errors: number;
  readonly consecutiveErrors: number;
  readonly lastActivity: string | null;
  readonly help: Help | null;
  /** The address is the one that a client has before a student sets an own one. */
  readonly isDefaultAddress: boolean;
  /** Who works under this address, while an alert says that it is more than one; else empty. */
  readonly people: readonly Person[];
}

/** One of several people under one address. */
export interface Person {
  /** As the student typed it: hostile. */
  readonly name: string;
  readonly team: string | null;
  readonly notebook: string | null;
  readonly cellId: string | null;
  readonly cellIndex: number | null;
  readonly lastActivity: string | null;
}

export interface Alert {
  readonly id: string;
  readonly kind: string;
  readonly student: string;
  readonly cellId: string | null;
  readonly since: string;
  readonly reason: string;
  readonly state: string;
}

export interface FeedEvent {
  readonly eventId: string;
  readonly eventType: string;
  readonly student: string;
  readonly notebook: string | null;
  readonly cellId: string | null;
  readonly cellIndex: number | null;
  /** How the execution ended; null for the other kinds. */
  readonly status: string | null;
  readonly eventTime: string;
}

/** Where a console stands in a classroom's deltas. */
export interface Cursor {
  readonly epoch: string;
  readonly seq: number;
}

export interface Snapshot {
  readonly type: "snapshot";
  readonly classroom: string;
  readonly epoch: string;
  readonly seq: number;
  readonly students: readonly Student[];
  readonly alerts: readonly Alert[];
  readonly recent: readonly FeedEvent[];
}

export interface Delta {
  readonly type: "delta";
  readonly classroom: string;
  readonly epoch: string;
  readonly after: number;
  readonly seq: number;
  readonly students: readonly Student[];
  readonly removed: readonly string[];
  readonly events: readonly FeedEvent[];
  readonly eventsOmitted: number;
  readonly alerts: readonly Alert[];
}

export type Frame =
  | { readonly type: "hello"; readonly heartbeatMs: number }
  | Snapshot
  | Delta
  | { readonly type: "reset"; readonly classroom: string; readonly reason: string }
  | { readonly type: "stale"; readonly classroom: string; readonly since: string | null }
  | { readonly type: "ack"; readonly ref: string | null }
  | {
      readonly type: "error";
      readonly ref: string | null;
      readonly code: string;
      readonly detail: string;
    }
  /** A type of a later version: to be passed over. */
  | { readonly type: "unknown"; readonly name: string }
  /** What could not be read; `type` is what it said to be. */
  | { readonly type: "malformed"; readonly name: string };

/** Thrown inside this module only. */
class Malformed extends Error {}

type Json = Readonly<Record<string, unknown>>;

const STATUSES: ReadonlySet<string> = new Set<Status>([
  "help",
  "stuck",
  "error",
  "active",
  "idle",
  "offline",
]);

/** Reads a text frame. Never throws. */
export function parseFrame(text: string): Frame {
  let name = "";
  try {
    const frame = object(JSON.parse(text));
    name = string(frame, "type");
    return frameOf(name, frame);
  } catch {
    return { type: "malformed", name };
  }
}

function frameOf(name: string, frame: Json): Frame {
  switch (name) {
    case "hello":
      return { type: "hello", heartbeatMs: number(frame, "heartbeatMs") };
    case "snapshot":
      return snapshotOf(frame);
    case "delta":
      return deltaOf(frame);
    case "reset":
      return {
        type: "reset",
        classroom: string(frame, "classroom"),
        reason: stringOrNull(frame, "reason") ?? "",
      };
    case "stale":
      return {
        type: "stale",
        classroom: string(frame, "classroom"),
        since: stringOrNull(frame, "since"),
      };
    case "ack":
      return { type: "ack", ref: refOf(frame) };
    case "error":
      return {
        type: "error",
        ref: refOf(frame),
        code: stringOrNull(frame, "code") ?? "",
        detail: stringOrNull(frame, "detail") ?? "",
      };
    default:
      return { type: "unknown", name };
  }
}

function snapshotOf(frame: Json): Snapshot {
  return {
    type: "snapshot",
    classroom: string(frame, "classroom"),
    epoch: epochOf(frame),
    seq: number(frame, "seq"),
    students: list(frame, "students").map(parseStudent),
    alerts: list(frame, "alerts").map(parseAlert),
    recent: list(frame, "recent").map(parseEvent),
  };
}

function deltaOf(frame: Json): Delta {
  return {
    type: "delta",
    classroom: string(frame, "classroom"),
    epoch: epochOf(frame),
    after: number(frame, "after"),
    seq: number(frame, "seq"),
    students: list(frame, "students").map(parseStudent),
    removed: list(frame, "removed").map(text),
    events: list(frame, "events").map(parseEvent),
    eventsOmitted: numberOrNull(frame, "eventsOmitted") ?? 0,
    alerts: list(frame, "alerts").map(parseAlert),
  };
}

function parseStudent(value: unknown): Student {
  const student = object(value);
  const status = string(student, "status");
  return {
    id: string(student, "id"),
    name: stringOrNull(student, "name") ?? "",
    team: stringOrNull(student, "team"),
    status: isStatus(status) ? status : "offline",
    notebook: stringOrNull(student, "notebook"),
    cellId: stringOrNull(student, "cellId"),
    cellIndex: numberOrNull(student, "cellIndex"),
    executions: number(student, "executions"),
    errors: number(student, "errors"),
    consecutiveErrors: number(student, "consecutiveErrors"),
    lastActivity: stringOrNull(student, "lastActivity"),
    help: helpOf(student["help"]),
    isDefaultAddress: student["isDefaultAddress"] === true,
    people: list(student, "people").map(parsePerson),
  };
}

function parsePerson(value: unknown): Person {
  const person = object(value);
  return {
    name: stringOrNull(person, "name") ?? "",
    team: stringOrNull(person, "team"),
    notebook: stringOrNull(person, "notebook"),
    cellId: stringOrNull(person, "cellId"),
    cellIndex: numberOrNull(person, "cellIndex"),
    lastActivity: stringOrNull(person, "lastActivity"),
  };
}

function helpOf(value: unknown): Help | null {
  if (value === null || value === undefined) return null;
  const help = object(value);
  return {
    id: string(help, "id"),
    since: string(help, "since"),
    cellId: stringOrNull(help, "cellId"),
    claimedBy: stringOrNull(help, "claimedBy"),
  };
}

function parseAlert(value: unknown): Alert {
  const alert = object(value);
  return {
    id: string(alert, "id"),
    kind: string(alert, "kind"),
    student: string(alert, "student"),
    cellId: stringOrNull(alert, "cellId"),
    since: string(alert, "since"),
    reason: stringOrNull(alert, "reason") ?? "",
    state: string(alert, "state"),
  };
}

function parseEvent(value: unknown): FeedEvent {
  const event = object(value);
  return {
    eventId: string(event, "eventId"),
    eventType: string(event, "eventType"),
    student: string(event, "student"),
    notebook: stringOrNull(event, "notebook"),
    cellId: stringOrNull(event, "cellId"),
    cellIndex: numberOrNull(event, "cellIndex"),
    status: stringOrNull(event, "status"),
    eventTime: string(event, "eventTime"),
  };
}

function isStatus(value: string): value is Status {
  return STATUSES.has(value);
}

/** The epoch is opaque: a number is taken too, and given back as text. */
function epochOf(frame: Json): string {
  const epoch = frame["epoch"];
  return typeof epoch === "number" ? String(epoch) : text(epoch);
}

function refOf(frame: Json): string | null {
  const ref = frame["ref"];
  return typeof ref === "string" ? ref : null;
}

export function object(value: unknown): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Malformed("not an object");
  }
  return value as Json;
}

function text(value: unknown): string {
  if (typeof value !== "string") throw new Malformed("not a string");
  return value;
}

export function string(from: Json, field: string): string {
  return text(from[field]);
}

export function stringOrNull(from: Json, field: string): string | null {
  const value = from[field];
  return typeof value === "string" ? value : null;
}

function number(from: Json, field: string): number {
  const value = numberOrNull(from, field);
  if (value === null) throw new Malformed(`${field} is not a number`);
  return value;
}

export function numberOrNull(from: Json, field: string): number | null {
  const value = from[field];
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** A list; absent is empty. */
export function list(from: Json, field: string): readonly unknown[] {
  const value = from[field];
  if (value === null || value === undefined) return [];
  if (!Array.isArray(value)) throw new Malformed(`${field} is not a list`);
  return value;
}
