//! Sessions that fail at an event.

use super::*;

/// An event fails its session again and again; how long somebody else waits meanwhile.
pub async fn fails_at_an_event(how: &str) -> Delay {
    let server = Server::faulty().await;
    let api = server.api();
    let mut hanako = Hanako::at(&server).await;

    api.accepted(&[
        run("t1", "taro", "c1", Run::Ok),
        fault("t2", "taro", &format!("{how}:session")),
        run("t3", "taro", "c2", Run::Ok),
    ])
    .await;
    let delay = hanako.waits_at_most(Duration::from_secs(5)).await;

    wait_for_dead_letters(&api, 1, PATIENCE).await;
    wait_for_runs(&api, "taro", 2).await;
    assert_health_answers(&api).await;
    assert_all_there(&api, hanako.sent + 3).await;
    assert!(metric(&api, "mimamori_sessions_failed_attempts_total").await >= 3.0);
    let lost = metric(&api, "mimamori_sessions_lost_threads").await;
    assert_eq!(lost >= 3.0, how == "block", "{how}: {lost}");
    assert_went_on(&api, "router").await;
    delay
}

#[tokio::test]
async fn an_event_that_panics_or_never_ends_its_session_is_a_dead_letter_and_the_student_goes_on() {
    for how in ["panic", "hang", "block"] {
        let delay = fails_at_an_event(how).await;

        delay.assert_less_than(SESSION);
    }
}

#[tokio::test]
async fn ten_students_with_the_same_poison_cost_nobody_else_anything() {
    let server = Server::faulty().await;
    let api = server.api();
    let mut hanako = Hanako::at(&server).await;
    let students: Vec<String> = (0..10).map(|number| format!("p{number}")).collect();

    for student in &students {
        let poison = fault(&format!("{student}-1"), student, "panic:session");
        let next = run(&format!("{student}-2"), student, "c1", Run::Ok);
        api.accepted(&[poison, next]).await;
    }
    let delay = hanako.waits_at_most(Duration::from_secs(3)).await;
    delay.assert_less_than(SESSION);

    wait_for_dead_letters(&api, 10, PATIENCE).await;
    for student in &students {
        wait_for_runs(&api, student, 1).await;
    }
    assert_all_there(&api, hanako.sent + 20).await;
    for name in ["router", "sessions", "classroom/default"] {
        assert_went_on(&api, name).await;
    }
}

#[tokio::test]
async fn a_session_that_stands_still_is_shown_as_frozen_and_can_be_restarted_by_a_person() {
    let server = Server::faulty().await;
    let api = server.api();
    api.accepted(&[fault("t1", "taro", "hang:session")]).await;

    let frozen = eventually("frozen", PATIENCE, async || {
        let sessions = api.get("/api/v1/health/actors?kind=session").await.good();
        let taro = sessions["items"][0].clone();
        let was_frozen = taro["restarts"].as_u64() > Some(0);
        ensure(was_frozen || taro["state"] == "frozen", || taro.to_string())?;
        Ok::<_, String>(taro)
    })
    .await;

    let name = frozen["name"].as_str().unwrap().replace('/', "%2F");
    let path = format!("/api/v1/admin/actors/{name}/restart");
    let answer = api.call(reqwest::Method::POST, &path).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    wait_for_dead_letters(&api, 1, PATIENCE).await;
    let metrics = api.get("/metrics").await.text;
    assert!(metrics.contains(r#"mimamori_actors_frozen_total{kind="session"}"#));
}
