//! A classroom that stores no code.

use mimamori_actors::domain::ClassroomId;

use super::*;
use crate::config::Classroom;

fn app() -> App {
    let id = ClassroomId::new("default");
    App::with(Classrooms::new(vec![Classroom {
        keeps_code: false,
        ..Classroom::plain(id)
    }]))
}

#[tokio::test]
async fn no_byte_of_code_reaches_the_journal() {
    let app = app();
    let mut good = event("e1");
    good["code"] = "SECRET".into();
    good["result"] = "SECRET".into();
    good["errorMessage"] = "SECRET".into();
    let mut refused = good.clone();
    refused["eventType"] = "SECRET".into();
    let batch = json!([good, refused, "SECRET"]).to_string();

    let answer = app.post(batch).await;

    assert_eq!(answer.status(), 202);
    assert_eq!(answer.json()["accepted"], 1);
    let kept = serde_json::to_string(&app.journal.records()).unwrap();
    assert!(!kept.contains("SECRET"), "{kept}");
    let codes: Vec<_> = app
        .journal
        .rejections()
        .into_iter()
        .map(|rejection| rejection.code)
        .collect();
    assert_eq!(codes, ["unknown_type", "not_an_object"]);
}

#[tokio::test]
async fn what_differs_in_code_alone_is_the_same_event() {
    let app = app();
    let mut second = event("e1");
    second["code"] = "print(2)".into();
    let mut other = event("e1");
    other["cellId"] = "SECRET".into();
    app.post(json!([event("e1")]).to_string()).await;

    let answer = app.post(json!([second, other]).to_string()).await;

    assert_eq!(answer.json()["duplicates"], 1);
    assert_eq!(answer.json()["rejected"][0]["code"], "conflict");
    assert_eq!(app.journal.rejections()[0].payload, "");
}
