/** An order that does not jump about under somebody's eyes. */

import { createEffect, createSignal, on, onCleanup, untrack, type Accessor } from "solid-js";

export interface SteadyOrder {
  readonly ids: Accessor<readonly string[]>;
  /** Puts in order at once: somebody changed the filter and waits. */
  now(): void;
}

/**
 * Computes an order anew when `source` changes, but at most once in
 * `pauseMs()`, and not at all while `isHeld()`. What comes meanwhile is made
 * up for afterwards.
 */
export function createSteadyOrder(
  source: Accessor<unknown>,
  compute: () => readonly string[],
  pauseMs: Accessor<number>,
  isHeld: Accessor<boolean>,
): SteadyOrder {
  const [ids, setIds] = createSignal<readonly string[]>([], { equals: isSameOrder });
  let last = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function now(): void {
    clearTimeout(timer);
    timer = undefined;
    last = performance.now();
    setIds(untrack(compute));
  }

  function soon(): void {
    if (timer !== undefined) return;
    const wait = last + untrack(pauseMs) - performance.now();
    if (wait <= 0 && !untrack(isHeld)) now();
    else timer = setTimeout(retry, Math.max(wait, 50));
  }

  function retry(): void {
    timer = undefined;
    soon();
  }

  createEffect(on(source, soon));
  onCleanup(() => clearTimeout(timer));
  return { ids, now };
}

function isSameOrder(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((id, index) => id === b[index]);
}
