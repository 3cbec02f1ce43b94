/**
 * A classroom as the page shows it: the fold over its frames, the socket that
 * brings them, and signals for the views.
 */

import { createSignal, type Accessor } from "solid-js";

import { isSignedIn, liveAddress } from "./api";
import { learnServerTime } from "./clock";
import { Connection, SUBSCRIBE_REF, type ConnectionState } from "./connection";
import { SUBPROTOCOL, type Frame } from "./protocol";
import { apply, emptyState, type ClassState } from "./store";

/** A broken chain that is not whole again by then is given up, together with its socket. */
const RESYNC_WITHIN_MS = 5_000;
/** A subscription that was refused (the classroom is just starting) is asked for again after this. */
const ASK_AGAIN_MS = 1_000;
/** A hidden tab draws no frames of the screen, but its title goes on counting. */
const HIDDEN_EVERY_MS = 500;

export interface Classroom {
  readonly state: Accessor<ClassState>;
  readonly connection: Accessor<ConnectionState>;
  retryNow(): void;
  stop(): void;
}

export function watchClassroom(name: string): Classroom {
  let state = emptyState(name);
  const [shown, setShown] = createSignal<ClassState>(state);
  const [connectionState, setConnectionState] = createSignal<ConnectionState>({
    kind: "connecting",
  });
  const show = oncePerFrame(() => setShown(() => state));
  let resyncTimer: ReturnType<typeof setTimeout> | undefined;
  let askAgainTimer: ReturnType<typeof setTimeout> | undefined;

  const connection = new Connection(
    {
      open: () => new WebSocket(liveAddress(), SUBPROTOCOL),
      isSignedIn,
      random: Math.random,
    },
    {
      onHello: () => connection.subscribe(name, state.cursor),
      onFrame: receive,
      onState: (told) => {
        if (told.kind !== "live" && told.kind !== "checking") clearTimers();
        setConnectionState(told);
      },
    },
  );

  function receive(frame: Frame): void {
    if (frame.type === "snapshot" || frame.type === "delta") {
      for (const student of frame.students) learnServerTime(student.lastActivity);
    }
    const step = apply(state, frame);
    state = step.state;
    if (step.resubscribe) connection.subscribe(name, state.cursor);
    watchResync();
    if (frame.type === "error" && frame.ref === SUBSCRIBE_REF) askAgain();
    show();
  }

  function watchResync(): void {
    if (!state.isResyncing) {
      clearTimeout(resyncTimer);
      resyncTimer = undefined;
      return;
    }
    resyncTimer ??= setTimeout(() => {
      // not even the resumption helped: begin from nothing
      resyncTimer = undefined;
      state = { ...state, cursor: null };
      connection.restart();
    }, RESYNC_WITHIN_MS);
  }

  function askAgain(): void {
    clearTimeout(askAgainTimer);
    askAgainTimer = setTimeout(() => connection.subscribe(name, state.cursor), ASK_AGAIN_MS);
  }

  function clearTimers(): void {
    clearTimeout(resyncTimer);
    resyncTimer = undefined;
    clearTimeout(askAgainTimer);
  }

  const suspect = () => {
    if (document.visibilityState === "visible") connection.suspect();
  };
  document.addEventListener("visibilitychange", suspect);
  window.addEventListener("online", suspect);
  window.addEventListener("offline", suspect);
  connection.start();

  return {
    state: shown,
    connection: connectionState,
    retryNow: () => connection.retryNow(),
    stop: () => {
      document.removeEventListener("visibilitychange", suspect);
      window.removeEventListener("online", suspect);
      window.removeEventListener("offline", suspect);
      clearTimers();
      connection.stop();
    },
  };
}

/** However many frames come, the page is drawn once for each frame of the screen. */
function oncePerFrame(draw: () => void): () => void {
  let frame: number | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const run = () => {
    if (frame !== undefined) cancelAnimationFrame(frame);
    clearTimeout(timer);
    frame = undefined;
    draw();
  };
  return () => {
    if (frame !== undefined) return;
    frame = requestAnimationFrame(run);
    timer = setTimeout(run, HIDDEN_EVERY_MS);
  };
}
