//! 200 students in any interleaving: no console ever sees the chain broken or a
//! student go back, and in the end all know what the accepted events mean.
//!
//! The checks of every frame (each `after` is the last `seq`, executions, errors
//! and lastActivity never fall) are in the harness's `Console`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mimamori_actors::domain::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::harness::{
    ADMIN, Api, Console, Expected, PATIENCE, ROOM, Random, Run, Server, SignIn, assert_is,
    assert_is_student, ensure, event, eventually, help, markdown, recount, run, shuffled, skipped,
};

const STUDENTS: usize = 200;
const CONNECTIONS: usize = 12;

/// What one student's notebook sends: work, errors in a row, Run All with a failing cell, some ask for help.
fn of_student(nth: usize, random: &mut Random) -> Vec<Value> {
    let student = format!("s{nth:03}");
    let mut count = 0;
    let mut id = || {
        count += 1;
        // the same ids for every student: an event is identified together with its student
        format!("e{count:02}")
    };
    let mut events = vec![event(&id(), "notebook_opened", &student)];
    for _ in 0..12 {
        let how = [Run::Ok, Run::Ok, Run::Error, Run::Interrupted][random.below(4)];
        events.push(run(&id(), &student, &format!("c{}", random.below(4)), how));
    }
    for _ in 0..random.below(5) {
        events.push(run(&id(), &student, "hard", Run::Error));
    }
    events.push(skipped(&id(), &student, "later"));
    events.push(markdown(&id(), &student, "text"));
    match nth % 10 {
        0 => events.push(help(&id(), &student, true)),
        1 => {
            events.push(help(&id(), &student, true));
            events.push(help(&id(), &student, false));
        }
        _ => {}
    }
    events.push(run(&id(), &student, "last", Run::Ok));
    events
}

/// Every event in any order, in batches of any size, some of them twice.
fn batches(random: &mut Random) -> (usize, Vec<Vec<Value>>) {
    let all: Vec<_> = (0..STUDENTS)
        .flat_map(|nth| of_student(nth, random))
        .collect();
    let count = all.len();
    let mut rest = shuffled(all, random);
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let size = (1 + random.below(20)).min(rest.len());
        let batch = rest.split_off(rest.len() - size);
        if random.below(20) == 0 {
            batches.push(batch.clone());
        }
        batches.push(batch);
    }
    let mut batches = shuffled(batches, random);
    stamp(&mut batches);
    (count, batches)
}

/// Each event happened when it is sent for the first time, so that none comes too late to be in its place.
fn stamp(batches: &mut [Vec<Value>]) {
    let now = jiff::Timestamp::now().as_millisecond();
    let mut times: BTreeMap<(String, String), i64> = BTreeMap::new();
    for (nth, batch) in (0..).zip(batches) {
        for event in batch {
            let time = *times.entry(identity(event)).or_insert(now + nth);
            event["eventTime"] = json!(Timestamp::from_millis(time).to_string());
        }
    }
}

fn identity(event: &Value) -> (String, String) {
    (
        event["emailAddress"].to_string(),
        event["eventId"].to_string(),
    )
}

async fn send(api: Api, batches: Vec<Vec<Value>>) -> u64 {
    let mut accepted = 0;
    for batch in batches {
        let answer = api.ingest(&batch).await.good();
        let taken = answer["accepted"].as_u64().unwrap() + answer["duplicates"].as_u64().unwrap();
        assert_eq!(taken, batch.len() as u64, "{answer}");
        accepted += answer["accepted"].as_u64().unwrap();
    }
    accepted
}

/// A console that reads until all runs are there, and how many those are is told later.
fn watch_all(mut console: Console, runs: watch::Receiver<Option<u64>>) -> JoinHandle<Console> {
    tokio::spawn(async move {
        let is_done = |console: &Console| {
            let told = *runs.borrow();
            told.is_some_and(|runs| console.rooms[ROOM].sum("executions") >= runs)
        };
        while !is_done(&console) {
            console.listen(Duration::from_millis(50)).await;
        }
        console
    })
}

/// A console that does not read for a while; thrown out, it comes back and resumes.
async fn dawdle(server: &Server, runs: u64) -> Console {
    let sign_in = SignIn::bearer(ADMIN);
    let mut console = Console::connect_with_buffer(server, &sign_in, Some(4096))
        .await
        .unwrap();
    console.hello().await;
    console.subscribe(ROOM).await;
    // being slow is its part
    sleep(Duration::from_millis(700)).await;
    let is_done = |console: &Console| console.rooms[ROOM].sum("executions") >= runs;
    while console
        .try_until(PATIENCE, "the slow console has everything", is_done)
        .await
        .is_err()
    {
        console = console.resume(server, ROOM).await;
    }
    console
}

