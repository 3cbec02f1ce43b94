//! Time that cannot be fooled: by our own absence, by a system clock that is set, by clients' clocks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::harness::{
    Api, Console, PATIENCE, ROOM, Run, Server, ensure, event, eventually, help, program, run,
};

/// Longer than the silence that ends a request for help.
const ABSENCE: Duration = Duration::from_secs(35);
/// Rounds of housekeeping by which it would have been said that an absence was silence.
const ROUNDS: u64 = 3;

/// Taro asks for help, Hanako works.
async fn class(server: &Server) -> Value {
    let api = server.api();
    api.accepted(&[run("r1", "hanako", "c1", Run::Ok), help("h1", "taro", true)])
        .await;
    eventually("both are known", PATIENCE, async || {
        let students = students(&api).await;
        ensure(students.len() == 2, || format!("{students:?}"))
    })
    .await;
    named(&api, "taro").await["help"].clone()
}

async fn students(api: &Api) -> Vec<Value> {
    let overview = api.room("/overview").await.good();
    overview["students"].as_array().unwrap().clone()
}

async fn named(api: &Api, name: &str) -> Value {
    let all = students(api).await;
    let is_meant = |student: &&Value| student["name"].as_str().unwrap().ends_with(name);
    all.iter().find(is_meant).unwrap().clone()
}

/// Taro's request is the one that opened, Hanako is there, and nothing has ended.
async fn assert_all_as_it_was(api: &Api, open: &Value) {
    let (taro, hanako) = (named(api, "taro").await, named(api, "hanako").await);
    assert_eq!(taro["status"], "help", "{taro}");
    assert_eq!(&taro["help"], open, "{taro}");
    assert_eq!(hanako["status"], "active", "{hanako}");
    let help = api.room("/help").await.items();
    assert!(help.len() == 1 && help[0]["until"].is_null(), "{help:?}");
}

/// The next beat goes on with the request, and the student ends it: one request, as long as people saw.
async fn assert_goes_on(api: &Api, open: &Value, at_least: Duration) {
    api.accepted(&[help("h2", "taro", true)]).await;
    api.accepted(&[help("h3", "taro", false)]).await;
    let ended = eventually("the end of help", PATIENCE, async || {
        let help = api.room("/help").await.items();
        ensure(help[0]["until"].is_string(), || format!("{help:?}"))?;
        Ok::<_, String>(help)
    })
    .await;
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!(ended[0]["id"], open["id"]);
    assert_eq!(ended[0]["endedBy"], "student");
    let lasted = millis(&ended[0]["until"]) - millis(&ended[0]["since"]);
    assert!(lasted >= at_least.as_millis() as i64, "{lasted} ms");
}

fn millis(time: &Value) -> i64 {
    let time: mimamori_actors::domain::Timestamp = time.as_str().unwrap().parse().unwrap();
    time.as_millis()
}

/// No actor was taken for dead.
async fn assert_no_restarts(api: &Api) {
    for actor in api.actors().await {
        assert_eq!(actor["restarts"], 0, "{actor}");
    }
}

async fn stopped_and_continued(absence: Duration) {
    let server = Server::start().await;
    let api = server.api();
    let open = class(&server).await;
    let mut console = Console::watching(&server, ROOM).await;
    // the classroom was seen, and its answer is behind us: it is not asked again for the time away
    let after_it = json!({"type": "unsubscribe", "classroom": "another", "ref": "r1"});
    console.say(&after_it).await;
    assert_eq!(console.other().await, json!({"type": "ack", "ref": "r1"}));

    kill_process(server.pid(), Signal::STOP).unwrap();
    sleep(absence).await;
    kill_process(server.pid(), Signal::CONT).unwrap();

    api.after_housekeeping(ROUNDS).await;
    assert_all_as_it_was(&api, &open).await;
    assert_no_restarts(&api).await;
    assert!(server.log().contains("stood still"), "{}", server.log());
    assert_goes_on(&api, &open, absence).await;
    // the console was neither closed nor sent to the beginning
    let has_ended = |console: &Console| {
        let taro = console.rooms[ROOM].named("taro");
        taro.is_some_and(|taro| taro["help"].is_null())
    };
    console.until(PATIENCE, "the end of help", has_ended).await;
    assert_eq!(console.snapshots, 1);
}

