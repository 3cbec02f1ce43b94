//! Faults that end the process, and what the next one makes of it.

use std::os::unix::process::ExitStatusExt;

use rustix::process::Signal;

use super::*;

/// A start and the exit of a process that has its reasons.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn with_four_threads_lost_the_process_ends_and_the_next_one_carries_on() {
    let mut server = Server::faulty().await;
    let api = server.api();
    let mut hanako = Hanako::at(&server).await;
    hanako.works(Duration::from_millis(300)).await;

    for student in ["taro", "jiro"] {
        let poison = fault(&format!("{student}-1"), student, "block:session");
        let next = run(&format!("{student}-2"), student, "c1", Run::Ok);
        api.accepted(&[poison, next]).await;
    }

    // two of them, twice each
    let status = server.ended(ENDS_WITHIN).await;
    assert_eq!(status.code(), Some(1), "{}", server.log());
    let server = server.start_again().await;
    let api = server.api();
    wait_for_dead_letters(&api, 2, PATIENCE).await;
    for student in ["taro", "jiro"] {
        wait_for_runs(&api, student, 1).await;
    }
    wait_for_runs(&api, "hanako", hanako.sent).await;
    assert_all_there(&api, hanako.sent + 4).await;
    // each has had its three attempts, the last one here
    assert!(metric(&api, "mimamori_sessions_failed_attempts_total").await >= 2.0);
}

#[tokio::test]
async fn an_event_that_ends_the_whole_process_is_out_after_three_more_starts() {
    let mut server = Server::faulty().await;
    let api = server.api();
    let mut hanako = Hanako::at(&server).await;
    hanako.works(Duration::from_millis(300)).await;

    let poison = fault("t1", "taro", "abort:session");
    let next = run("t2", "taro", "c1", Run::Ok);
    // it is on disk before it is folded, but the answer may not make it
    let _ = api.try_ingest(&[poison, next]).await;

    let abort = Some(Signal::ABORT.as_raw());
    assert_eq!(server.ended(ENDS_WITHIN).await.signal(), abort);
    for _ in 0..3 {
        let status = server.start_that_ends(ENDS_WITHIN).await;
        assert_eq!(status.signal(), abort, "{}", server.log());
    }
    let server = server.start_again().await;
    let api = server.api();
    wait_for_dead_letters(&api, 1, PATIENCE).await;
    wait_for_runs(&api, "taro", 1).await;
    wait_for_runs(&api, "hanako", hanako.sent).await;
    assert_all_there(&api, hanako.sent + 2).await;
}

#[tokio::test]
async fn health_and_ingest_answer_while_every_session_spins_in_a_fold() {
    let mut server = Server::faulty().await;
    let api = server.api();
    let mut spinning = Vec::new();
    for number in 0..20 {
        let student = format!("s{number}");
        spinning.push(fault(&student, &student, "spin:session"));
    }

    api.accepted(&spinning).await;
    let begun = Instant::now();
    let (mut rounds, mut answered_until) = (0, Duration::ZERO);
    // the folds are found after a second, and end the process soon after: then there is no answer
    while round_of_answers(&api, rounds).await.is_ok() {
        rounds += 1;
        answered_until = begun.elapsed();
    }

    let status = server.ended(ENDS_WITHIN).await;
    let ended_after = begun.elapsed();
    assert!(
        answered_until >= ended_after / 2,
        "answered for {answered_until:?} of {ended_after:?}"
    );
    assert_eq!(status.code(), Some(1), "{}", server.log());
}

/// Health is told, and an event taken; or the server is ending.
async fn round_of_answers(api: &Api, nth: usize) -> Result<(), String> {
    health_answers(api).await?;
    let event = run(&format!("more-{nth}"), "hanako", "c1", Run::Ok);
    let answer = api.try_ingest(&[event]).await;
    let answer = answer.map_err(|error| error.to_string())?;
    ensure(answer.status == 202, || answer.text)
}

/// Nobody in the tree gets a turn any more; how long until the process ends, and health answers till then.
pub async fn tree_is_blocked(env: &[(&str, &str)]) -> Duration {
    let mut server = Server::faulty_with(env).await;
    let api = server.api();

    api.accepted(&[fault("t1", "taro", "block:tree")]).await;
    let begun = Instant::now();
    let mut answered_until = Duration::ZERO;
    while health_answers(&api).await.is_ok() {
        answered_until = begun.elapsed();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let status = server.ended(ENDS_WITHIN).await;
    let ended_after = begun.elapsed();
    assert_eq!(status.code(), Some(1), "{}", server.log());
    assert!(
        answered_until >= ended_after / 2,
        "answered until {answered_until:?} of {ended_after:?}"
    );
    ended_after
}

#[tokio::test]
async fn health_answers_while_every_worker_of_the_tree_is_blocked_and_the_process_ends_then() {
    let ended_after = tree_is_blocked(&[SHORT_PATIENCE]).await;

    // not before: a disk may hang for so long
    assert!(ended_after >= PATIENT_FOR, "{ended_after:?}");
}
