/**
 * The live socket: opened, watched, and opened again.
 *
 * It promises that its state is the truth as far as a page can know it. A
 * browser tells a page neither of pings nor of a peer that is silently gone,
 * so after silence, and whenever the computer wakes, the server is asked for
 * an answer over the socket itself; without one the socket is given up.
 */

import { isFinal, waitMs } from "./backoff";
import { parseFrame, type Cursor, type Frame } from "./protocol";

export type ConnectionState =
  | { readonly kind: "connecting" }
  | { readonly kind: "live" }
  /** Connected, but an answer is overdue. */
  | { readonly kind: "checking" }
  | {
      readonly kind: "reconnecting";
      /** When the next try begins, ms since 1970 by this machine's clock. */
      readonly at: number;
      /** The server answers and the sign-in is good, but the socket is refused. */
      readonly isRefused: boolean;
    }
  /** For good; 4401 means signed out. */
  | { readonly kind: "ended"; readonly code: number; readonly reason: string };

/** The part of a WebSocket that is used; tests bring their own. */
export interface Socket {
  onopen: ((event: Event) => void) | null;
  onmessage: ((event: MessageEvent) => void) | null;
  onclose: ((event: CloseEvent) => void) | null;
  send(text: string): void;
  close(): void;
}

/** What the connection needs of the world. */
export interface World {
  open(): Socket;
  /** Whether the cookie is good; null if the server does not answer. */
  isSignedIn(): Promise<boolean | null>;
  random(): number;
}

export interface Listener {
  /** The socket is open and signed in: subscribe. */
  onHello(): void;
  onFrame(frame: Frame): void;
  onState(state: ConnectionState): void;
}

/** Names a subscription in the server's answers to it. */
export const SUBSCRIBE_REF = "subscribe";

const HELLO_WITHIN_MS = 10_000;
const ANSWER_WITHIN_MS = 5_000;
const DEFAULT_HEARTBEAT_MS = 15_000;
const WATCH_EVERY_MS = 1_000;
/** A connection that lasted this long was a good one: the next wait is a short one again. */
const GOOD_AFTER_MS = 5_000;
/** So many refused handshakes in a row, while the server answers, are told as a refusal. */
const REFUSED_AFTER = 2;

type Timer = ReturnType<typeof setTimeout>;

export class Connection {
  #socket: Socket | null = null;
  #state: ConnectionState = { kind: "connecting" };
  #attempt = 0;
  #refusals = 0;
  #heartbeatMs = DEFAULT_HEARTBEAT_MS;
  #isGreeted = false;
  #greetedAt = 0;
  #lastFrameAt = 0;
  #probes = 0;
  #helloTimer: Timer | undefined;
  #answerTimer: Timer | undefined;
  #retryTimer: Timer | undefined;
  #watchTimer: ReturnType<typeof setInterval> | undefined;

  constructor(
    private readonly world: World,
    private readonly listener: Listener,
  ) {}

  start(): void {
    this.#watchTimer = setInterval(() => this.#watch(), WATCH_EVERY_MS);
    this.#connect();
  }

