import { createSignal, onCleanup } from "solid-js";

import { words } from "../words";

/** How long the button says what it did. */
const TOLD_FOR_MS = 2_000;

/** Something to be copied, with the button that does it. */
export function CopyField(props: { readonly text: string; readonly what: string; readonly isBlock?: boolean }) {
  const [told, setTold] = createSignal<string | null>(null);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let code!: HTMLElement;

  const copy = async () => {
    clearTimeout(timer);
    try {
      await navigator.clipboard.writeText(props.text);
      setTold(words.connect.copied);
    } catch {
      // the clipboard is for secure pages only: http on a class network is none
      select(code);
      setTold(document.execCommand("copy") ? words.connect.copied : words.connect.copyFailed);
    }
    timer = setTimeout(() => setTold(null), TOLD_FOR_MS);
  };
  onCleanup(() => clearTimeout(timer));

  return (
    <div class="copy" classList={{ block: props.isBlock === true }}>
      <code ref={code} tabindex="0">
        {props.text}
      </code>
      <button type="button" onClick={() => void copy()} title={words.connect.what(props.what)}>
        <span aria-live="polite">{told() ?? words.connect.copy}</span>
      </button>
    </div>
  );
}

function select(element: HTMLElement): void {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = getSelection();
  selection?.removeAllRanges();
  selection?.addRange(range);
}
