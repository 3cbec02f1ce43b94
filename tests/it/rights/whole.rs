use std::fs;

use serde_json::Value;

use super::*;
use crate::harness::postgres::database;
use crate::harness::{Console, ROOM};

#[tokio::test]
async fn nothing_is_left_of_an_erased_student_and_others_keep_everything_in_files() {
    erased(None).await;
}

#[tokio::test]
async fn nothing_is_left_of_an_erased_student_and_others_keep_everything_in_postgresql() {
    erased(Some(&database())).await;
}

async fn erased(size: Size<'_>) {
    let server = Server::with(&env(size)).await;
    others(&server, "before", 20).await;
    leave_traces(&server, "first").await;
    others(&server, "between", 20).await;
    all_in_the_records(&server, 46).await;
    let id = person_id(&server).await;
    let before = of_others(&server).await;
    let mut console = Console::watching(&server, ROOM).await;
    assert!(console.rooms[ROOM].students.contains_key(&id));
    let has_all = |console: &Console| console.rooms[ROOM].sum("executions") == 44;
    console.until(PATIENCE, "every run", has_all).await;
    snapshots_hold(&server, &id).await;
    let document = exported(&server, size, &id).await;
    assert_eq!(document["events"].as_array().unwrap().len(), 6);

    good(&erase(&server, size).await);

    console
        .until(PATIENCE, "the console is told", |console| {
            !console.rooms[ROOM].students.contains_key(&id)
        })
        .await;
    assert_eq!(console.rooms[ROOM].students.len(), 7);
    nothing_is_shown(&server, &id).await;
    nothing_is_left(&server, size, &id).await;
    assert_eq!(of_others(&server).await, before);
    let fresh = Console::watching(&server, ROOM).await;
    assert_eq!(fresh.rooms[ROOM].students, console.rooms[ROOM].students);
    assert!(
        fresh.rooms[ROOM]
            .events
            .iter()
            .all(|event| !event.starts_with("first"))
    );

    begins_anew(&server, size, &id, before).await;
}

/// The snapshots are written every two seconds.
async fn snapshots_hold(server: &Server, id: &str) {
    let snapshots = server.dir().join("snapshots");
    eventually("the snapshots hold the person", PATIENCE, async || {
        let found = found_in(&snapshots, &[id]);
        ensure(!found.is_empty(), || "not yet".to_owned())
    })
    .await;
}

async fn exported(server: &Server, size: Size<'_>, id: &str) -> Value {
    // what was concluded is in the records behind what it was concluded from
    let document = eventually("help, session and alerts are there", PATIENCE, async || {
        let output = call(server, size, &["export", "--student", ADDRESS]).await;
        let document: Value = serde_json::from_str(&good(&output)).unwrap();
        let count = |part: &str| document[part].as_array().unwrap().len();
        let is_whole = count("help") > 0 && count("sessions") > 0 && count("alerts") > 0;
        ensure(is_whole, || document.to_string())?;
        Ok::<_, String>(document)
    })
    .await;
    assert_eq!(document["student"]["id"], *id);
    assert_eq!(document["student"]["address"], ADDRESS.to_lowercase());
    assert_eq!(document["executions"].as_array().unwrap().len(), 4);
    assert_eq!(document["executions"][0]["code"], "zzcodeqq = 1");
    assert_eq!(
        document["events"][0]["emailAddress"],
        ADDRESS.to_lowercase()
    );
    assert_eq!(document["help"].as_array().unwrap().len(), 1);
    assert_eq!(document["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(document["rejected"].as_array().unwrap().len(), 2);
    document
}

/// What the same person sends is shown, also what was sent before; erased again, it goes again.
async fn begins_anew(server: &Server, size: Size<'_>, id: &str, before: (Vec<Value>, Vec<Value>)) {
    let api = server.api();
    api.accepted(&[marked("first-run0", "cell_executed")]).await;
    all_in_the_records(server, 41).await;
    eventually("the student begins anew", PATIENCE, async || {
        let student = api.room(&format!("/students/{id}")).await;
        ensure(student.json["executions"] == 1, || student.text)
    })
    .await;

    good(&call(server, size, &["erase", "--student", id, "--yes"]).await);
    good(&erase(server, size).await);

    nothing_is_shown(server, id).await;
    nothing_is_left(server, size, id).await;
    assert_eq!(of_others(server).await, before);
}

#[tokio::test]
async fn without_a_server_the_commands_open_the_stores_themselves() {
    let mut server = Server::start().await;
    others(&server, "before", 5).await;
    leave_traces(&server, "first").await;
    all_in_the_records(&server, 11).await;
    let id = person_id(&server).await;
    let before = of_others(&server).await;
    server.sigterm();
    server.ended(PATIENCE).await;
    let file = server.dir().join("person.json");
    let path = file.display().to_string();

    good(
        &call(
            &server,
            None,
            &["export", "--student", &id, "--output", &path],
        )
        .await,
    );
    let document: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(document["executions"].as_array().unwrap().len(), 4);
    good(&erase(&server, None).await);

    nothing_is_left(&server, None, &id).await;
    let server = server.start_again().await;
    nothing_is_shown(&server, &id).await;
    assert_eq!(of_others(&server).await, before);
}

#[tokio::test]
async fn nobody_is_erased_who_was_not_asked_about_and_only_by_the_admin_token() {
    let server = Server::start().await;
    leave_traces(&server, "first").await;
    let id = person_id(&server).await;

    let unasked = call(&server, None, &["erase", "--student", ADDRESS]).await;
    let elsewhere = call(
        &server,
        None,
        &["erase", "--student", ADDRESS, "--classroom", "x", "--yes"],
    )
    .await;
    let path = format!("/api/v1/admin/classrooms/{ROOM}/students/{id}/erase");
    let stranger = server.stranger().call(reqwest::Method::POST, &path).await;
    let reading = server.api().get(&path).await;

    assert_eq!(unasked.status.code(), Some(2));
    assert_eq!(elsewhere.status.code(), Some(2));
    stranger.assert_problem(401);
    reading.assert_problem(405);
    let api = server.api();
    assert_eq!(api.room(&format!("/students/{id}")).await.status, 200);
}
