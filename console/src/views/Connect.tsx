import { createMemo, createSignal, Index, onCleanup, Show } from "solid-js";

import { connectInfo, privacyAddress, type ConnectInfo, type Refusal } from "../api";
import { ageText, fullTime, now } from "../clock";
import { curlLine, isLoopback, overridesJson, pasteableAddress } from "../instructions";
import { words } from "../words";
import { CopyField } from "./CopyField";

const ASK_EVERY_MS = 2_000;

/** How to connect notebooks, and whether anything arrives. */
export function Connect(props: { readonly classroom: string; readonly hasStudents: boolean }) {
  const [info, setInfo] = createSignal<ConnectInfo | null>(null);
  const [isUnreachable, setUnreachable] = createSignal(false);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isOver = false;

  async function ask(): Promise<void> {
    try {
      setInfo(await connectInfo());
      setUnreachable(false);
    } catch {
      setUnreachable(true);
    }
    if (!isOver) timer = setTimeout(() => void ask(), ASK_EVERY_MS);
  }
  void ask();
  onCleanup(() => {
    isOver = true;
    clearTimeout(timer);
  });

  return (
    <main class="connect">
      <div class="lead">
        <h2>{words.connect.heading}</h2>
        <p>{words.connect.lead}</p>
        <p>
          {words.connect.privacyLead}{" "}
          <a href={privacyAddress(props.classroom)} target="_blank" rel="noopener">
            {words.connect.privacy}
          </a>
        </p>
      </div>
      <Show when={isUnreachable()}>
        <p class="notice">{words.connect.unreachable}</p>
      </Show>
      <Show when={info()} fallback={<p class="quiet">{words.connect.loading}</p>}>
        {(known) => (
          <>
            <Arrivals info={known()} hasStudents={props.hasStudents} />
            <Instructions ingestUrl={known().ingestUrl} ingestKey={known().key} />
          </>
        )}
      </Show>
    </main>
  );
}

/** The live line that tells an empty console from a broken one. */
function Arrivals(props: { readonly info: ConnectInfo; readonly hasStudents: boolean }) {
  const refusal = () => props.info.lastRefusals[0];
  // a refusal that something good came after is history
  const isBroken = () => {
    const last = refusal();
    return last !== undefined && (props.info.lastAccepted ?? "") < last.at;
  };
  const look = () => (isBroken() ? "bad" : props.info.lastAccepted !== null ? "good" : "waiting");
  const headline = () => {
    if (isBroken()) return words.connect.broken;
    return props.info.lastAccepted !== null || props.hasStudents
      ? words.connect.fine
      : words.connect.listening;
  };

  return (
    <section class={`arrivals ${look()}`}>
      <h3 role="status">{headline()}</h3>
      <Show when={look() === "waiting"}>
        <p>
          {words.connect.noneYet} {words.connect.listeningHint}
        </p>
      </Show>
      <Show when={isBroken() && refusal()}>{(last) => <LastRefusal refusal={last()} />}</Show>
      <Show when={props.info.lastAccepted}>
        {(at) => (
          <p class="quiet" title={fullTime(at())}>
            {words.connect.lastAccepted}: {words.ago(ageText(at(), now()))}
          </p>
        )}
      </Show>
      <Earlier refusals={props.info.lastRefusals.slice(isBroken() ? 1 : 0)} />
    </section>
  );
}

function LastRefusal(props: { readonly refusal: Refusal }) {
  return (
    <>
      <p>
        <b>{words.connect.lastRefused}:</b> <RefusalLine refusal={props.refusal} />
      </p>
      <p>{words.connect.refusal(props.refusal.wanted, props.refusal.status)}</p>
    </>
  );
}

function Earlier(props: { readonly refusals: readonly Refusal[] }) {
  return (
    <Show when={props.refusals.length > 0}>
      <details>
        <summary>
          {words.connect.refusedEarlier} ({props.refusals.length})
        </summary>
        <ul>
          <Index each={props.refusals}>
            {(refusal) => (
              <li>
                <RefusalLine refusal={refusal()} />
              </li>
            )}
          </Index>
        </ul>
      </details>
    </Show>
  );
}

/** `12 s ago, events from http://lab.example, 40 times: 401 the key is unknown` */
function RefusalLine(props: { readonly refusal: Refusal }) {
  const times = () => words.connect.times(props.refusal.count);
  return (
    <>
      <span title={fullTime(props.refusal.at)}>{words.ago(ageText(props.refusal.at, now()))}</span>,{" "}
      {words.connect.wanted(props.refusal.wanted)} {words.connect.from}{" "}
      <bdi class="origin">{props.refusal.origin ?? words.connect.programs}</bdi>
      {times() === "" ? "" : `, ${times()}`}: <b>{props.refusal.status}</b>{" "}
      <bdi>{props.refusal.detail || props.refusal.code}</bdi>
    </>
  );
}

function Instructions(props: { readonly ingestUrl: string; readonly ingestKey: string }) {
  const address = createMemo(() => pasteableAddress(props.ingestUrl, props.ingestKey));
  const curl = createMemo(() => curlLine(address()));
  return (
    <div class="instructions">
      <section>
        <h3>{words.connect.address}</h3>
        <p>{words.connect.addressHint}</p>
        <CopyField text={address()} what={words.connect.address} />
        <Show when={isLoopback(address())}>
          <p class="hint">{words.connect.loopback}</p>
        </Show>
        <Show when={address().startsWith("http:")}>
          <p class="hint">{words.connect.mixed}</p>
        </Show>
      </section>
      <section>
        <h3>{words.connect.overrides}</h3>
        <p>{words.connect.overridesHint}</p>
        <p>
          <code>{words.connect.overridesPath}</code>
        </p>
        <CopyField text={overridesJson(address())} what="overrides.json" isBlock />
        <p class="quiet">{words.connect.overridesAfter}</p>
        <p class="hint">{words.connect.overridesCheck}</p>
      </section>
      <section>
        <h3>{words.connect.curl}</h3>
        <p>{words.connect.curlHint}</p>
        <CopyField text={curl()} what={words.connect.curl} isBlock />
      </section>
    </div>
  );
}
