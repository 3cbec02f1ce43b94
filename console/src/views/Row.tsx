import { createMemo, For, Show, type Accessor } from "solid-js";

import { ageText, fullTime, now } from "../clock";
import type { Person, Student } from "../protocol";
import { isNameless, personName, shownName } from "../roster";
import type { ClassState } from "../store";
import { words } from "../words";
import { Pill } from "./Pill";

interface Props {
  readonly id: string;
  readonly state: Accessor<ClassState>;
  readonly isSelected: boolean;
  readonly isTabStop: boolean;
  onSelect(): void;
  onFocus(): void;
  onKey(event: KeyboardEvent): void;
}

/** One student. Only what changed about this one is drawn anew. */
export function Row(props: Props) {
  // the fold keeps the object of a student about whom nothing changed, so this is where a delta stops
  const student = createMemo<Student | undefined>(
    (last) => props.state().students.get(props.id) ?? last,
  );

  return (
    <Show when={student()}>
      {(shown) => (
        <>
          <tr
            role="row"
            class={shown().status}
            data-student={props.id}
            tabindex={props.isTabStop ? 0 : -1}
            aria-selected={props.isSelected}
            onClick={() => props.onSelect()}
            onFocus={() => props.onFocus()}
            onKeyDown={(event) => props.onKey(event)}
          >
            <td role="gridcell" class="c-status">
              <Pill status={shown().status} />
            </td>
            <td role="gridcell" class="c-student">
              <NameAndTeam student={shown()} />
            </td>
            <td role="gridcell" class="c-notebook" title={shown().notebook ?? ""}>
              <bdi>{shown().notebook ?? words.none}</bdi>
            </td>
            <td role="gridcell" class="c-cell" title={words.roster.cellMeaning(shown().cellIndex, shown().cellId)}>
              <CellPlace index={shown().cellIndex} id={shown().cellId} />
            </td>
            <td role="gridcell" class="c-number">{shown().executions}</td>
            <td role="gridcell" class="c-number" classList={{ zero: shown().errors === 0 }}>
              {shown().errors}
            </td>
            <td role="gridcell" class="c-number" classList={{ zero: shown().consecutiveErrors === 0, many: shown().consecutiveErrors >= 3 }}>
              {shown().consecutiveErrors}
            </td>
            <td role="gridcell" class="c-since">
              <Since student={shown()} />
            </td>
          </tr>
          <For each={shown().people}>
            {(person) => <PersonRow person={person} of={shown()} onSelect={() => props.onSelect()} />}
          </For>
        </>
      )}
    </Show>
  );
}

/** One of several people under the student's address, below the student's row. */
function PersonRow(props: { readonly person: Person; readonly of: Student; onSelect(): void }) {
  const { person } = props;
  return (
    <tr
      role="row"
      class={`person ${props.of.status}`}
      title={words.roster.oneOf(props.of.people.length)}
      onClick={() => props.onSelect()}
    >
      <td role="gridcell" class="c-status" aria-label={words.roster.oneOf(props.of.people.length)}>
        ↳
      </td>
      <td role="gridcell" class="c-student">
        <bdi class="name">{personName(person)}</bdi>
        <bdi class="team">{person.team ?? ""}</bdi>
      </td>
      <td role="gridcell" class="c-notebook">
        <bdi>{person.notebook ?? words.none}</bdi>
      </td>
      <td role="gridcell" class="c-cell" title={words.roster.cellMeaning(person.cellIndex, person.cellId)}>
        <CellPlace index={person.cellIndex} id={person.cellId} />
      </td>
      <td role="gridcell" class="c-rest" />
      <td role="gridcell" class="c-since" title={fullTime(person.lastActivity)}>
        {ageText(person.lastActivity, now())}
      </td>
    </tr>
  );
}

/** Says that the student has not set an address, and what to do. */
export function AddressMark(props: { readonly student: Student }) {
  return (
    <Show when={props.student.isDefaultAddress}>
      <span class="unset" title={words.roster.addressNotSetUpMeaning}>
        {words.roster.addressNotSetUp}
      </span>
    </Show>
  );
}

function NameAndTeam(props: { readonly student: Student }) {
  return (
    <>
      <bdi class="name" title={isNameless(props.student) ? words.roster.nameless : props.student.name}>
        {shownName(props.student)}
      </bdi>
      <Show
        when={props.student.isDefaultAddress}
        fallback={
          <bdi class="team" title={props.student.team ?? ""}>
            {props.student.team ?? ""}
          </bdi>
        }
      >
        <AddressMark student={props.student} />
      </Show>
    </>
  );
}

/** A cell by its place, which is what people count, and its id, which is what it is. */
export function CellPlace(props: { readonly index: number | null; readonly id: string | null }) {
  return (
    <>
      <Show when={props.index !== null}>
        <b>{words.roster.cell(props.index ?? 0)}</b>{" "}
      </Show>
      <bdi class="cell-id">{props.id ?? (props.index === null ? words.none : "")}</bdi>
    </>
  );
}

function Since(props: { readonly student: Student }) {
  return (
    <Show
      when={props.student.help}
      fallback={
        <span title={fullTime(props.student.lastActivity)}>
          {ageText(props.student.lastActivity, now())}
        </span>
      }
    >
      {(help) => (
        <span class="waits" title={fullTime(help().since)}>
          {words.roster.waits(ageText(help().since, now()))}
          <Show when={help().claimedBy}>
            {(by) => (
              <span class="claimed">
                {words.roster.claimedBy} <bdi>{by()}</bdi>
              </span>
            )}
          </Show>
        </span>
      )}
    </Show>
  );
}
