//! Taking events in: the key in its forms, repeats at the same time, what comes back when.

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{
    Api, Console, INGEST_KEY, PATIENCE, Run, Server, SignIn, ensure, eventually, program, run,
};

#[tokio::test]
async fn the_key_is_taken_from_header_query_and_path() {
    let server = Server::start().await;
    let stranger = server.stranger();
    let body = |id: &str| json!([run(id, "a", "c", Run::Ok)]);
    let events = "/api/v1/events";

    let by_header = stranger
        .request(Method::POST, events)
        .bearer_auth(INGEST_KEY)
        .json(&body("e1"));
    let by_query = stranger
        .request(Method::POST, &format!("{events}?key={INGEST_KEY}"))
        .json(&body("e2"));
    let by_path = stranger
        .request(Method::POST, &format!("/k/{INGEST_KEY}{events}"))
        .json(&body("e3"));

    for request in [by_header, by_query, by_path] {
        let answer = Api::send(request).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text);
        assert_eq!(
            answer.json,
            json!({"accepted": 1, "duplicates": 0, "rejected": []})
        );
    }
}

#[tokio::test]
async fn the_same_event_twenty_times_at_once_is_accepted_once() {
    let server = Server::start().await;
    let event = run("same", "a", "c", Run::Ok);
    let mut sending = JoinSet::new();

    for _ in 0..20 {
        let (api, event) = (server.stranger(), event.clone());
        sending.spawn(async move { api.ingest(&[event]).await.good() });
    }
    let answers = sending.join_all().await;

    let sum = |what: &str| {
        answers
            .iter()
            .map(|answer| answer[what].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!((sum("accepted"), sum("duplicates")), (1, 19));
}

#[tokio::test]
async fn the_same_event_twice_in_one_batch_is_one_and_its_duplicate() {
    let server = Server::start().await;
    let event = run("same", "a", "c", Run::Ok);
    let mut other = event.clone();
    other["code"] = json!("something else");

    let answer = server
        .api()
        .ingest(&[event.clone(), event, other])
        .await
        .good();

    assert_eq!(
        (&answer["accepted"], &answer["duplicates"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(answer["rejected"][0]["code"], "conflict");
    assert_eq!(answer["rejected"][0]["index"], 2);
}

#[tokio::test]
async fn one_event_id_of_two_students_is_two_events() {
    let server = Server::start().await;

    server
        .api()
        .accepted(&[run("e1", "a", "c", Run::Ok), run("e1", "b", "c", Run::Ok)])
        .await;

    eventually("both can be read", PATIENCE, async || {
        let events = server.api().room("/events?since=0").await.items();
        ensure(
            events.len() == 2 && events[0]["student"] != events[1]["student"],
            || format!("{events:?}"),
        )
    })
    .await;
}

#[tokio::test]
async fn an_address_is_one_student_however_it_is_written() {
    let server = Server::start().await;
    let mut capitals = run("e2", "hanako", "c", Run::Ok);
    capitals["emailAddress"] = json!("  HANAKO@Example.ac.jp ");
    let mut by_user_id = run("e3", "hanako", "c", Run::Ok);
    let address = by_user_id
        .as_object_mut()
        .unwrap()
        .remove("emailAddress")
        .unwrap();
    by_user_id["userId"] = address;

    server
        .api()
        .accepted(&[run("e1", "hanako", "c", Run::Ok), capitals, by_user_id])
        .await;

    eventually("one student with three runs", PATIENCE, async || {
        let overview = server.api().room("/overview").await.good();
        let students = overview["students"].as_array().unwrap().clone();
        ensure(
            students.len() == 1 && students[0]["executions"] == 3,
            || format!("{students:?}"),
        )
    })
    .await;
}

#[tokio::test]
async fn a_server_behind_a_public_address_with_a_path_goes_by_it() {
    let public = "https://hub.example/services/mimamori/";
    let server = Server::with(&[("MIMAMORI_HTTP__PUBLIC_URL", public)]).await;
    let stranger = server.stranger();

    for path in ["/livez", "/services/mimamori/livez"] {
        assert_eq!(stranger.get(path).await.status, 200, "{path}");
    }
    let keyed = format!("/services/mimamori/k/{INGEST_KEY}/api/v1/events");
    let posted = Api::send(stranger.request(Method::POST, &keyed).json(&json!([])))
        .await
        .unwrap();
    assert_eq!(posted.status, 202, "{}", posted.text);
    let link = program(server.dir())
        .args(["link"])
        .env("MIMAMORI_HTTP__PUBLIC_URL", public)
        .output()
        .await
        .unwrap();
    let link = String::from_utf8(link.stdout).unwrap();
    assert!(link.contains(&format!("{public}#token=")), "{link}");
    assert!(link.contains(&format!("{public}k/{INGEST_KEY}")), "{link}");
    let from_hub = SignIn {
        origin: Some("https://hub.example".to_owned()),
        ..SignIn::bearer(crate::harness::ADMIN)
    };
    assert!(Console::connect(&server, &from_hub).await.is_ok());
}

#[tokio::test]
async fn the_page_is_served_and_asks_nothing_of_who_opens_it() {
    let server = Server::start().await;

    let page = server.stranger().get("/").await;

    assert_eq!(page.status, 200);
    assert!(
        page.header("content-type").starts_with("text/html"),
        "{:?}",
        page.headers
    );
    assert!(page.text.contains("Mimamori") || page.text.contains("mimamori"));
}
