//! What is kept is never seen where it is not true any more.

use sea_orm::ConnectionTrait as _;

use super::*;

/// Every call that may be answered from the cache.
fn calls() -> [String; 7] {
    [
        "overview".to_owned(),
        "executions?query=RANGE".to_owned(),
        "executions?query=range".to_owned(),
        format!("students/{}", student(1)),
        format!("students/{}/executions", student(1)),
        "cells".to_owned(),
        "cells?notebook=week1/%E8%AA%B2%E9%A1%8C.ipynb".to_owned(),
    ]
}

async fn answers(house: &House) -> Vec<Value> {
    let mut answers = Vec::new();
    for call in calls() {
        let path = format!("/api/v1/classrooms/default/{call}");
        answers.push(house.get(&path).await);
    }
    answers
}

async fn write(house: &House, entry: Arc<Entry>) {
    let entries = [entry];
    let through = entries[0].position;
    let records = &house.reading.records;
    records.write(&journal(), &entries, through).await.unwrap();
    let series = house.reading.series.as_ref().unwrap();
    series.write(&journal(), &entries, through).await.unwrap();
}

#[tokio::test]
async fn what_was_written_is_in_the_next_answer_of_every_call() {
    let house = House::with(&class()).await;
    let before = answers(&house).await;
    assert_eq!(before, answers(&house).await);

    write(&house, executed(8, 1)).await;

    let after = answers(&house).await;
    for ((before, after), call) in before.iter().zip(&after).zip(calls()) {
        assert_ne!(before, after, "{call}");
    }
    assert_eq!(after[0]["totals"]["executions"], 3);
    assert_eq!(after[1]["items"][0]["cellId"], "cell-1");
}

#[tokio::test]
async fn the_same_search_in_other_letters_is_answered_from_what_is_kept() {
    let house = House::with(&class()).await;
    let search =
        |words: &str| format!("/api/v1/classrooms/default/executions?limit=1&query={words}");
    let page = house.get(&search("RANGE")).await;
    let cursor = page["next"].as_str().unwrap();

    // the cursor of the one is good for the other: they are one list
    let next = house
        .get(&format!("{}&cursor={cursor}", search("rAnGe")))
        .await;

    assert_eq!(page, house.get(&search("range")).await);
    assert_eq!(next["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_forgotten_classroom_shows_nothing_of_before() {
    let house = House::with(&class()).await;
    let before = answers(&house).await;
    // rows go behind everybody's back
    let file = house._dir.path().join("records.sqlite");
    let hands = sea_orm::Database::connect(format!("sqlite://{}", file.display()));
    let hands = hands.await.unwrap();
    hands
        .execute_unprepared("DELETE FROM executions")
        .await
        .unwrap();
    assert_eq!(before, answers(&house).await, "until somebody says so");

    let Reading { records, cache, .. } = &house.reading;
    cache.forget(records, &room()).await.unwrap();

    let after = answers(&house).await;
    assert_eq!(after[0]["totals"]["executions"], 0);
    for list in [&after[1], &after[2], &after[4], &after[5], &after[6]] {
        assert_eq!(list["items"], json!([]));
    }
}

#[tokio::test]
async fn who_may_not_read_gets_nothing_that_is_kept() {
    let mut house = House::with(&class()).await;
    answers(&house).await;
    house.token = "another".to_owned();

    for call in calls() {
        let path = format!("/api/v1/classrooms/default/{call}");
        let (status, _) = house.refusal("GET", &path).await;
        assert_eq!(status, 401, "{call}");
    }
}
