/** The lists of students and of alerts: who comes first, and who is shown. Pure. */

import type { Alert, Person, Status, Student } from "./protocol";
import { words } from "./words";

/** Who needs attention comes first. */
export const STATUS_ORDER: readonly Status[] = [
  "help",
  "stuck",
  "error",
  "active",
  "idle",
  "offline",
];

const RANK = new Map(STATUS_ORDER.map((status, rank) => [status, rank]));
const LAST_RANK = STATUS_ORDER.length;

/** Alerts that call for help; the others only tell something, and move nobody up. */
const CALLS: ReadonlySet<string> = new Set(["errors_in_a_row", "stuck"]);

// numeric: Student 2 before Student 10; Japanese names in their own order
const COLLATOR = new Intl.Collator(["ja", "en"], { numeric: true, sensitivity: "base" });

export interface Filter {
  readonly text: string;
  /** Empty: all. */
  readonly statuses: ReadonlySet<Status>;
}

export const NO_FILTER: Filter = { text: "", statuses: new Set() };

/**
 * The ids in the order of the list: by status; inside a status whoever has
 * waited longest first (an open request for help, an open alert), the others
 * by name. The order rests on what seldom changes, so that rows stay put.
 */
export function orderOf(
  students: ReadonlyMap<string, Student>,
  alerts: ReadonlyMap<string, Alert>,
): string[] {
  const alerted = firstAlerts(alerts);
  const since = (student: Student) => student.help?.since ?? alerted.get(student.id) ?? "";
  return [...students.values()]
    .map((student) => ({ student, since: since(student) }))
    .sort(
      (a, b) =>
        rank(a.student) - rank(b.student) ||
        bySince(a.since, b.since) ||
        COLLATOR.compare(shownName(a.student), shownName(b.student)) ||
        (a.student.id < b.student.id ? -1 : 1),
    )
    .map((entry) => entry.student.id);
}

function rank(student: Student): number {
  return RANK.get(student.status) ?? LAST_RANK;
}

/** Earlier first; without a time last. Times are ISO 8601 in UTC, so text order is time order. */
function bySince(a: string, b: string): number {
  if (a === b) return 0;
  if (a === "") return 1;
  if (b === "") return -1;
  return a < b ? -1 : 1;
}

function firstAlerts(alerts: ReadonlyMap<string, Alert>): ReadonlyMap<string, string> {
  const first = new Map<string, string>();
  for (const alert of alerts.values()) {
    if (!CALLS.has(alert.kind)) continue;
    const known = first.get(alert.student);
    if (known === undefined || alert.since < known) first.set(alert.student, alert.since);
  }
  return first;
}

/** Those that call for help first; among themselves the longest open first. */
export function alertsInOrder(alerts: ReadonlyMap<string, Alert>): Alert[] {
  const calls = (alert: Alert) => (CALLS.has(alert.kind) ? 0 : 1);
  return [...alerts.values()].sort((a, b) => calls(a) - calls(b) || bySince(a.since, b.since));
}

/** The names under one student's address, the student's own first. */
function namesOf(student: Student): readonly string[] {
  return [student.name, ...student.people.map((person) => person.name)];
}

/** What to call a student who may not have sent a name. */
export function shownName(student: Student): string {
  return isNameless(student) ? `#${student.id.slice(0, 8)}` : student.name;
}

/** What to call one of several people under an address, who may not have sent a name. */
export function personName(person: Person): string {
  return isNameless(person) ? words.roster.nameless : person.name;
}

export function isNameless(one: Student | Person): boolean {
  return one.name.trim() === "";
}

/** Whether the filter lets this student through. */
export function isShown(student: Student, filter: Filter): boolean {
  if (filter.statuses.size > 0 && !filter.statuses.has(student.status)) return false;
  const needle = folded(filter.text.trim());
  if (needle === "") return true;
  const fields = [...namesOf(student), student.team, student.notebook, student.cellId];
  return fields.some((field) => field !== null && folded(field).includes(needle));
}

/** As names are compared elsewhere: NFKC, so that full-width letters are found by plain ones. */
function folded(text: string): string {
  return text.normalize("NFKC").toLocaleLowerCase();
}

export function countsOf(students: ReadonlyMap<string, Student>): ReadonlyMap<Status, number> {
  const counts = new Map<Status, number>(STATUS_ORDER.map((status) => [status, 0]));
  for (const { status } of students.values()) counts.set(status, (counts.get(status) ?? 0) + 1);
  return counts;
}