async fn killed_and_started_again(absence: Duration) {
    let mut server = Server::start().await;
    let open = class(&server).await;

    server.kill9().await;
    sleep(absence).await;
    let server = server.start_again().await;

    let api = server.api();
    api.after_housekeeping(ROUNDS).await;
    assert_all_as_it_was(&api, &open).await;
    assert_goes_on(&api, &open, absence).await;
    let lessons = api.room("/lessons").await.items();
    assert!(
        lessons.len() == 1 && lessons[0]["ended"].is_null(),
        "{lessons:?}"
    );
}

/// One server stopped by a signal, another dead, for so long.
pub async fn away(absence: Duration) {
    tokio::join!(
        stopped_and_continued(absence),
        killed_and_started_again(absence)
    );
}

#[tokio::test]
async fn while_we_were_stopped_or_dead_nobody_was_silent() {
    away(ABSENCE).await;
}

/// The server's own system clock, which the test sets.
struct SystemClock {
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl SystemClock {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Self {
            file: dir.path().join("offset"),
            _dir: dir,
        };
        clock.set(0);
        clock
    }

    /// So far from the real one. Replaced as a whole: it is read at every look at the clock.
    fn set(&self, seconds: i64) {
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(next, &self.file).unwrap();
    }

    /// Makes a program see this clock.
    fn env(&self) -> Vec<(&str, String)> {
        let file = self.file.to_str().unwrap().to_owned();
        vec![
            ("LD_PRELOAD", libfaketime()),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }

    async fn server(&self) -> Server {
        let env = self.env();
        let env: Vec<_> = env.iter().map(|(name, value)| (*name, &**value)).collect();
        Server::with(&env).await
    }

    /// A sign-in link of `mimamori link`, another process with the same system clock.
    async fn link(&self, server: &Server) -> String {
        let mut link = program(server.dir());
        let output = link.args(["link", "--console"]).envs(self.env()).output();
        let printed = String::from_utf8(output.await.unwrap().stdout).unwrap();
        let (_, token) = printed.trim().split_once("#token=").unwrap();
        token.to_owned()
    }
}

fn libfaketime() -> String {
    let dirs = std::fs::read_dir("/usr/lib").unwrap();
    let of_machine = dirs.map(|dir| dir.unwrap().path());
    let found = [PathBuf::from("/usr/lib")]
        .into_iter()
        .chain(of_machine)
        .map(|dir| dir.join("faketime/libfaketimeMT.so.1"))
        .find(|path| Path::exists(path));
    let found = found.expect("libfaketime is missing: on Debian apt-get install faketime");
    found.to_str().unwrap().to_owned()
}

/// Everything that has a beginning and an end; nothing ends before it began.
async fn assert_no_negative_durations(api: &Api) {
    let hanako = named(api, "hanako").await["id"].clone();
    let path = format!("/students/{}", hanako.as_str().unwrap());
    let page = api.room(&path).await.good();
    let sessions = page["sessions"].as_array().unwrap().clone();
    assert!(!sessions.is_empty(), "{page}");
    let lists = [
        (sessions, "begun", "ended"),
        (api.room("/lessons").await.items(), "begun", "ended"),
        (api.room("/help").await.items(), "since", "until"),
    ];
    for (items, begin, end) in lists {
        assert!(!items.is_empty());
        for item in items.iter().filter(|item| !item[end].is_null()) {
            assert!(millis(&item[end]) >= millis(&item[begin]), "{item}");
        }
    }
    let events = api.all("/events?since=0", 100).await;
    let received: Vec<_> = events
        .iter()
        .map(|event| millis(&event["receivedAt"]))
        .collect();
    assert!(received.is_sorted(), "{received:?}");
}

/// The system clock goes an hour forward, back, an hour back, and right again; so often.
/// Our times never go back, and are never behind it.
pub async fn clock_set(times: usize) {
    let clock = SystemClock::new();
    let server = clock.server().await;
    let api = server.api();
    let open = class(&server).await;
    let begun = named(&api, "hanako").await["lastActivity"].clone();
    let mut last = millis(&begun);

    let offsets = [3_600, 0, -3_600, 0].repeat(times);
    for (round, offset) in offsets.into_iter().enumerate() {
        clock.set(offset);
        api.after_housekeeping(ROUNDS).await;
        assert_all_as_it_was(&api, &open).await;
        assert_eq!(api.get("/readyz").await.status, 200);

        let system = jiff::Timestamp::now().as_millisecond() + offset * 1_000;
        api.accepted(&[
            run(&format!("r{}", round + 2), "hanako", "c1", Run::Ok),
            help(&format!("beat{round}"), "taro", true),
        ])
        .await;
        let activity = eventually("the event is told", PATIENCE, async || {
            let hanako = named(&api, "hanako").await;
            let activity = millis(&hanako["lastActivity"]);
            ensure(activity > last, || format!("{hanako}, after {last}"))?;
            Ok::<_, String>(activity)
        })
        .await;
        // less a second for the way here
        assert!(activity + 1_000 >= system, "forward is followed at once");
        last = activity;
    }

    assert_no_negative_durations(&api).await;
    assert_goes_on(&api, &open, Duration::ZERO).await;
    assert_no_negative_durations(&api).await;
}

#[tokio::test]
async fn a_system_clock_set_an_hour_forward_and_back_moves_nobody() {
    clock_set(1).await;
}

#[tokio::test]
async fn a_start_with_the_system_clock_an_hour_back_or_forward_moves_nobody() {
    let clock = SystemClock::new();
    let mut server = clock.server().await;
    let open = class(&server).await;

    for offset in [-3_600, 3_600] {
        server.kill9().await;
        clock.set(offset);
        server = server.start_again().await;
        let api = server.api();
        api.after_housekeeping(ROUNDS).await;
        assert_all_as_it_was(&api, &open).await;
        let id = format!("r{offset}");
        api.accepted(&[run(&id, "hanako", "c2", Run::Ok)]).await;
        eventually("it is in the history", PATIENCE, async || {
            let events = api.all("/events?since=0", 100).await;
            let is_there = events.iter().any(|event| event["eventId"] == id.as_str());
            ensure(is_there, || format!("{events:?}"))
        })
        .await;
        assert_no_negative_durations(&api).await;
    }
    assert_goes_on(&server.api(), &open, Duration::ZERO).await;
}

#[tokio::test]
async fn a_link_opens_a_console_though_the_system_clock_was_set_back() {
    let clock = SystemClock::new();
    let server = clock.server().await;

    // what we show as the time of day is an hour ahead now
    clock.set(-3_600);
    let token = clock.link(&server).await;
    let signed_in = server
        .stranger()
        .post("/api/v1/session", &json!({ "token": token }))
        .await;

    assert!((200..300).contains(&signed_in.status), "{signed_in:?}");
}

#[tokio::test]
async fn a_client_with_a_clock_of_another_day_is_taken_as_it_comes() {
    let server = Server::start().await;
    let api = server.api();
    let dated = |id: &str, kind: &str, student: &str, time: &str| {
        let mut event = event(id, kind, student);
        event["eventTime"] = json!(time);
        event
    };
    let now =
        mimamori_actors::domain::Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    let day = Duration::from_hours(24);

    for (student, time) in [("ahead", now.plus(day)), ("behind", now.minus(day))] {
        let time = time.to_string();
        api.accepted(&[
            dated(&format!("{student}1"), "notebook_opened", student, &time),
            dated(&format!("{student}2"), "help", student, &time),
        ])
        .await;
    }
    // everything that could be over at once would be over now
    api.after_housekeeping(ROUNDS).await;

    for student in ["ahead", "behind"] {
        let seen = named(&api, student).await;
        assert_eq!(seen["status"], "help", "{seen}");
        for time in [&seen["lastActivity"], &seen["help"]["since"]] {
            let age = millis(time) - now.as_millis();
            assert!((0..60_000).contains(&age), "{age} ms: {seen}");
        }
        api.accepted(&[help(&format!("{student}3"), student, false)])
            .await;
        eventually("the end of help", PATIENCE, async || {
            let seen = named(&api, student).await;
            ensure(seen["status"] == "active", || seen.to_string())
        })
        .await;
    }
}
