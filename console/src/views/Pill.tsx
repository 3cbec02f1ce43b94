import type { Status } from "../protocol";
import { words } from "../words";

/** A status, told by colour and by word. */
export function Pill(props: { readonly status: Status }) {
  return (
    <span class={`pill ${props.status}`} title={words.statusMeaning[props.status]}>
      {words.status[props.status]}
    </span>
  );
}
