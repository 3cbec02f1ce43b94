/** The HTTP calls of the page. Addresses are relative to the page, under whatever path it is served. */

import { learnServerClock } from "./clock";
import { list, numberOrNull, object, string, stringOrNull } from "./protocol";

const TIMEOUT_MS = 10_000;

/** The server answered, but not with success. */
export class Refused extends Error {
  constructor(readonly status: number) {
    super(`answered ${status}`);
  }
}

export function address(path: string): URL {
  // of the path alone: neither fragment nor query of the page belong there
  return new URL(path, location.origin + location.pathname);
}

export function liveAddress(): URL {
  const url = address("api/v1/live");
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

async function call(path: string, init: RequestInit = {}): Promise<Response> {
  const response = await fetch(address(path), {
    ...init,
    credentials: "same-origin",
    cache: "no-store",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  learnServerClock(response.headers.get("date"));
  if (!response.ok) throw new Refused(response.status);
  return response;
}

/** Whether the cookie is good; null if the server does not say. */
export async function isSignedIn(): Promise<boolean | null> {
  try {
    await call("api/v1/session");
    return true;
  } catch (error) {
    if (error instanceof Refused && (error.status === 401 || error.status === 403)) return false;
    return null;
  }
}

/** Exchanges a token for the cookie. */
export async function signIn(token: string): Promise<void> {
  await call("api/v1/session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  });
}

export async function signOut(): Promise<void> {
  await call("api/v1/session", { method: "DELETE" });
}

export interface ClassroomInfo {
  readonly name: string;
  /** Whether students' code, outputs and texts of errors are kept. */
  readonly storesCode: boolean;
}

/** What is set for a classroom; null if there is none of this id. */
export async function classroomInfo(id: string): Promise<ClassroomInfo | null> {
  const answer = object(await (await call("api/v1/classrooms?limit=1000")).json());
  const found = list(answer, "items")
    .map(object)
    .find((item) => item["id"] === id);
  if (found === undefined) return null;
  return { name: string(found, "name"), storesCode: found["storesCode"] !== false };
}

/** The page that tells students what is kept of them; nobody has to sign in for it. */
export function privacyAddress(classroom: string): string {
  return address(`privacy/${encodeURIComponent(classroom)}`).href;
}

/** A request that was refused, or several alike in a row. */
export interface Refusal {
  /** When the last of them was. */
  readonly at: string;
  /** `events`, `live` or `no_such_address`. */
  readonly wanted: string;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  /** The page that sent it, if a page did. */
  readonly origin: string | null;
  readonly count: number;
}

export interface ConnectInfo {
  readonly ingestUrl: string;
  readonly key: string;
  /** Newest first. */
  readonly lastRefusals: readonly Refusal[];
  readonly lastAccepted: string | null;
}

export async function connectInfo(): Promise<ConnectInfo> {
  const answer = object(await (await call("api/v1/connect")).json());
  const refusals = list(answer, "lastRefusals").map(refusalOf);
  return {
    ingestUrl: string(answer, "ingestUrl"),
    key: string(answer, "key"),
    lastRefusals: refusals.sort((a, b) => (a.at < b.at ? 1 : -1)),
    lastAccepted: stringOrNull(answer, "lastAccepted"),
  };
}

function refusalOf(value: unknown): Refusal {
  const refusal = object(value);
  return {
    at: string(refusal, "at"),
    wanted: stringOrNull(refusal, "wanted") ?? "events",
    status: numberOrNull(refusal, "status") ?? 0,
    code: stringOrNull(refusal, "code") ?? "",
    detail: stringOrNull(refusal, "detail") ?? "",
    origin: stringOrNull(refusal, "origin"),
    count: numberOrNull(refusal, "count") ?? 1,
  };
}

export interface Execution {
  readonly eventId: string;
  readonly notebook: string | null;
  readonly cellId: string | null;
  readonly cellIndex: number | null;
  readonly status: string;
  readonly executionCount: number | null;
  readonly code: string | null;
  readonly error: string | null;
  readonly at: string | null;
}

/** How far a student came with one cell. */
export interface CellProgress {
  readonly notebook: string | null;
  readonly cellId: string | null;
  readonly cellIndex: number | null;
  readonly status: string;
  readonly tries: number;
}

export interface StudentDetails {
  readonly cells: readonly CellProgress[];
  /** Newest first. */
  readonly executions: readonly Execution[];
}

/** The latest executions that the panel shows. */
const EXECUTIONS_SHOWN = 20;

export async function studentDetails(classroom: string, id: string): Promise<StudentDetails> {
  const path = `api/v1/classrooms/${encodeURIComponent(classroom)}/students/${encodeURIComponent(id)}`;
  const [student, executions] = await Promise.all([
    call(path).then((response) => response.json()),
    call(`${path}/executions?limit=${EXECUTIONS_SHOWN}`).then((response) => response.json()),
  ]);
  return {
    cells: list(object(student), "cells").map(cellOf),
    executions: list(object(executions), "items").map(executionOf),
  };
}

function cellOf(value: unknown): CellProgress {
  const cell = object(value);
  return {
    notebook: stringOrNull(cell, "notebook"),
    cellId: stringOrNull(cell, "cellId"),
    cellIndex: numberOrNull(cell, "cellIndex"),
    status: stringOrNull(cell, "status") ?? "unknown",
    tries: numberOrNull(cell, "tries") ?? 0,
  };
}

function executionOf(value: unknown): Execution {
  const execution = object(value);
  return {
    eventId: string(execution, "eventId"),
    notebook: stringOrNull(execution, "notebook"),
    cellId: stringOrNull(execution, "cellId"),
    cellIndex: numberOrNull(execution, "cellIndex"),
    status: stringOrNull(execution, "status") ?? "unknown",
    executionCount: numberOrNull(execution, "executionCount"),
    code: stringOrNull(execution, "code"),
    error: stringOrNull(execution, "error"),
    at: stringOrNull(execution, "at"),
  };
}