fn assert_all_are(students: &BTreeMap<String, Value>, expected: &BTreeMap<String, Expected>) {
    assert!(students.keys().eq(expected.keys()), "other students");
    for (id, student) in students {
        assert_is(student, &expected[id]);
    }
}

/// How many distinct runs are among them.
fn count_runs(batches: &[Vec<Value>]) -> u64 {
    let is_run = |event: &&Value| event["cellType"] == "code" && event["executionCount"].is_i64();
    let runs: BTreeSet<_> = batches
        .iter()
        .flatten()
        .filter(is_run)
        .map(identity)
        .collect();
    runs.len() as u64
}

/// What was accepted, in its order.
async fn accepted_events(server: &Server, count: usize) -> Vec<Value> {
    eventually("every event can be read", PATIENCE, async || {
        let events = server.api().all("/events?since=0", 1000).await;
        ensure(events.len() == count, || {
            format!("{} of {count}", events.len())
        })?;
        Ok::<_, String>(events)
    })
    .await
}

/// Waits for what is not a run and may come a moment after the last run; then all is as expected.
async fn assert_comes_out_as(console: &mut Console, expected: &BTreeMap<String, Expected>) {
    let is_settled = |console: &Console| {
        let students = &console.rooms[ROOM].students;
        students.len() == expected.len()
            && students
                .iter()
                .all(|(id, student)| student["lastActivity"] == expected[id].last_activity.as_str())
    };
    console.until(PATIENCE, "everything", is_settled).await;
    console.listen(Duration::from_millis(300)).await;
    assert_all_are(&console.rooms[ROOM].students, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_students_in_any_interleaving_come_out_the_same_on_every_console() {
    let mut random = Random::new("interleaving");
    let server = Server::start().await;
    let (count, batches) = batches(&mut random);
    let runs = count_runs(&batches);
    let (tell, told) = watch::channel(None);
    let mut watching = Vec::new();
    for _ in 0..3 {
        let console = Console::watching(&server, ROOM).await;
        watching.push(watch_all(console, told.clone()));
    }

    let mut senders = JoinSet::new();
    for nth in 0..CONNECTIONS {
        let share = batches
            .iter()
            .skip(nth)
            .step_by(CONNECTIONS)
            .cloned()
            .collect();
        senders.spawn(send(server.stranger(), share));
    }
    let mut slow = dawdle(&server, runs).await;
    let accepted: u64 = senders.join_all().await.into_iter().sum();
    tell.send(Some(runs)).unwrap();

    assert_eq!(accepted, count as u64);
    let expected = recount(&accepted_events(&server, count).await);
    assert_comes_out_as(&mut slow, &expected).await;
    for console in watching {
        let mut console = timeout(PATIENCE, console).await.unwrap().unwrap();
        assert_comes_out_as(&mut console, &expected).await;
        let room = &console.rooms[ROOM];
        let events = room.events.len() as u64 + room.omitted;
        // who was there from the beginning and needed no second snapshot was told of every event
        assert!(
            console.snapshots > 1 || events == count as u64,
            "{events} of {count}"
        );
    }
    assert_overview_agrees(&server, &expected).await;
}

async fn assert_overview_agrees(server: &Server, expected: &BTreeMap<String, Expected>) {
    let sum = |of: fn(&Expected) -> u64| expected.values().map(of).sum::<u64>();
    let overview = eventually("the overview agrees", PATIENCE, async || {
        let overview = server.api().room("/overview").await.good();
        let totals = &overview["totals"];
        let activity = overview["activity"].as_array().unwrap().iter();
        let charted: u64 = activity.map(|it| it["executions"].as_u64().unwrap()).sum();
        // totals are of the records, the chart is of the series
        let is_right = totals["students"] == STUDENTS
            && totals["executions"] == sum(|student| student.executions)
            && totals["errors"] == sum(|student| student.errors)
            && totals["executions"] == charted;
        ensure(is_right, || format!("{totals}, {charted} in the chart"))?;
        Ok::<_, String>(overview)
    })
    .await;
    let students = overview["students"].as_array().unwrap();
    assert_eq!(students.len(), STUDENTS);
    for student in students {
        assert_is_student(student);
        assert_is(student, &expected[student["id"].as_str().unwrap()]);
    }
}
