/** Every text that a person reads on the page, in one place, so that other languages can follow. */

import type { Status } from "./protocol";

const plural = (count: number, one: string, many: string) => (count === 1 ? one : many);

const EVENTS: Readonly<Record<string, string>> = {
  notebook_opened: "opened",
  notebook_saved: "saved",
  notebook_closed: "closed",
  cell_executed: "ran",
  help: "asks for help",
  help_stop: "no longer asks for help",
};

const RUNS: Readonly<Record<string, string>> = {
  ok: "ok",
  error: "failed",
  interrupted: "interrupted",
  skipped: "skipped",
  not_run: "not run",
  unknown: "ran",
};

const ALERTS: Readonly<Record<string, string>> = {
  errors_in_a_row: "Errors in a row",
  stuck: "Stuck",
  runs_not_reported: "Runs not reported",
  kernel_restarted: "Kernel restarted",
  shared_identity: "One address for several",
};

const ALERT_MEANINGS: Readonly<Record<string, string>> = {
  errors_in_a_row: "Three or more errors in a row on one cell.",
  runs_not_reported:
    "The kernel ran cells that no event told of: two runs within a moment give one event, and some are lost on the way. The counts of this student are too low by as many.",
  kernel_restarted: "The kernel’s counter began anew. What was computed before is gone until its cells run again.",
  shared_identity:
    "Events of two people, or of two browsers of one, come in turn under one address. They count as one student; below the row they are listed apart. Each should set an own e-mail address in the extension’s settings.",
};

const REFUSALS: Readonly<Record<number, string>> = {
  400: "The body was not a list of events. Something other than the extension may be sending to this address.",
  401: "The key in the extension’s address is missing or is not this server’s. Paste the address from this page again.",
  403: "The key was understood but may not be used for this, or the page it came from is not allowed.",
  404: "The address has the right host but the wrong path. Paste it from this page again.",
  405: "The address was reached with the wrong method. Events are sent with POST.",
  408: "The request arrived too slowly: look at the network between the students and this server.",
  413: "The request was too large.",
  415: "The request was not sent as JSON.",
  422: "The request arrived, but every event in it was refused.",
  503: "The server cannot take events right now. Clients try again by themselves.",
};

const CONSOLE_REFUSED =
  "This was not a notebook but somebody’s console. If it was opened under another address than the server expects, set http.public_url or http.origins.";

