/** The console as an instructor meets it: real server, real browser. */

import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";

import { launch, Tab } from "./chromium.mjs";
import { freePort, Server } from "./server.mjs";
import { StudentAtWork } from "./students.mjs";
import { Wire } from "./wire.mjs";

/** What a browser writes when a call is answered 401, which a page cannot keep it from. */
const ANSWERED_401 = /status of 401/;
/** What a browser writes while the server is away. */
const SERVER_AWAY = /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_SOCKET_NOT_CONNECTED|WebSocket connection to/;

let browser;
before(async () => {
  browser = await launch();
});
after(async () => {
  await browser?.close();
});

async function startServer(t, settings) {
  const server = await Server.start(settings);
  t.after(() => server.stop());
  return server;
}

async function openTab(t, options) {
  const tab = await Tab.open(browser, options);
  t.after(() => tab.page.context().close());
  return tab;
}

async function signedIn(t, server, options) {
  const tab = await openTab(t, options);
  await tab.page.goto(await server.signInLink());
  await tab.seesConnection("live");
  return tab;
}

describe("signing in", () => {
  it("takes the printed link and leaves no token in the address bar", async (t) => {
    const server = await startServer(t);
    const tab = await openTab(t);
    const link = await server.signInLink();
    assert.match(link, /#token=./);

    await tab.page.goto(link);
    await tab.seesConnection("live");

    assert.equal(new URL(tab.page.url()).hash, "");
    assert.doesNotMatch(await tab.page.evaluate(() => document.cookie), /mimamori_session/);
    await tab.page.reload();
    await tab.seesConnection("live");
    assert.deepEqual(tab.faults, []);
  });

  it("says what to do when the link is no longer good, and takes a pasted one", async (t) => {
    const server = await startServer(t);
    const tab = await openTab(t);

    await tab.page.goto(`${server.origin}/#token=long-gone`);
    await tab.sees("no longer, good");
    assert.equal(new URL(tab.page.url()).hash, "");
    await tab.sees("mimamori link");
    await tab.shot("sign-in");

    await tab.page.getByLabel("Sign-in link or token").fill(await server.signInLink());
    await tab.page.getByRole("button", { name: "Sign in" }).click();
    await tab.seesConnection("live");
    assert.deepEqual(tab.faultsBut(ANSWERED_401), []);
  });

  it("ends by a button, for a reload too", async (t) => {
    const server = await startServer(t);
    const tab = await signedIn(t, server);

    await tab.page.getByRole("button", { name: "Sign out" }).click();
    await tab.sees("You signed out.");
    await tab.page.reload();

    await tab.page.getByLabel("Sign-in link or token").waitFor();
    assert.deepEqual(tab.faultsBut(ANSWERED_401), []);
  });

  it("works under the path of a public address", async (t) => {
    const port = await freePort();
    const server = await startServer(t, {
      MIMAMORI_HTTP__LISTEN: `127.0.0.1:${port}`,
      MIMAMORI_HTTP__PUBLIC_URL: `http://127.0.0.1:${port}/services/mimamori/`,
    });
    const link = await server.signInLink();
    assert.match(link, /\/services\/mimamori\/#token=/);

    const tab = await openTab(t);
    await tab.page.goto(link);
    await tab.seesConnection("live");

    await tab.sees(`/services/mimamori/k/${server.ingestKey}/api/v1/events`);
    assert.deepEqual(tab.faults, []);
  });
});

describe("the Connect page", () => {
  it("is what an empty console shows, names a refused request, and gives way to the first student", async (t) => {
    const server = await startServer(t);
    const tab = await signedIn(t, server);
    await tab.sees("Listening for the first event");
    await tab.shot("connect-empty");

    const refused = await server.post([new StudentAtWork("x").opens()], { key: "wrong-key" });
    assert.equal(refused.status, 401);

    await tab.sees("Requests arrive, but are refused");
    const arrivals = await tab.page.locator(".arrivals").innerText();
    assert.match(arrivals, /401/);
    assert.match(arrivals, /127\.0\.0\.1:8888/);
    await tab.shot("connect-refused");

    await runCurlLine(tab, server);
    await tab.seesStatus("Tryout", "Active");
    assert.deepEqual(tab.faults, []);
  });

  it("gives an address and settings that are right as they are", async (t) => {
    const server = await startServer(t);
    const tab = await signedIn(t, server);
    const codes = tab.page.locator(".copy code");
    await codes.first().waitFor();

    const address = await codes.nth(0).innerText();
    const overrides = JSON.parse(await codes.nth(1).innerText());

    assert.deepEqual(overrides, { "cell-monitor:plugin": { serverUrl: address } });
    const response = await fetch(address, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify([new StudentAtWork("山田花子").opens()]),
    });
    assert.equal(response.status, 202);
    await tab.seesStatus("山田花子", "Active");

    await tab.page.getByRole("button", { name: "Connect" }).click();
    await tab.sees("Events are arriving");
    await tab.page.locator(".copy button").first().click();
    await tab.sees("Copied");
    assert.equal(await tab.page.evaluate(() => navigator.clipboard.readText()), address);
    assert.deepEqual(tab.faults, []);
  });
});

/** The very line that the page shows, in a real shell; where there is no curl, the same by fetch. */
async function runCurlLine(tab, server) {
  const line = await tab.page.locator(".copy code").nth(2).innerText();
  assert.match(line, /^curl /);
  if (hasCurl()) {
    const { stdout } = await promisify(execFile)("sh", ["-c", line]);
    assert.equal(JSON.parse(stdout).accepted, 1, stdout);
  } else {
    await server.accept([new StudentAtWork("Tryout").runs(0)]);
  }
}

function hasCurl() {
  try {
    execFileSync("curl", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

describe("the class", () => {
  it("shows first who needs attention, and what happened", async (t) => {
    const server = await startServer(t);
    const tab = await signedIn(t, server);
    const [helpless, stuck, failing, fine] = ["助けて 花子", "Stuck Stefan", "Erring Erin", "Fine Finn"].map(
      (name) => new StudentAtWork(name),
    );

    await server.accept([fine.opens(), fine.runs(0), failing.fails(2), stuck.opens()]);
    for (let attempt = 0; attempt < 3; attempt += 1) await server.accept([stuck.fails(4)]);
    await server.accept([helpless.runs(1), helpless.asksForHelp()]);

    await tab.seesStatus("助けて 花子", "Help");
    await tab.seesStatus("Stuck Stefan", "Stuck");
    await tab.seesStatus("Erring Erin", "Error");
    await tab.seesStatus("Fine Finn", "Active");
    await tab.until(
      (names) =>
        [...document.querySelectorAll("tbody tr .name")].map((name) => name.textContent).join() === names,
      "助けて 花子,Stuck Stefan,Erring Erin,Fine Finn",
    );
    await tab.until(() => document.title === "(1) Mimamori");
    await tab.page.locator(".alerts button", { hasText: "Stuck Stefan" }).waitFor();
    await tab.page.locator(".feed li", { hasText: "Erring Erin" }).locator(".outcome", { hasText: "failed" }).waitFor();
    assert.match(await tab.row("Stuck Stefan").innerText(), /#5[\s\S]*cell-4[\s\S]*3[\s\S]*3[\s\S]*3/);
    await tab.shot("class");
    assert.deepEqual(tab.faults, []);
  });

  it("lists the people of one address apart, and says that an address is not set up", async (t) => {
    const server = await startServer(t);
    const tab = await signedIn(t, server);
    const address = "student001@example.com";
    const hanako = new StudentAtWork("山田 花子", { address, notebook: "第1回.ipynb" });
    const taro = new StudentAtWork("佐藤 太郎", { address, notebook: "第2回.ipynb" });

    for (const person of [hanako, taro, hanako, taro]) await server.accept([person.runs(0)]);
    await tab.sees("address not set up");
    // it is certain when an older event can no longer come: 3 s, and a second for the timer
    await tab.page.locator("tr.person", { hasText: "山田 花子" }).waitFor();
    await tab.page.locator("tr.person", { hasText: "佐藤 太郎" }).waitFor();
    await tab.page.locator(".alerts [data-kind=shared_identity]").waitFor();

    assert.match(await tab.page.locator("tr.person", { hasText: "佐藤 太郎" }).innerText(), /第2回/);
    assert.equal(await tab.page.locator("tr[data-student]").count(), 1);
    assert.match(await tab.page.locator(".unset").first().getAttribute("title"), /Settings Editor/);
    await tab.page.locator("tr.person").first().click();
    await tab.sees("Under this address");
    await tab.shot("shared-address");
    assert.deepEqual(tab.faults, []);
  });

  it("finds by text and by status, and is at home on the keyboard", async (t) => {
    const server = await startServer(t);
    const tab = await signedIn(t, server);
    const people = ["Anna", "Berta", "Clara"].map((name, index) => new StudentAtWork(name, { team: `チーム${index + 1}` }));
    await server.accept(people.map((person) => person.runs(0, `# ${person.name}`)));
    await server.accept([people[2].fails(1, "ZeroDivisionError: division by zero", "1/0")]);
    await tab.seesStatus("Clara", "Error");
    await tab.row("Anna").waitFor();

    await tab.page.keyboard.press("/");
    await tab.page.keyboard.type("チーム２");
    await tab.sees("1 of 3 shown");
    assert.deepEqual(await tab.names(), ["Berta"]);
    await tab.page.keyboard.press("Escape");
    await tab.page.getByRole("button", { name: "1 Error" }).click();
    await tab.sees("1 of 3 shown");
    assert.deepEqual(await tab.names(), ["Clara"]);
    await tab.page.getByRole("button", { name: "Show all" }).click();
    await tab.row("Berta").waitFor();

    await tab.row("Clara").focus();
    await tab.page.keyboard.press("ArrowDown");
    await tab.page.keyboard.press("ArrowUp");
    await tab.page.keyboard.press("Enter");
    const panel = tab.page.locator("section.student");
    await panel.getByText("ZeroDivisionError: division by zero").waitFor();
    await panel.getByText("1/0", { exact: true }).waitFor();
    await tab.shot("student");
    await tab.page.keyboard.press("Escape");
    await panel.waitFor({ state: "detached" });
    assert.deepEqual(tab.faults, []);
  });

  it("draws whatever students type as text", async (t) => {
    const server = await startServer(t);
    const tab = await signedIn(t, server);
    const markup = "<img src=x onerror=\"window.hacked=1\"><script>window.hacked=1</script>";
    const hostile = new StudentAtWork(markup, { team: "<b>team</b>", notebook: "<i>nb</i>.ipynb" });
    const reversed = new StudentAtWork("\u202Egnp.exe" + "あ".repeat(200));

    await server.accept([hostile.fails(1, markup, markup), reversed.opens()]);
    await tab.row("<img src=x").waitFor();
    await tab.row("<img src=x").click();
    await tab.page.locator("section.student pre", { hasText: "<script>" }).first().waitFor();

    assert.equal(await tab.page.evaluate(() => window.hacked), undefined);
    assert.equal(await tab.page.locator("#root img, #root script, #root b:has-text('team')").count(), 0);
    const width = await tab.page.evaluate(() => document.documentElement.scrollWidth);
    assert.equal(width, 1280, "a long name must not widen the page");
    await tab.shot("hostile");
    assert.deepEqual(tab.faults, []);
  });

  it("moves with a simulated class", async (t) => {
    const server = await startServer(t);
    const tab = await signedIn(t, server);

    server.background(
      t,
      ...["simulate", "--students", "30", "--speed", "20", "--seed", "7", "--url", await server.ingestAddress()],
    );

    await tab.until(() => document.querySelectorAll("tbody tr").length === 30);
    const total = () =>
      [...document.querySelectorAll("tbody tr td:nth-child(5)")].reduce((sum, cell) => sum + Number(cell.textContent), 0);
    const before = await tab.page.evaluate(total);
    await tab.until(
      (least) =>
        [...document.querySelectorAll("tbody tr td:nth-child(5)")].reduce(
          (sum, cell) => sum + Number(cell.textContent),
          0,
        ) > least,
      before + 20,
    );
    await tab.shot("simulated");
    assert.deepEqual(tab.faults, []);
  });
});

describe("a cut", () => {
  it("is told, and heals by itself when the server comes back after kill -9", async (t) => {
    const server = await startServer(t);
    const tab = await signedIn(t, server);
    const hanako = new StudentAtWork("山田花子");
    const taro = new StudentAtWork("佐藤太郎");
    await server.accept([hanako.runs(0), hanako.runs(1), taro.fails(0)]);
    await tab.seesStatus("佐藤太郎", "Error");

    await server.kill();
    await tab.seesConnection("reconnecting");
    await tab.sees("what was last known");
    assert.equal(await tab.page.locator("tbody tr").count(), 2);
    await tab.shot("cut");

    await server.start();
    await server.accept([hanako.asksForHelp(), taro.runs(0)]);
    await tab.seesConnection("live");

    await tab.seesStatus("山田花子", "Help");
    await tab.seesStatus("佐藤太郎", "Active");
    await assertShowsWhatTheServerKnows(tab, server);
    await tab.shot("healed");
    assert.deepEqual(tab.faultsBut(SERVER_AWAY), []);
  });

  it("of the wire alone is resumed where it was, and what was missed is made up for", async (t) => {
    const server = await startServer(t);
    const wire = await Wire.to(server, t);
    const tab = await openTab(t);
    const sockets = tab.recordSockets();
    const link = new URL(await server.signInLink());
    await tab.page.goto(`${wire.origin}/${link.hash}`);
    await tab.seesConnection("live");
    const hanako = new StudentAtWork("山田花子");
    await server.accept([hanako.runs(0)]);
    await tab.seesStatus("山田花子", "Active");

    wire.cut();
    await tab.seesConnection("reconnecting");
    await server.accept([hanako.fails(1), hanako.fails(1)]);
    wire.mend();

    await tab.seesStatus("山田花子", "Error");
    const last = sockets.at(-1);
    assert.notEqual(last, sockets[0]);
    assert.equal(typeof last.sent.find((frame) => frame.type === "subscribe").since.seq, "number");
    assert.deepEqual(new Set(last.received.map((frame) => frame.type)), new Set(["hello", "delta"]));
    assert.deepEqual(tab.faultsBut(SERVER_AWAY), []);
  });

  it("behind the server is told as stale, and forgotten with the next change", async (t) => {
    const server = await startServer(t);
    const tab = await openTab(t);
    let tellPage;
    await tab.page.routeWebSocket(/\/api\/v1\/live$/, (socket) => {
      const real = socket.connectToServer();
      tellPage = (frame) => socket.send(JSON.stringify(frame));
      real.onMessage((message) => socket.send(message));
      socket.onMessage((message) => real.send(message));
    });
    await tab.page.goto(await server.signInLink());
    await tab.seesConnection("live");
    const hanako = new StudentAtWork("山田花子");
    await server.accept([hanako.runs(0)]);
    await tab.seesStatus("山田花子", "Active");

    tellPage({ type: "stale", classroom: "default", since: new Date(Date.now() - 7_000).toISOString() });
    await tab.sees("Stale");
    await tab.shot("stale");
    await server.accept([hanako.fails(1)]);

    await tab.seesStatus("山田花子", "Error");
    await tab.sees("Live");
    assert.equal(await tab.page.getByText("Stale").count(), 0);
    assert.deepEqual(tab.faults, []);
  });

  it("that nobody told of is looked for when the computer wakes", async (t) => {
    const server = await startServer(t);
    const tab = await openTab(t);
    const sockets = tab.recordSockets();
    await tab.page.goto(await server.signInLink());
    await tab.seesConnection("live");

    const answered = tab.receives("error");
    await tab.page.evaluate(() => window.dispatchEvent(new Event("online")));

    assert.equal((await answered).code, "unknown_type");
    assert.equal(sockets.length, 1);
    await tab.seesConnection("live");
    assert.deepEqual(tab.faults, []);
  });

  it("of the sign-in leads back to the sign-in page", async (t) => {
    const server = await startServer(t);
    const tab = await signedIn(t, server);

    await tab.page.context().clearCookies();
    await server.kill();
    await server.start();

    await tab.sees("You are signed out");
    assert.deepEqual(tab.faultsBut(SERVER_AWAY, ANSWERED_401), []);
  });
});

async function assertShowsWhatTheServerKnows(tab, server) {
  const { students } = await server.read("classrooms/default/overview");
  for (const student of students) {
    const cells = await tab.row(student.name).locator("td").allInnerTexts();
    assert.equal(cells[0].toLowerCase(), student.status);
    assert.deepEqual(
      cells.slice(4, 7).map(Number),
      [student.executions, student.errors, student.consecutiveErrors],
    );
  }
}
