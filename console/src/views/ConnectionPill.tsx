import { ageText, now } from "../clock";
import type { ConnectionState } from "../connection";
import type { ClassState } from "../store";
import { words } from "../words";

interface Props {
  readonly connection: ConnectionState;
  readonly state: ClassState;
}

interface Told {
  readonly look: "good" | "waiting" | "bad";
  readonly text: string;
  readonly meaning: string;
}

/** Whether what the page shows is the present. Always visible. */
export function ConnectionPill(props: Props) {
  const told = () => tell(props.connection, props.state);
  return (
    <span
      class={`connection ${told().look}`}
      data-connection={props.connection.kind}
      title={told().meaning}
    >
      <span aria-hidden="true">{told().text}</span>
      {/* a countdown would be read out every second */}
      <span class="unseen" role="status">
        {props.connection.kind === "reconnecting" ? words.connection.lost : told().text}
      </span>
    </span>
  );
}

function tell(connection: ConnectionState, state: ClassState): Told {
  const { connection: said } = words;
  switch (connection.kind) {
    case "connecting":
      return { look: "waiting", text: said.connecting, meaning: "" };
    case "checking":
      return { look: "waiting", text: said.checking, meaning: "" };
    case "reconnecting":
      return {
        look: "bad",
        text: said.reconnecting(secondsUntil(connection.at)),
        meaning: said.lostMeaning,
      };
    case "ended":
      return { look: "bad", text: said.ended, meaning: words.ended(connection.code, connection.reason) };
    case "live":
      return tellLive(state);
  }
}

function tellLive(state: ClassState): Told {
  const { connection: said } = words;
  // also before the first snapshot: the server says itself that it is late
  if (state.staleSince !== null) {
    const age = ageText(state.staleSince, now());
    return { look: "waiting", text: said.stale, meaning: said.staleMeaning(age) };
  }
  if (!state.isReady || state.isResyncing) {
    return { look: "waiting", text: said.connecting, meaning: "" };
  }
  return { look: "good", text: said.live, meaning: said.liveMeaning };
}

function secondsUntil(at: number): number {
  now(); // ticks
  return Math.max(0, Math.ceil((at - Date.now()) / 1000));
}
