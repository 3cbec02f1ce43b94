//! Consoles among others: slow ones, loud ones, many at once, and those that come back too late.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{ADMIN, Console, Ended, PATIENCE, ROOM, Run, Server, SignIn, run};

/// Events that are long to tell: the names of student and notebook take 1,000 characters each.
fn long(ids: &str, students: usize) -> Vec<Value> {
    let long = "長".repeat(330);
    (0..students)
        .map(|nth| {
            let (id, student) = (format!("{ids}-{nth}"), format!("s{nth}"));
            let mut event = run(&id, &student, "c1", Run::Ok);
            event["userName"] = json!(format!("{long} s{nth}"));
            event["notebookPath"] = json!(format!("{long}/nb{nth}.ipynb"));
            event
        })
        .collect()
}

#[tokio::test]
async fn a_console_that_never_reads_costs_the_others_nothing_and_has_the_present_when_it_reads() {
    const ROUNDS: usize = 40;
    const STUDENTS: usize = 25;
    let server = Server::start().await;
    let mut deaf = Console::connect_with_buffer(&server, &SignIn::bearer(ADMIN), Some(4096))
        .await
        .unwrap();
    deaf.hello().await;
    deaf.subscribe(ROOM).await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(Console::watching(&server, ROOM).await);
    }

    // 2.5 MB to tell, and as each round is heard before the next one, nobody else has a reason to be slow
    for round in 0..ROUNDS {
        server
            .api()
            .accepted(&long(&format!("r{round}"), STUDENTS))
            .await;
        for other in &mut others {
            other
                .until(PATIENCE, "the round", |console| {
                    console.rooms[ROOM].events.len() == (round + 1) * STUDENTS
                })
                .await;
        }
    }

    for other in &others {
        assert_eq!((other.snapshots, other.rooms[ROOM].omitted), (1, 0));
    }
    let present = &others[0].rooms[ROOM];
    deaf.until(PATIENCE, "the present", |console| {
        console.rooms[ROOM].seq >= present.seq
    })
    .await;
    let late = &deaf.rooms[ROOM];
    assert_eq!(late.students, present.students);
    assert!(
        late.events.len() < ROUNDS * STUDENTS,
        "history was not kept for it"
    );
}

#[tokio::test]
async fn a_console_that_floods_is_closed_with_1008_and_the_others_stay() {
    let server = Server::start().await;
    let mut other = Console::watching(&server, ROOM).await;
    let mut loud = Console::watching(&server, ROOM).await;

    for nth in 0..500 {
        let message = json!({"type": "subscribe", "classroom": ROOM, "ref": nth});
        loud.send(Message::text(message.to_string())).await;
    }

    assert_eq!(loud.ended(PATIENCE).await, Ended::Closed(1008));
    server
        .api()
        .accepted(&[run("e1", "a", "c1", Run::Ok)])
        .await;
    other
        .until(PATIENCE, "the run", |console| {
            console.rooms[ROOM].sum("executions") == 1
        })
        .await;
}

#[tokio::test]
async fn who_missed_more_than_is_remembered_is_told_by_a_reset_and_a_snapshot() {
    const STUDENTS: usize = 400;
    let server = Server::start().await;
    server.api().accepted(&long("first", 1)).await;
    let mut gone = Console::watching(&server, ROOM).await;
    gone.until(PATIENCE, "the first", |console| {
        !console.rooms[ROOM].events.is_empty()
    })
    .await;
    let mut witness = Console::watching(&server, ROOM).await;

    // over 800 KB to tell each time, told before the next: more than 4 MiB in the end
    for round in 0..5_u64 {
        server
            .api()
            .accepted(&long(&format!("r{round}"), STUDENTS))
            .await;
        // by its sum: a console that is slow for a moment is not told of every event
        let runs = 1 + (round + 1) * STUDENTS as u64;
        witness
            .until(PATIENCE, "the round", |console| {
                console.rooms[ROOM].sum("executions") == runs
            })
            .await;
    }
    let mut back = gone.resume(&server, ROOM).await;
    let reset = back.other().await;
    back.until(PATIENCE, "the snapshot", |console| console.snapshots == 1)
        .await;

    assert_eq!(
        (&reset["type"], &reset["reason"]),
        (&json!("reset"), &json!("forgotten"))
    );
    assert_eq!(back.rooms[ROOM].students, witness.rooms[ROOM].students);
}

#[tokio::test]
async fn consoles_that_come_back_all_at_once_all_get_the_present_and_no_other_waits() {
    const CONSOLES: usize = 200;
    let server = Server::start().await;
    let class: Vec<_> = (0..30)
        .map(|nth| run("first", &format!("s{nth}"), "c1", Run::Ok))
        .collect();
    server.api().accepted(&class).await;
    let mut other = Console::watching(&server, ROOM).await;
    other
        .until(PATIENCE, "the class", |console| {
            console.rooms[ROOM].sum("executions") == 30
        })
        .await;

    let crowd = join_all((0..CONSOLES).map(|_| Console::watching(&server, ROOM)));
    let while_they_come = async {
        for nth in 0..20 {
            let id = format!("e{nth}");
            server
                .api()
                .accepted(&[run(&id, "late", "c1", Run::Ok)])
                .await;
            other
                .until(PATIENCE, "the run", |console| {
                    console.rooms[ROOM].sum("executions") == 31 + nth
                })
                .await;
        }
    };
    let (mut crowd, ()) = tokio::join!(crowd, while_they_come);

    let present = other.rooms[ROOM].clone();
    for console in &mut crowd {
        console
            .until(PATIENCE, "the present", |console| {
                console.rooms[ROOM].seq >= present.seq
            })
            .await;
        assert_eq!(console.rooms[ROOM].students, present.students);
    }
    let epochs: BTreeSet<_> = crowd.iter().map(|one| &one.rooms[ROOM].epoch).collect();
    assert_eq!(epochs.len(), 1);
}
