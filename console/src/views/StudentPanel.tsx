import { createEffect, createMemo, createResource, For, on, onCleanup, Show, type Accessor } from "solid-js";

import { studentDetails, type CellProgress, type Execution } from "../api";
import { ageText, fullTime, now, timeOfDay } from "../clock";
import type { Student } from "../protocol";
import { personName, shownName } from "../roster";
import type { ClassState } from "../store";
import { words } from "../words";
import { Pill } from "./Pill";
import { AddressMark, CellPlace } from "./Row";

/** What was accepted is in every reading call within 2 s. */
const READABLE_AFTER_MS = 2_000;
/** More of one text is not drawn. */
const TEXT_SHOWN = 4_000;
const CELLS_SHOWN = 60;

interface Props {
  readonly classroom: string;
  readonly id: string;
  readonly state: Accessor<ClassState>;
  readonly storesCode: boolean;
  onClose(): void;
}

/** One student, closer. */
export function StudentPanel(props: Props) {
  const student = createMemo(() => props.state().students.get(props.id));
  const [details, { refetch }] = createResource(() => studentDetails(props.classroom, props.id));
  const known = () => (details.error === undefined ? details.latest : undefined);
  const executions = () => known()?.executions;
  const cells = createMemo(() => cellsOf(known()?.cells ?? [], student()?.notebook ?? null));

  // read again when something happened, but not for every event of a burst; and once after it was
  // opened: what was just seen to happen may not have been there yet
  let timer: ReturnType<typeof setTimeout> | undefined;
  createEffect(
    on(
      () => student()?.lastActivity,
      () => {
        timer ??= setTimeout(() => {
          timer = undefined;
          void refetch();
        }, READABLE_AFTER_MS);
      },
    ),
  );
  onCleanup(() => clearTimeout(timer));

  return (
    <section class="student" aria-label={words.student.heading}>
      <Show when={student()} fallback={<Gone onClose={props.onClose} />}>
        {(shown) => (
          <>
            <PanelHead student={shown()} onClose={props.onClose} />
            <Facts student={shown()} />
          </>
        )}
      </Show>
      <Show when={cells().length > 0}>
        <h3>{words.student.cells}</h3>
        <Cells cells={cells()} />
      </Show>
      <h3>{words.student.executions}</h3>
      <Show when={!props.storesCode}>
        <p class="quiet">{words.header.noCodeMeaning}</p>
      </Show>
      <Show when={details.error !== undefined}>
        <p class="notice">
          {words.student.failed}{" "}
          <button type="button" onClick={() => void refetch()}>
            {words.student.again}
          </button>
        </p>
      </Show>
      <Show
        when={executions()}
        fallback={
          <Show when={details.loading}>
            <p class="quiet">{words.student.loading}</p>
          </Show>
        }
      >
        {(items) => (
          <ol class="executions">
            <For each={items()} fallback={<li class="quiet">{words.student.noExecutions}</li>}>
              {(execution) => <ExecutionItem execution={execution} />}
            </For>
          </ol>
        )}
      </Show>
    </section>
  );
}

/** The cells of one notebook, from the top; more than fit are left out at the top, where the student began. */
function cellsOf(cells: readonly CellProgress[], notebook: string | null): readonly CellProgress[] {
  return cells
    .filter((cell) => cell.notebook === notebook)
    .sort((a, b) => (a.cellIndex ?? Infinity) - (b.cellIndex ?? Infinity))
    .slice(-CELLS_SHOWN);
}

function Cells(props: { readonly cells: readonly CellProgress[] }) {
  return (
    <ol class="cells">
      <For each={props.cells}>
        {(cell) => (
          <li
            class={cell.status}
            title={`${words.student.cellMeaning(words.feed.run(cell.status), cell.tries)} (${words.roster.cellMeaning(cell.cellIndex, cell.cellId)})`}
          >
            {cell.cellIndex === null ? words.none : words.roster.cell(cell.cellIndex)}
            <span class="unseen">{words.feed.run(cell.status)}</span>
          </li>
        )}
      </For>
    </ol>
  );
}

function Gone(props: { onClose(): void }) {
  return (
    <div class="panel-head">
      <p class="quiet">{words.student.gone}</p>
      <CloseButton onClose={props.onClose} />
    </div>
  );
}

function CloseButton(props: { onClose(): void }) {
  return (
    <button type="button" class="plain" onClick={() => props.onClose()} title={`${words.student.close} (Esc)`}>
      {words.student.close}
    </button>
  );
}

function PanelHead(props: { readonly student: Student; onClose(): void }) {
  return (
    <div class="panel-head">
      <div>
        <h2>
          <bdi>{shownName(props.student)}</bdi>
        </h2>
        <p>
          <Pill status={props.student.status} /> <bdi class="quiet">{props.student.team ?? ""}</bdi>{" "}
          <AddressMark student={props.student} />
        </p>
        <Show when={props.student.isDefaultAddress}>
          <p class="quiet">{words.roster.addressNotSetUpMeaning}</p>
        </Show>
      </div>
      <CloseButton onClose={props.onClose} />
    </div>
  );
}

function Facts(props: { readonly student: Student }) {
  return (
    <dl>
      <Show when={props.student.help}>
        {(help) => (
          <>
            <dt>{words.student.waitingSince}</dt>
            <dd class="waits" title={fullTime(help().since)}>
              {ageText(help().since, now())}
            </dd>
          </>
        )}
      </Show>
      <dt>{words.student.lastActivity}</dt>
      <dd title={fullTime(props.student.lastActivity)}>
        {words.ago(ageText(props.student.lastActivity, now()))}
      </dd>
      <dt>{words.student.currentCell}</dt>
      <dd>
        <CellPlace index={props.student.cellIndex} id={props.student.cellId} />
        <bdi class="path">{props.student.notebook ?? ""}</bdi>
      </dd>
      <Show when={props.student.people.length > 0}>
        <dt>{words.student.people}</dt>
        <dd>
          <ul class="people">
            <For each={props.student.people}>
              {(person) => (
                <li>
                  <bdi>{personName(person)}</bdi>{" "}
                  <bdi class="quiet path">{person.notebook ?? ""}</bdi>
                </li>
              )}
            </For>
          </ul>
        </dd>
      </Show>
      <dt>{words.student.executed}</dt>
      <dd>{props.student.executions}</dd>
      <dt>{words.student.failedRuns}</dt>
      <dd>
        {props.student.errors}
        <Show when={props.student.consecutiveErrors > 0}>
          , {props.student.consecutiveErrors} {words.student.inARow}
        </Show>
      </dd>
    </dl>
  );
}

function ExecutionItem(props: { readonly execution: Execution }) {
  const code = () => props.execution.code ?? "";
  const error = () => props.execution.error ?? "";
  return (
    <li class={`execution ${props.execution.status}`}>
      <p class="run">
        <CellPlace index={props.execution.cellIndex} id={props.execution.cellId} />
        <b class="outcome">{words.feed.run(props.execution.status)}</b>
        <time title={fullTime(props.execution.at)}>{timeOfDay(props.execution.at)}</time>
      </p>
      <Show when={code() !== ""}>
        <pre aria-label={words.student.code}>{cut(code())}</pre>
      </Show>
      <Show when={error() !== ""}>
        <pre class="error" aria-label={words.student.error}>
          {cut(error())}
        </pre>
      </Show>
    </li>
  );
}

/** Code points, so that no character is cut in half. */
function cut(text: string): string {
  if (text.length <= TEXT_SHOWN) return text;
  return `${[...text.slice(0, TEXT_SHOWN)].join("")}\n${words.student.cut}`;
}
