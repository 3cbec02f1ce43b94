/** Whether somebody is signed in, and how that changes. */

import { createSignal, type Accessor } from "solid-js";

import { isSignedIn, Refused, signIn, signOut } from "./api";
import { tokenOfFragment } from "./token";
import { words } from "./words";

export type SessionState =
  | { readonly kind: "checking" }
  | { readonly kind: "signed-in" }
  /** `notice` says why, or what went wrong; empty for somebody who just came. */
  | { readonly kind: "signed-out"; readonly notice: string };

export interface Session {
  readonly state: Accessor<SessionState>;
  readonly isBusy: Accessor<boolean>;
  enter(token: string): Promise<void>;
  leave(): Promise<void>;
  /** The server said so. */
  ended(notice: string): void;
}

/** How long to wait for a server that does not answer the first question. */
const ASK_AGAIN_MS = 2_000;

export function createSession(): Session {
  const [state, setState] = createSignal<SessionState>({ kind: "checking" });
  const [isBusy, setBusy] = createSignal(false);

  async function enter(token: string): Promise<void> {
    setBusy(true);
    try {
      await signIn(token);
      setState({ kind: "signed-in" });
    } catch (error) {
      setState({ kind: "signed-out", notice: noticeOf(error) });
    } finally {
      setBusy(false);
    }
  }

  async function enterOrStay(token: string): Promise<void> {
    await enter(token);
    // an old link in the history of somebody who is signed in anyway
    const { kind } = state();
    if (kind === "signed-out" && (await isSignedIn()) === true) setState({ kind: "signed-in" });
  }

  async function check(): Promise<void> {
    const isGood = await isSignedIn();
    if (state().kind !== "checking") return;
    if (isGood === null) setTimeout(() => void check(), ASK_AGAIN_MS);
    else setState(isGood ? { kind: "signed-in" } : { kind: "signed-out", notice: "" });
  }

  async function leave(): Promise<void> {
    try {
      await signOut();
      setState({ kind: "signed-out", notice: words.signIn.signedOut });
    } catch {
      setState({ kind: "signed-out", notice: words.signIn.stillSignedIn });
    }
  }

  function begin(): void {
    const token = takeToken();
    if (token === null) void check();
    else void enterOrStay(token);
  }

  begin();
  // a link pasted over the address of an open page only changes the fragment
  window.addEventListener("hashchange", () => {
    const token = takeToken();
    if (token !== null) void enterOrStay(token);
  });

  return {
    state,
    isBusy,
    enter,
    leave,
    ended: (notice) => setState({ kind: "signed-out", notice }),
  };
}

/** Takes the token out of the address bar, so that it stays neither there nor in the history. */
function takeToken(): string | null {
  const token = tokenOfFragment(location.hash);
  if (token !== null) history.replaceState(history.state, "", location.pathname + location.search);
  return token;
}

function noticeOf(error: unknown): string {
  if (!(error instanceof Refused)) return words.signIn.unreachable;
  switch (error.status) {
    case 400:
    case 401:
    case 403:
    case 422:
      return words.signIn.refused;
    case 429:
      return words.signIn.tooMany;
    default:
      return words.signIn.failed(error.status);
  }
}
