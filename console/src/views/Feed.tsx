import { createMemo, For, Show } from "solid-js";

import { fullTime, timeOfDay } from "../clock";
import type { FeedEvent } from "../protocol";
import { shownName } from "../roster";
import type { ClassState } from "../store";
import { words } from "../words";

/** Lines that are drawn; the fold keeps more, for whoever wants to look back later. */
const LINES_SHOWN = 80;

interface Props {
  readonly state: ClassState;
  onSelect(id: string): void;
}

/** What happens in the class, newest first. */
export function Feed(props: Props) {
  const events = createMemo(() => props.state.events);
  const lines = createMemo(() => events().slice(-LINES_SHOWN).reverse());
  const nameOf = (id: string) => {
    const student = props.state.students.get(id);
    return student === undefined ? words.feed.unknownStudent : shownName(student);
  };

  return (
    <section class="feed">
      <h2>
        {words.feed.heading}
        <Show when={props.state.eventsOmitted > 0}>
          <span class="quiet" title={words.feed.omittedMeaning}>
            {words.feed.omitted(props.state.eventsOmitted)}
          </span>
        </Show>
      </h2>
      <ul>
        <For each={lines()} fallback={<li class="quiet">{words.feed.none}</li>}>
          {(event) => (
            <li class={event.status ?? event.eventType}>
              <button type="button" class="line" onClick={() => props.onSelect(event.student)}>
                <time title={fullTime(event.eventTime)}>{timeOfDay(event.eventTime)}</time>
                <bdi class="name">{nameOf(event.student)}</bdi>
                <What event={event} />
              </button>
            </li>
          )}
        </For>
      </ul>
    </section>
  );
}

function What(props: { readonly event: FeedEvent }) {
  const isRun = () => props.event.eventType === "cell_executed";
  const place = () =>
    props.event.cellIndex === null ? "" : ` ${words.roster.cell(props.event.cellIndex)}`;
  return (
    <span class="what" title={props.event.notebook ?? ""}>
      {words.feed.event(props.event.eventType)}
      <Show
        when={isRun()}
        fallback={
          <Show when={props.event.eventType.startsWith("notebook") && props.event.notebook}>
            {(notebook) => (
              <>
                {" "}
                <bdi>{notebook()}</bdi>
              </>
            )}
          </Show>
        }
      >
        {place()}
        {": "}
        <b class="outcome">{words.feed.run(props.event.status ?? "unknown")}</b>
      </Show>
    </span>
  );
}
