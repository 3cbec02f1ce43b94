//! What happens because nothing comes.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Console, PATIENCE, ROOM, Run, Server, ensure, eventually, help, run};

#[tokio::test]
async fn a_call_for_help_that_is_not_repeated_is_over_after_30_seconds_at_its_last_beat() {
    let server = Server::start().await;
    let mut console = Console::watching(&server, ROOM).await;
    let status = |console: &Console| {
        let student = console.rooms[ROOM].named("yuki");
        student.map(|student| student["status"].clone())
    };
    server
        .api()
        .accepted(&[run("e1", "yuki", "c1", Run::Ok), help("h1", "yuki", true)])
        .await;
    console
        .until(PATIENCE, "help", |console| {
            status(console) == Some(json!("help"))
        })
        .await;

    // the tab was closed: nothing comes any more
    console
        .until(Duration::from_secs(45), "its end", |console| {
            status(console) == Some(json!("active"))
        })
        .await;

    let ended = eventually("the end is in the history", PATIENCE, async || {
        let help = server.api().room("/help").await.items();
        ensure(help.len() == 1 && help[0]["until"].is_string(), || {
            format!("{help:?}")
        })?;
        Ok::<_, String>(help[0].clone())
    })
    .await;
    assert_eq!(ended["endedBy"], "silence");
    assert_eq!(ended["until"], ended["since"], "its only beat was its last");
    assert_eq!(ended["cellId"], "c1");
}
