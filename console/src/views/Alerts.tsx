import { createMemo, For, Show } from "solid-js";

import { ageText, fullTime, now } from "../clock";
import { alertsInOrder, shownName } from "../roster";
import type { ClassState } from "../store";
import { words } from "../words";

interface Props {
  readonly state: ClassState;
  onSelect(id: string): void;
}

/** What an instructor should look at, what calls for help first. */
export function Alerts(props: Props) {
  const alerts = createMemo(() => props.state.alerts);
  const sorted = createMemo(() => alertsInOrder(alerts()));
  const nameOf = (id: string) => {
    const student = props.state.students.get(id);
    return student === undefined ? words.feed.unknownStudent : shownName(student);
  };

  return (
    <section class="alerts">
      <h2>
        {words.alerts.heading}
        <Show when={sorted().length > 0}>
          <span class="badge">{sorted().length}</span>
        </Show>
      </h2>
      <ul>
        <For each={sorted()} fallback={<li class="quiet">{words.alerts.none}</li>}>
          {(alert) => (
            <li>
              <button
                type="button"
                class="line"
                title={words.alerts.meaning(alert.kind)}
                data-kind={alert.kind}
                onClick={() => props.onSelect(alert.student)}
              >
                <span class="first">
                  <bdi class="name">{nameOf(alert.student)}</bdi>
                  <time title={fullTime(alert.since)}>{ageText(alert.since, now())}</time>
                </span>
                <span class="second">
                  <bdi>{alert.reason === "" ? words.alerts.kind(alert.kind) : alert.reason}</bdi>
                </span>
              </button>
            </li>
          )}
        </For>
      </ul>
    </section>
  );
}
