import { describe, expect, it } from "vitest";

import type { Alert, Status, Student } from "./protocol";
import { alertsInOrder, countsOf, isShown, NO_FILTER, orderOf, personName, shownName } from "./roster";
import { words } from "./words";

function student(id: string, status: Status, changes: Partial<Student> = {}): Student {
  return {
    id,
    name: id,
    team: null,
    status,
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

function help(since: string) {
  return { help: { id: since, since, cellId: null, claimedBy: null } };
}

function byId(...students: Student[]): ReadonlyMap<string, Student> {
  return new Map(students.map((each) => [each.id, each]));
}

const NO_ALERTS: ReadonlyMap<string, Alert> = new Map();

describe("the order of the list", () => {
  it("puts first who needs attention", () => {
    const students = byId(
      student("offline", "offline"),
      student("idle", "idle"),
      student("active", "active"),
      student("error", "error"),
      student("stuck", "stuck"),
      student("help", "help", help("2026-01-01T00:00:00.000Z")),
    );

    expect(orderOf(students, NO_ALERTS)).toEqual(["help", "stuck", "error", "active", "idle", "offline"]);
  });

  it("puts first, among those who ask for help, who has waited longest", () => {
    const students = byId(
      student("a", "help", help("2026-01-01T00:02:00.000Z")),
      student("b", "help", help("2026-01-01T00:01:00.000Z")),
    );

    expect(orderOf(students, NO_ALERTS)).toEqual(["b", "a"]);
  });

  it("puts first, among those who are stuck, whose alert is oldest", () => {
    const students = byId(student("a", "stuck"), student("b", "stuck"));
    const alert = { id: "x", kind: "errors_in_a_row", student: "b", cellId: null, since: "2026", reason: "", state: "open" };

    expect(orderOf(students, new Map([["x", alert]]))).toEqual(["b", "a"]);
  });

  it("goes by name otherwise, numbers as numbers, so that activity moves nobody", () => {
    const students = byId(
      student("1", "active", { name: "Student 10", lastActivity: "2026-01-01T00:00:09.000Z" }),
      student("2", "active", { name: "Student 2" }),
    );

    expect(orderOf(students, NO_ALERTS)).toEqual(["2", "1"]);
  });

  it("tells those apart who have the same name", () => {
    const one = byId(student("x", "active", { name: "同じ" }), student("y", "active", { name: "同じ" }));
    const other = byId(student("y", "active", { name: "同じ" }), student("x", "active", { name: "同じ" }));

    expect(orderOf(one, NO_ALERTS)).toEqual(orderOf(other, NO_ALERTS));
  });
});

it("moves nobody up for an alert that only tells something", () => {
  const students = byId(student("a", "active"), student("b", "active"));
  const told = (kind: string): Alert => ({ id: kind, kind, student: "b", cellId: null, since: "2026", reason: "", state: "open" });
  const alerts = new Map(
    ["runs_not_reported", "kernel_restarted", "shared_identity"].map((kind) => [kind, told(kind)]),
  );

  expect(orderOf(students, alerts)).toEqual(["a", "b"]);
});

describe("the filter", () => {
  const hanako = student("s", "error", { name: "山田花子", team: "チームA", notebook: "lesson1/演習2.ipynb" });

  it.each(["花子", "チームａ", "LESSON1", "演習", "  "])("finds by part of name, team or notebook: %s", (text) => {
    expect(isShown(hanako, { ...NO_FILTER, text })).toBe(true);
  });

  it("finds whoever works under the same address", () => {
    const person = { name: "佐藤次郎", team: null, notebook: null, cellId: null, cellIndex: null, lastActivity: null };
    const shared = { ...hanako, people: [person] };

    expect(isShown(shared, { ...NO_FILTER, text: "次郎" })).toBe(true);
  });

  it("leaves out what does not match", () => {
    expect(isShown(hanako, { ...NO_FILTER, text: "太郎" })).toBe(false);
  });

  it("goes by status too", () => {
    expect(isShown(hanako, { text: "", statuses: new Set(["error"]) })).toBe(true);
    expect(isShown(hanako, { text: "花子", statuses: new Set(["help"]) })).toBe(false);
  });
});

it("counts every status, also those that nobody has", () => {
  const counts = countsOf(byId(student("a", "help"), student("b", "help"), student("c", "idle")));

  expect(Object.fromEntries(counts)).toEqual({ help: 2, stuck: 0, error: 0, active: 0, idle: 1, offline: 0 });
});

it("calls a student without a name by the id", () => {
  expect(shownName(student("0123456789abcdef", "active", { name: " " }))).toBe("#01234567");
});

describe("the order of the alerts", () => {
  it("puts first what calls for help, then what is open longest", () => {
    const alert = (id: string, kind: string, since: string): [string, Alert] => [
      id,
      { id, kind, student: "s", cellId: null, since, reason: "", state: "open" },
    ];
    const alerts = new Map([
      alert("restart", "kernel_restarted", "2026-01-01T00:00:00.000Z"),
      alert("late", "errors_in_a_row", "2026-01-01T00:09:00.000Z"),
      alert("shared", "shared_identity", "2026-01-01T00:01:00.000Z"),
      alert("early", "errors_in_a_row", "2026-01-01T00:05:00.000Z"),
    ]);

    expect(alertsInOrder(alerts).map(({ id }) => id)).toEqual(["early", "late", "restart", "shared"]);
  });
});

it.each([["", words.roster.nameless], ["　", words.roster.nameless], ["佐藤次郎", "佐藤次郎"]])(
  "calls a person who shares an address by the name, if there is one: '%s'",
  (name, shown) => {
    const person = { name, team: null, notebook: null, cellId: null, cellIndex: null, lastActivity: null };

    expect(personName(person)).toBe(shown);
  },
);
