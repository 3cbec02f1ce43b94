import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { isFinal, waitMs } from "./backoff";
import { Connection, type ConnectionState, type Socket } from "./connection";
import type { Frame } from "./protocol";

class FakeSocket implements Socket {
  onopen: ((event: Event) => void) | null = null;
  onmessage: ((event: MessageEvent) => void) | null = null;
  onclose: ((event: CloseEvent) => void) | null = null;
  sent: { type: string; [field: string]: unknown }[] = [];
  isClosed = false;

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(): void {
    this.isClosed = true;
  }

  says(frame: object): void {
    this.onmessage?.({ data: JSON.stringify(frame) } as MessageEvent);
  }

  closes(code: number, reason = ""): void {
    this.onclose?.({ code, reason } as CloseEvent);
  }

  sentTypes(): string[] {
    return this.sent.map((frame) => frame.type);
  }
}

function setUp(isSignedIn: boolean | null = true) {
  const sockets: FakeSocket[] = [];
  const states: ConnectionState[] = [];
  const frames: Frame[] = [];
  const connection: Connection = new Connection(
    {
      open: () => {
        const socket = new FakeSocket();
        sockets.push(socket);
        return socket;
      },
      isSignedIn: async () => isSignedIn,
      random: () => 1,
    },
    {
      onHello: () => connection.subscribe("default", { epoch: "e1", seq: 4 }),
      onFrame: (frame) => frames.push(frame),
      onState: (state) => states.push(state),
    },
  );
  connection.start();
  const latest = () => {
    const socket = sockets.at(-1);
    if (socket === undefined) throw new Error("no socket was opened");
    return socket;
  };
  const greet = () => latest().says({ type: "hello", heartbeatMs: 15_000 });
  return { connection, sockets, states, frames, latest, greet, kind: () => states.at(-1)?.kind };
}

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

describe("the connection", () => {
  it("subscribes from where the page stands once the server has said hello", () => {
    const { latest, greet, kind } = setUp();

    expect(kind()).toBe("connecting");
    greet();

    expect(kind()).toBe("live");
    expect(latest().sent).toEqual([
      { type: "subscribe", ref: "subscribe", classroom: "default", since: { epoch: "e1", seq: 4 } },
    ]);
  });

  it("comes back after a cut, later and later, and at once when asked", () => {
    const { connection, sockets, latest, greet, kind } = setUp();
    greet();

    latest().closes(1001);
    expect(kind()).toBe("reconnecting");
    vi.advanceTimersByTime(500);
    expect(sockets).toHaveLength(2);

    latest().closes(1006);
    vi.advanceTimersByTime(500);
    expect(sockets).toHaveLength(2);
    vi.advanceTimersByTime(500);
    expect(sockets).toHaveLength(3);

    latest().closes(1006);
    connection.retryNow();
    expect(sockets).toHaveLength(4);
  });

  it("begins with a short wait again after a connection that lasted", () => {
    const { sockets, latest, greet } = setUp();
    for (let attempt = 0; attempt < 4; attempt += 1) {
      latest().closes(1006);
      vi.advanceTimersByTime(10_000);
    }
    greet();
    vi.advanceTimersByTime(6_000);

    latest().closes(1006);
    vi.advanceTimersByTime(500);

    expect(sockets).toHaveLength(6);
  });

  it.each([1008, 4401, 4403])("stays away after the final code %i", (code) => {
    const { sockets, latest, greet, states } = setUp();
    greet();

    latest().closes(code, "why");
    vi.advanceTimersByTime(60_000);

    expect(sockets).toHaveLength(1);
    expect(states.at(-1)).toEqual({ kind: "ended", code, reason: "why" });
  });

  it.each([1001, 1006, 1013, 4008])("comes back after code %i", (code) => {
    const { sockets, latest, greet } = setUp();
    greet();

    latest().closes(code);
    vi.advanceTimersByTime(10_000);

    expect(sockets).toHaveLength(2);
  });

  it("asks for a sign of life after silence, and goes on when one comes", () => {
    const { sockets, latest, greet, kind } = setUp();
    greet();

    vi.advanceTimersByTime(31_000);
    expect(latest().sentTypes()).toEqual(["subscribe", "probe"]);
    expect(kind()).toBe("checking");
    latest().says({ type: "error", ref: "probe-1", code: "unknown_type", detail: "" });

    expect(kind()).toBe("live");
    vi.advanceTimersByTime(20_000);
    expect(sockets).toHaveLength(1);
  });

  it("gives a socket up that does not answer", () => {
    const { sockets, latest, greet } = setUp();
    greet();
    const silent = latest();

    vi.advanceTimersByTime(31_000 + 5_000 + 500);

    expect(silent.isClosed).toBe(true);
    expect(sockets).toHaveLength(2);
  });

  it("leaves a busy socket alone", () => {
    const { latest, greet } = setUp();
    greet();

    for (let second = 0; second < 120; second += 1) {
      vi.advanceTimersByTime(1_000);
      latest().says({ type: "stale", classroom: "default", since: null });
    }

    expect(latest().sentTypes()).toEqual(["subscribe"]);
  });

  it("checks the socket when the computer wakes", () => {
    const { connection, latest, greet } = setUp();
    greet();

    connection.suspect();

    expect(latest().sentTypes()).toEqual(["subscribe", "probe"]);
  });

  it("gives up a server that never says hello", () => {
    const { sockets } = setUp();

    vi.advanceTimersByTime(10_000 + 500);

    expect(sockets).toHaveLength(2);
    expect(sockets[0]?.isClosed).toBe(true);
  });

  it("is signed out when the handshake is refused and the cookie is not good", async () => {
    const { latest, sockets, states } = setUp(false);

    latest().closes(1006);
    await vi.advanceTimersByTimeAsync(60_000);

    expect(sockets).toHaveLength(1);
    expect(states.at(-1)).toMatchObject({ kind: "ended", code: 4401 });
  });

  it("says that it is refused when the server answers but the handshake never succeeds", async () => {
    const { latest, states } = setUp(true);

    latest().closes(1006);
    await vi.advanceTimersByTimeAsync(500);
    latest().closes(1006);
    await vi.advanceTimersByTimeAsync(0);

    expect(states.at(-1)).toMatchObject({ kind: "reconnecting", isRefused: true });
  });

  it("only waits when the server is away", async () => {
    const { latest, states } = setUp(null);

    latest().closes(1006);
    await vi.advanceTimersByTimeAsync(500);
    latest().closes(1006);
    await vi.advanceTimersByTimeAsync(0);

    expect(states.at(-1)).toMatchObject({ kind: "reconnecting", isRefused: false });
  });

  it("is silent once it is stopped", () => {
    const { connection, sockets, latest, greet, states } = setUp();
    greet();
    const told = states.length;

    connection.stop();
    latest().closes(1006);
    vi.advanceTimersByTime(60_000);

    expect(sockets).toHaveLength(1);
    expect(states).toHaveLength(told);
  });
});

describe("the wait before the next try", () => {
  it("doubles from half a second to ten, in its upper half at random", () => {
    expect(waitMs(0, 0)).toBe(250);
    expect(waitMs(0, 0.999)).toBe(500);
    expect(waitMs(3, 0)).toBe(2_000);
    expect(waitMs(50, 0.999)).toBeLessThanOrEqual(10_000);
    expect(waitMs(50, 0)).toBe(5_000);
  });

  it("is for ever after 44xx and 1008 only", () => {
    expect([1008, 4400, 4401, 4499].every(isFinal)).toBe(true);
    expect([1000, 1001, 1006, 1013, 4008, 4500].some(isFinal)).toBe(false);
  });
});