export const words = {
  product: "Mimamori",
  title: (help: number) => (help > 0 ? `(${help}) Mimamori` : "Mimamori"),

  never: "–",
  none: "–",
  seconds: (n: number) => `${n} s`,
  minutes: (n: number) => `${n} min`,
  hours: (h: number, min: number) => (min === 0 ? `${h} h` : `${h} h ${min} min`),
  days: (n: number) => `${n} d`,
  ago: (age: string) => `${age} ago`,

  status: {
    help: "Help",
    stuck: "Stuck",
    error: "Error",
    active: "Active",
    idle: "Idle",
    offline: "Offline",
  } satisfies Record<Status, string>,
  statusMeaning: {
    help: "asks for help",
    stuck: "three or more errors in a row on one cell",
    error: "the last execution failed",
    active: "did something within the last 2 minutes",
    idle: "quiet for 2 to 30 minutes",
    offline: "quiet for more than 30 minutes",
  } satisfies Record<Status, string>,

  connection: {
    connecting: "Connecting…",
    live: "Live",
    liveMeaning: "Connected: what you see is the present.",
    checking: "Checking…",
    lost: "Connection lost",
    reconnecting: (seconds: number) =>
      seconds > 0 ? `Reconnecting in ${seconds} s` : "Reconnecting…",
    stale: "Stale",
    staleMeaning: (age: string) => `Connected, but nothing has come for ${age} where something should.`,
    ended: "Ended",
    retryNow: "Try now",
    lostMeaning: "What you see is what was last known. The page goes on by itself when the server is back.",
    refusedMeaning:
      "The server answers, but refuses the live connection. If the console is opened under another address than the server expects, set http.public_url or http.origins.",
  },

  ended: (code: number, reason: string) => {
    switch (code) {
      case 4401:
        return "You are signed out: the sign-in is no longer good.";
      case 4403:
        return "Your right to see this classroom was withdrawn.";
      case 1008:
        return "The server refused this console for good.";
      default:
        return `The server ended the connection for good (code ${code}${reason === "" ? "" : `: ${reason}`}).`;
    }
  },

  header: {
    classroom: "Classroom",
    students: (n: number) => `${n} ${plural(n, "student", "students")}`,
    connect: "Connect",
    connectMeaning: "How to connect notebooks to this server",
    backToClass: "Back to the class",
    signOut: "Sign out",
    noCode: "no code stored",
    noCodeMeaning: "This classroom stores no code, no outputs and no texts of errors: they are dropped as they arrive.",
    filterByStatus: "Show only these statuses",
  },

  roster: {
    caption: "Students, who needs attention first",
    search: "Name, team, notebook, cell  ( / )",
    searchLabel: "Filter students by text",
    clear: "Show all",
    shown: (shown: number, all: number) => `${shown} of ${all} shown`,
    nobody: "Nobody matches this filter.",
    columns: {
      status: "Status",
      student: "Student",
      notebook: "Notebook",
      cell: "Cell",
      executions: "Runs",
      errors: "Errors",
      consecutive: "In a row",
      since: "Last seen",
    },
    columnMeaning: {
      executions: "Executions in this lesson",
      errors: "Executions in this lesson that failed",
      consecutive: "Errors on the current cell since it last went well",
      since: "Time since the last event; for an open request, the time the student has waited",
    },
    cell: (index: number) => `#${index + 1}`,
    cellMeaning: (index: number | null, id: string | null) =>
      [
        index === null ? null : `cell ${index + 1} from the top (index ${index})`,
        id === null ? null : `id ${id}`,
      ]
        .filter((part) => part !== null)
        .join(", "),
    waits: (age: string) => `waits ${age}`,
    claimedBy: "taken by",
    nameless: "has not sent a name",
    addressNotSetUp: "address not set up",
    addressNotSetUpMeaning:
      "This is the address that the extension has before a student sets an own one: all who leave it appear as this one student. Each sets an own e-mail address under Settings → Settings Editor → セルモニター (Cell Monitor).",
    oneOf: (n: number) => `one of ${n} under this address`,
  },

  alerts: {
    heading: "Open alerts",
    none: "No open alerts.",
    kind: (kind: string) => ALERTS[kind] ?? kind.replaceAll("_", " "),
    meaning: (kind: string) =>
      [ALERTS[kind], ALERT_MEANINGS[kind]].filter((part) => part !== undefined).join(": "),
  },

  feed: {
    heading: "What happens",
    none: "Nothing yet.",
    omitted: (n: number) => `+ ${n} not listed`,
    omittedMeaning: "In busy moments the server sends the latest of each student and leaves events out of this list. Nothing is lost: the counts and the histories have them.",
    event: (type: string) => EVENTS[type] ?? type.replaceAll("_", " "),
    run: (status: string) => RUNS[status] ?? status.replaceAll("_", " "),
    unknownStudent: "someone",
  },

  student: {
    heading: "Student",
    close: "Close",
    executions: "Latest executions",
    noExecutions: "No executions in the last 24 hours.",
    loading: "Loading…",
    failed: "The history could not be loaded.",
    again: "Try again",
    gone: "This student is no longer in the list.",
    cells: "Cells of this notebook",
    cellMeaning: (outcome: string, tries: number) =>
      `${outcome}, ${tries} ${plural(tries, "try", "tries")}`,
    currentCell: "Current cell",
    lastActivity: "Last seen",
    people: "Under this address",
    waitingSince: "Waiting for help",
    executed: "Runs",
    failedRuns: "Errors",
    inARow: "in a row",
    cut: "… cut here",
    code: "Code",
    error: "Error",
  },

  signIn: {
    heading: "Sign in",
    lead: "This page shows a class at work. To open it, use a sign-in link.",
    label: "Sign-in link or token",
    placeholder: "http://…/#token=…",
    submit: "Sign in",
    busy: "Signing in…",
    how: "Where do I get one?",
    howText: "On the machine that runs the server:",
    howCommand: "mimamori link",
    howAfter:
      "It prints a link that is good for 10 minutes. The server prints one too when it starts on a terminal.",
    refused: "This link or token is not, or no longer, good. Links last 10 minutes: ask for a fresh one.",
    unreachable: "The server could not be reached. Try again in a moment.",
    tooMany: "Too many tries. Wait a little and try again.",
    failed: (status: number) => `The server answered ${status}. Try again, or look at its log.`,
    empty: "Paste a link or a token first.",
    signedOut: "You signed out.",
    stillSignedIn:
      "The server could not be reached to sign out: this browser may still be signed in. Reload the page and sign out again.",
  },

  connect: {
    heading: "Connect a class",
    lead: "Notebooks send what happens to the address below. Whoever has it can send events to this classroom, and can read nothing.",
    privacyLead: "Tell your students what is kept of them:",
    privacy: "the classroom’s privacy page",
    address: "Ingest address",
    addressHint: "Paste it where a notebook extension asks for its server’s address. The key is in it.",
    loopback:
      "This address works on this machine only. Start the server with “make run LAN=1”, or set http.public_url, to let others reach it.",
    mixed:
      "Notebooks that are opened over https cannot send to an http address. Put the server behind https and set http.public_url.",
    overrides: "JupyterLab with the cell-monitor extension",
    overridesHint: "Save as overrides.json in the settings directory of JupyterLab on the machine that serves it:",
    overridesPath: "<environment>/share/jupyter/lab/settings/overrides.json",
    overridesAfter:
      "The “application directory” that “jupyter lab path” prints holds that settings directory. If the file is there already, add this one entry. Then reload JupyterLab. Each student sets an e-mail address, name and team of their own under Settings → Settings Editor → セルモニター (Cell Monitor): those who leave the default all appear as one student.",
    overridesCheck:
      "The name before the colon is that of the installed extension. If nothing arrives, compare it with what “jupyter labextension list” shows.",
    curl: "Try it without a notebook",
    curlHint: "One event of a made-up student, from any terminal:",
    copy: "Copy",
    copied: "Copied",
    copyFailed: "Select and copy by hand",
    what: (what: string) => `Copy: ${what}`,
    listening: "Listening for the first event…",
    listeningHint: "This page changes by itself when one arrives.",
    noneYet: "No request has reached this server yet.",
    lastAccepted: "Last accepted request",
    lastRefused: "Last refused request",
    wanted: (wanted: string) => (wanted === "live" ? "a console" : "events"),
    times: (n: number) => (n > 1 ? `${n} times` : ""),
    from: "from",
    programs: "a program",
    refusedEarlier: "Refused before that",
    broken: "Requests arrive, but are refused",
    fine: "Events are arriving",
    unreachable: "The server cannot be reached at the moment.",
    loading: "Asking the server for its address…",
    refusal: (wanted: string, status: number) =>
      (wanted === "live" ? CONSOLE_REFUSED : REFUSALS[status]) ?? "The request was refused. What the server says of it stands beside.",
  },
} as const;