  /** Closes for good, without a word to the listener. */
  stop(): void {
    clearInterval(this.#watchTimer);
    clearTimeout(this.#retryTimer);
    this.#abandon();
  }

  subscribe(classroom: string, since: Cursor | null): void {
    const from = since === null ? {} : { since };
    this.#send({ type: "subscribe", ref: SUBSCRIBE_REF, classroom, ...from });
  }

  /** The chain of deltas is broken beyond repair on this socket: take a new one. */
  restart(): void {
    if (this.#isGreeted) this.#lose();
  }

  /** A person, or a network that came back, asks for a try at once. */
  retryNow(): void {
    if (this.#state.kind !== "reconnecting") return;
    clearTimeout(this.#retryTimer);
    this.#connect();
  }

  /** The computer woke, the tab is seen again, the network changed: is the socket still one? */
  suspect(): void {
    if (this.#state.kind === "reconnecting") this.retryNow();
    else if (this.#isGreeted) this.#probe();
  }

  #connect(): void {
    this.#abandon();
    this.#tell({ kind: "connecting" });
    const socket = this.world.open();
    this.#socket = socket;
    this.#helloTimer = setTimeout(() => this.#lose(), HELLO_WITHIN_MS);
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => void this.#closed(event.code, event.reason);
  }

  #receive(data: unknown): void {
    this.#lastFrameAt = Date.now();
    clearTimeout(this.#answerTimer);
    this.#answerTimer = undefined;
    if (typeof data !== "string") return;
    const frame = parseFrame(data);
    if (frame.type === "hello") this.#greeted(frame.heartbeatMs);
    else this.listener.onFrame(frame);
    if (this.#state.kind === "checking") this.#tell({ kind: "live" });
  }

  #greeted(heartbeatMs: number): void {
    clearTimeout(this.#helloTimer);
    this.#isGreeted = true;
    this.#greetedAt = Date.now();
    this.#refusals = 0;
    if (heartbeatMs > 0) this.#heartbeatMs = heartbeatMs;
    this.#tell({ kind: "live" });
    this.listener.onHello();
  }

  #watch(): void {
    if (!this.#isGreeted || this.#answerTimer !== undefined) return;
    if (Date.now() - this.#lastFrameAt > 2 * this.#heartbeatMs) this.#probe();
  }

  /**
   * Any answer proves the socket. A frame of a type that no server knows is
   * answered by `unknown_type` and changes nothing on the other side.
   */
  #probe(): void {
    if (this.#answerTimer !== undefined) return;
    this.#probes += 1;
    this.#answerTimer = setTimeout(() => this.#lose(), ANSWER_WITHIN_MS);
    this.#send({ type: "probe", ref: `probe-${this.#probes}` });
    // at once only where there was silence: a tab that is looked at again need not flicker
    if (Date.now() - this.#lastFrameAt > this.#heartbeatMs) this.#tell({ kind: "checking" });
  }

  async #closed(code: number, reason: string): Promise<void> {
    const wasGreeted = this.#isGreeted;
    this.#abandon();
    if (isFinal(code)) {
      this.#tell({ kind: "ended", code, reason });
      return;
    }
    this.#retryLater();
    if (!wasGreeted) await this.#explainRefusal();
  }

  /** A refused handshake reaches a page as a mere 1006: ask the server what it may have meant. */
  async #explainRefusal(): Promise<void> {
    const isSignedIn = await this.world.isSignedIn();
    const { kind } = this.#state;
    if (kind !== "reconnecting" && kind !== "connecting") return;
    if (isSignedIn === false) {
      clearTimeout(this.#retryTimer);
      this.#abandon();
      this.#tell({ kind: "ended", code: 4401, reason: "" });
      return;
    }
    this.#refusals = isSignedIn === true ? this.#refusals + 1 : 0;
    if (this.#state.kind === "reconnecting") {
      this.#tell({ ...this.#state, isRefused: this.#refusals >= REFUSED_AFTER });
    }
  }

  #lose(): void {
    this.#abandon();
    this.#retryLater();
  }

  #retryLater(): void {
    if (this.#greetedAt > 0 && Date.now() - this.#greetedAt > GOOD_AFTER_MS) this.#attempt = 0;
    this.#greetedAt = 0;
    const wait = waitMs(this.#attempt, this.world.random());
    this.#attempt += 1;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.#connect(), wait);
    this.#tell({
      kind: "reconnecting",
      at: Date.now() + wait,
      isRefused: this.#refusals >= REFUSED_AFTER,
    });
  }

  /** Lets go of the socket; what it still has to say is not heard. */
  #abandon(): void {
    clearTimeout(this.#helloTimer);
    clearTimeout(this.#answerTimer);
    this.#answerTimer = undefined;
    this.#isGreeted = false;
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = null;
    socket.onmessage = null;
    socket.onclose = null;
    socket.close();
  }

  #send(frame: object): void {
    if (this.#isGreeted) this.#socket?.send(JSON.stringify(frame));
  }

  #tell(state: ConnectionState): void {
    this.#state = state;
    this.listener.onState(state);
  }
}
