import { createEffect, createSignal, Match, on, onCleanup, Switch } from "solid-js";

import type { ConnectionState } from "../connection";
import { words } from "../words";

/** A cut that heals within this is not worth a banner; the pill tells of it anyway. */
const WORTH_TELLING_MS = 2_000;

/** What is wrong with the connection, in a sentence, when it is not over in a moment. */
export function Trouble(props: { readonly connection: ConnectionState; onRetry(): void }) {
  const [isLasting, setLasting] = createSignal(false);
  const isCut = () => props.connection.kind === "reconnecting" || props.connection.kind === "connecting";

  createEffect(
    on(isCut, (cut) => {
      setLasting(false);
      if (!cut) return;
      const timer = setTimeout(() => setLasting(true), WORTH_TELLING_MS);
      onCleanup(() => clearTimeout(timer));
    }),
  );

  return (
    <Switch>
      <Match when={props.connection.kind === "ended" && props.connection}>
        {(ended) => (
          <p class="trouble" role="alert">
            {words.ended(ended().code, ended().reason)}
          </p>
        )}
      </Match>
      <Match when={isCut() && isLasting()}>
        <p class="trouble" role="alert">
          {props.connection.kind === "reconnecting" && props.connection.isRefused
            ? words.connection.refusedMeaning
            : words.connection.lostMeaning}{" "}
          <button type="button" onClick={() => props.onRetry()}>
            {words.connection.retryNow}
          </button>
        </p>
      </Match>
    </Switch>
  );
}
