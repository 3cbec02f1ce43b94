import { Match, Switch } from "solid-js";

import { createSession } from "../session";
import { words } from "../words";
import { ClassPage } from "./ClassPage";
import { SignIn } from "./SignIn";

export function App() {
  const session = createSession();
  const notice = () => {
    const state = session.state();
    return state.kind === "signed-out" ? state.notice : "";
  };

  return (
    <Switch>
      <Match when={session.state().kind === "signed-out"}>
        <SignIn notice={notice()} isBusy={session.isBusy()} onToken={(token) => void session.enter(token)} />
      </Match>
      <Match when={session.state().kind === "checking"}>
        <p class="waiting-page">{words.connection.connecting}</p>
      </Match>
      <Match when={session.state().kind === "signed-in"}>
        <ClassPage onSignOut={() => void session.leave()} onEnded={session.ended} />
      </Match>
    </Switch>
  );
}
