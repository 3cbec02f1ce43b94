import { createEffect, createMemo, createResource, createSignal, onCleanup, Show } from "solid-js";

import { classroomInfo } from "../api";
import { watchClassroom } from "../classroom";
import type { Status } from "../protocol";
import { countsOf, NO_FILTER, type Filter } from "../roster";
import { words } from "../words";
import { Alerts } from "./Alerts";
import { Connect } from "./Connect";
import { Feed } from "./Feed";
import { Header } from "./Header";
import { Roster } from "./Roster";
import { StudentPanel } from "./StudentPanel";
import { Trouble } from "./Trouble";

/** The classroom that a server without accounts has. */
const CLASSROOM = "default";
/** The close code of a sign-in that is no longer good. */
const NOT_SIGNED_IN = 4401;

interface Props {
  onSignOut(): void;
  onEnded(notice: string): void;
}

/** Everything that a signed-in instructor sees. */
export function ClassPage(props: Props) {
  const classroom = watchClassroom(CLASSROOM);
  onCleanup(() => classroom.stop());
  const [filter, setFilter] = createSignal<Filter>(NO_FILTER);
  const [selected, setSelected] = createSignal<string | null>(null);
  const [isConnectAsked, setConnectAsked] = createSignal(false);

  const counts = createMemo(() => countsOf(classroom.state().students));
  const isEmpty = createMemo(() => classroom.state().students.size === 0);
  const isReady = createMemo(() => classroom.state().isReady);
  const isConnectShown = createMemo(() => isReady() && (isConnectAsked() || isEmpty()));

  // asked again after each connection: the server may have been started with other settings
  const [info] = createResource(
    () => classroom.connection().kind === "live",
    () => classroomInfo(CLASSROOM).catch(() => null),
  );
  const storesCode = () => info.latest?.storesCode ?? true;

  const isCut = () => ["reconnecting", "ended"].includes(classroom.connection().kind);

  createEffect(() => {
    document.title = words.title(counts().get("help") ?? 0);
  });
  createEffect(() => {
    const connection = classroom.connection();
    if (connection.kind === "ended" && connection.code === NOT_SIGNED_IN) {
      props.onEnded(words.ended(connection.code, connection.reason));
    }
  });

  const toggleStatus = (status: Status) =>
    setFilter((current) => {
      const statuses = new Set(current.statuses);
      if (!statuses.delete(status)) statuses.add(status);
      return { ...current, statuses };
    });

  return (
    <div class="page">
      <Header
        classroom={info.latest?.name ?? CLASSROOM}
        storesCode={storesCode()}
        state={classroom.state()}
        connection={classroom.connection()}
        counts={counts()}
        filter={filter()}
        isConnectShown={isConnectShown()}
        isEmpty={isEmpty()}
        onToggleStatus={toggleStatus}
        onToggleConnect={() => setConnectAsked((asked) => !asked)}
        onSignOut={props.onSignOut}
      />
      <Trouble connection={classroom.connection()} onRetry={classroom.retryNow} />
      <Show when={isReady()}>
        <Show
          when={isConnectShown()}
          fallback={
            <div class="class" classList={{ past: isCut() }}>
              <Roster
                state={classroom.state}
                filter={filter()}
                selected={selected()}
                onFilter={setFilter}
                onSelect={setSelected}
              />
              <aside class="side">
                <Show
                  when={selected()}
                  keyed
                  fallback={
                    <>
                      <Alerts state={classroom.state()} onSelect={setSelected} />
                      <Feed state={classroom.state()} onSelect={setSelected} />
                    </>
                  }
                >
                  {(id) => (
                    <StudentPanel
                      classroom={CLASSROOM}
                      id={id}
                      state={classroom.state}
                      storesCode={storesCode()}
                      onClose={() => setSelected(null)}
                    />
                  )}
                </Show>
              </aside>
            </div>
          }
        >
          <Connect classroom={CLASSROOM} hasStudents={!isEmpty()} />
        </Show>
      </Show>
    </div>
  );
}
