import { createSignal, onMount, Show } from "solid-js";

import { tokenOfPaste } from "../token";
import { words } from "../words";
import { CopyField } from "./CopyField";
import { Logo } from "./Logo";

interface Props {
  readonly notice: string;
  readonly isBusy: boolean;
  onToken(token: string): void;
}

export function SignIn(props: Props) {
  const [fault, setFault] = createSignal("");
  let input!: HTMLInputElement;

  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const token = tokenOfPaste(input.value);
    setFault(token === null ? words.signIn.empty : "");
    if (token === null) return;
    // a secret does not stay on the screen
    input.value = "";
    props.onToken(token);
  };

  onMount(() => {
    document.title = words.product;
    input.focus();
  });

  return (
    <main class="sign-in">
      <form class="card" onSubmit={submit}>
        <Logo />
        <h1>{words.signIn.heading}</h1>
        <p>{words.signIn.lead}</p>
        <Show when={fault() || props.notice}>
          {(text) => (
            <p class="notice" role="alert">
              {text()}
            </p>
          )}
        </Show>
        <label for="token">{words.signIn.label}</label>
        <input
          id="token"
          ref={input}
          type="password"
          autocomplete="off"
          spellcheck={false}
          placeholder={words.signIn.placeholder}
        />
        <button class="primary" type="submit" disabled={props.isBusy}>
          {props.isBusy ? words.signIn.busy : words.signIn.submit}
        </button>
        <h2>{words.signIn.how}</h2>
        <p>{words.signIn.howText}</p>
        <CopyField text={words.signIn.howCommand} what={words.signIn.how} />
        <p class="quiet">{words.signIn.howAfter}</p>
      </form>
    </main>
  );
}
