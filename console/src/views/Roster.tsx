import { createEffect, createMemo, createSignal, For, on, onCleanup, onMount, Show, type Accessor } from "solid-js";

import { isShown, NO_FILTER, orderOf, type Filter } from "../roster";
import { createSteadyOrder } from "../steady";
import type { ClassState } from "../store";
import { words } from "../words";
import { Row } from "./Row";

/** The order changes at most this often while the pointer or the keyboard is in the list … */
const PAUSE_IN_USE_MS = 1_000;
/** … and at most this often while somebody only watches. */
const PAUSE_MS = 300;

interface Props {
  readonly state: Accessor<ClassState>;
  readonly filter: Filter;
  readonly selected: string | null;
  onFilter(filter: Filter): void;
  onSelect(id: string | null): void;
}

/** The live list of students. */
export function Roster(props: Props) {
  const [isPointerIn, setPointerIn] = createSignal(false);
  const [isPressed, setPressed] = createSignal(false);
  const [focused, setFocused] = createSignal<string | null>(null);
  let body!: HTMLTableSectionElement;
  let search!: HTMLInputElement;

  const order = createSteadyOrder(
    props.state,
    () => {
      const { students, alerts } = props.state();
      return orderOf(students, alerts).filter((id) => {
        const student = students.get(id);
        return student !== undefined && isShown(student, props.filter);
      });
    },
    () => (isPointerIn() ? PAUSE_IN_USE_MS : PAUSE_MS),
    isPressed,
  );
  createEffect(on(() => props.filter, order.now, { defer: true }));

  // a row that moves loses the keyboard's focus: give it back
  createEffect(
    on(order.ids, () => {
      const id = focused();
      if (id !== null && document.activeElement === document.body) focusRow(id, { preventScroll: true });
    }),
  );

  const ids = order.ids;
  // one row is reached by Tab, the others from there by the arrows
  const tabStop = createMemo(() => {
    const id = focused() ?? props.selected;
    return id !== null && ids().includes(id) ? id : (ids()[0] ?? null);
  });

  function focusRow(id: string, options: FocusOptions = {}): void {
    // not by its place: people under one address have rows of their own
    body.querySelector<HTMLElement>(`[data-student="${CSS.escape(id)}"]`)?.focus(options);
  }

  function move(event: KeyboardEvent, id: string): void {
    const index = ids().indexOf(id);
    const last = ids().length - 1;
    const targets: Record<string, number> = {
      ArrowDown: Math.min(last, index + 1),
      ArrowUp: Math.max(0, index - 1),
      Home: 0,
      End: last,
    };
    const target = targets[event.key];
    const next = target === undefined ? undefined : ids()[target];
    if (next !== undefined) {
      event.preventDefault();
      focusRow(next);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      props.onSelect(id);
    }
  }

  function shortcut(event: KeyboardEvent): void {
    const isTyping = event.target instanceof HTMLInputElement;
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape" && event.target === search) {
      props.onFilter({ ...props.filter, text: "" });
      search.blur();
    } else if (event.key === "Escape" && props.selected !== null) {
      props.onSelect(null);
    }
  }

  const release = () => setPressed(false);
  onMount(() => {
    document.addEventListener("keydown", shortcut);
    window.addEventListener("pointerup", release);
    window.addEventListener("pointercancel", release);
  });
  onCleanup(() => {
    document.removeEventListener("keydown", shortcut);
    window.removeEventListener("pointerup", release);
    window.removeEventListener("pointercancel", release);
  });

  const isFiltered = () => props.filter.text.trim() !== "" || props.filter.statuses.size > 0;

  return (
    <section class="roster">
      <div class="tools">
        <input
          ref={search}
          type="search"
          value={props.filter.text}
          placeholder={words.roster.search}
          aria-label={words.roster.searchLabel}
          spellcheck={false}
          onInput={(event) => props.onFilter({ ...props.filter, text: event.currentTarget.value })}
        />
        <Show when={isFiltered()}>
          <span class="quiet">{words.roster.shown(ids().length, props.state().students.size)}</span>
          <button type="button" class="plain" onClick={() => props.onFilter(NO_FILTER)}>
            {words.roster.clear}
          </button>
        </Show>
      </div>
      <div
        class="scroll"
        onPointerEnter={() => setPointerIn(true)}
        onPointerLeave={() => setPointerIn(false)}
        onPointerDown={() => setPressed(true)}
      >
        <table role="grid">
          <caption class="unseen">{words.roster.caption}</caption>
          <Head />
          <tbody
            role="rowgroup"
            ref={body}
            onFocusOut={(event) => {
              // null while a row is being moved: then its focus is given back
              if (event.relatedTarget !== null) setFocused(null);
            }}
          >
            <For each={ids()}>
              {(id) => (
                <Row
                  id={id}
                  state={props.state}
                  isSelected={props.selected === id}
                  isTabStop={tabStop() === id}
                  onSelect={() => props.onSelect(props.selected === id ? null : id)}
                  onFocus={() => setFocused(id)}
                  onKey={(event) => move(event, id)}
                />
              )}
            </For>
          </tbody>
        </table>
        <Show when={ids().length === 0 && isFiltered()}>
          <p class="nobody">{words.roster.nobody}</p>
        </Show>
      </div>
    </section>
  );
}

function Head() {
  const { columns, columnMeaning } = words.roster;
  return (
    <thead role="rowgroup">
      <tr role="row">
        <th role="columnheader" class="c-status">{columns.status}</th>
        <th role="columnheader" class="c-student">{columns.student}</th>
        <th role="columnheader" class="c-notebook">{columns.notebook}</th>
        <th role="columnheader" class="c-cell">{columns.cell}</th>
        <th role="columnheader" class="c-number" title={columnMeaning.executions}>
          {columns.executions}
        </th>
        <th role="columnheader" class="c-number" title={columnMeaning.errors}>
          {columns.errors}
        </th>
        <th role="columnheader" class="c-number" title={columnMeaning.consecutive}>
          {columns.consecutive}
        </th>
        <th role="columnheader" class="c-since" title={columnMeaning.since}>
          {columns.since}
        </th>
      </tr>
    </thead>
  );
}
