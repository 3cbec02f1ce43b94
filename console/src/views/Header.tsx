import { For, Show } from "solid-js";

import type { ConnectionState } from "../connection";
import type { Status } from "../protocol";
import { STATUS_ORDER, type Filter } from "../roster";
import type { ClassState } from "../store";
import { words } from "../words";
import { ConnectionPill } from "./ConnectionPill";
import { Logo } from "./Logo";

interface Props {
  readonly classroom: string;
  readonly storesCode: boolean;
  readonly state: ClassState;
  readonly connection: ConnectionState;
  readonly counts: ReadonlyMap<Status, number>;
  readonly filter: Filter;
  readonly isConnectShown: boolean;
  readonly isEmpty: boolean;
  onToggleStatus(status: Status): void;
  onToggleConnect(): void;
  onSignOut(): void;
}

export function Header(props: Props) {
  return (
    <header class="header">
      <Logo />
      <h1 class="classroom" title={words.header.classroom}>
        <bdi>{props.classroom}</bdi>
      </h1>
      <Show when={!props.storesCode}>
        <span class="no-code" title={words.header.noCodeMeaning}>
          {words.header.noCode}
        </span>
      </Show>
      <ConnectionPill connection={props.connection} state={props.state} />
      <Show when={!props.isEmpty}>
        <div class="counts" role="group" aria-label={words.header.filterByStatus}>
          <span class="total">{words.header.students(props.state.students.size)}</span>
          <For each={STATUS_ORDER}>
            {(status) => (
              <button
                type="button"
                class={`count ${status}`}
                classList={{ zero: props.counts.get(status) === 0 }}
                aria-pressed={props.filter.statuses.has(status)}
                title={`${words.status[status]}: ${words.statusMeaning[status]}`}
                onClick={() => props.onToggleStatus(status)}
              >
                <b>{props.counts.get(status) ?? 0}</b> {words.status[status]}
              </button>
            )}
          </For>
        </div>
      </Show>
      <div class="actions">
        <Show when={!props.isEmpty}>
          <button
            type="button"
            class="plain"
            aria-pressed={props.isConnectShown}
            title={words.header.connectMeaning}
            onClick={() => props.onToggleConnect()}
          >
            {props.isConnectShown ? words.header.backToClass : words.header.connect}
          </button>
        </Show>
        <button type="button" class="plain" onClick={() => props.onSignOut()}>
          {words.header.signOut}
        </button>
      </div>
    </header>
  );
}
