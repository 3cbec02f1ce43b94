//! Whatever is sent, the answer is what the contract says, repeats nothing of
//! it, and the next good request is served.

mod cases;
mod request;

use std::collections::HashSet;

use crate::harness::{RawAnswer, Run, Server, exchange, run};
use cases::{CANARY, Case, Expect, all};
use request::post;

/// Shorter than the defaults, so that the cases that wait don't take long.
const SHORT: [(&str, &str); 3] = [
    ("MIMAMORI_HTTP__HEADER_TIMEOUT", "700ms"),
    ("MIMAMORI_HTTP__BODY_TIMEOUT", "700ms"),
    ("MIMAMORI_HTTP__IDLE_TIMEOUT", "700ms"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_answered_as_the_contract_says_and_the_next_good_request_is_served() {
    let server = Server::with(&SHORT).await;
    let cases = all();
    let names: HashSet<_> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "two cases of one name");
    assert!(cases.len() >= 60, "{} cases", cases.len());

    let mut faults = Vec::new();
    for (nth, case) in cases.iter().enumerate() {
        let answer = exchange(server.address, &case.bytes).await;
        if let Err(fault) = check(case, &answer) {
            faults.push(format!("{}: {fault}\n    {}", case.name, shown(&answer)));
        }
        let good = run(&format!("good-{nth}"), "good", "cell", Run::Ok);
        let after = exchange(
            server.address,
            &post(&serde_json::json!([good]).to_string()),
        )
        .await;
        if after.status != 202 || after.json["accepted"] != 1 {
            faults.push(format!(
                "{}: the next good request got {}",
                case.name,
                shown(&after)
            ));
        }
    }

    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert_no_secret_or_payload_in(&server.log());
}

fn check(case: &Case, answer: &RawAnswer) -> Result<(), String> {
    if answer.text.contains(CANARY) {
        return Err("the answer repeats what was sent".to_owned());
    }
    match &case.expect {
        Expect::Problem(status) => problem(answer, *status),
        Expect::NotAllowed(method) => {
            problem(answer, 405)?;
            let allow = answer.header("allow");
            said(allow.to_ascii_uppercase().contains(method), || {
                format!("Allow: {allow}")
            })
        }
        Expect::Refused(code, pointer) => {
            problem(answer, 422)?;
            let rejected = &answer.json["rejected"][0];
            said(
                answer.json["accepted"] == 0 && answer.json["duplicates"] == 0,
                || "counts".to_owned(),
            )?;
            said(rejected["code"] == *code, || format!("not {code}"))?;
            let told = rejected["pointer"].as_str().unwrap_or_default();
            said(told == *pointer || pointer.is_empty(), || {
                format!("not at {pointer}")
            })
        }
        Expect::Taken { accepted, rejected } => {
            said(answer.status == 202, || "not 202".to_owned())?;
            let told = answer.json["rejected"]
                .as_array()
                .map_or(usize::MAX, Vec::len);
            said(
                answer.json["accepted"] == *accepted && told == *rejected,
                || format!("not {accepted} accepted and {rejected} rejected"),
            )
        }
        Expect::NotServed if answer.status == 0 => Ok(()),
        Expect::NotServed => {
            said((400..=505).contains(&answer.status), || "served".to_owned())?;
            problem(answer, answer.status)
        }
    }
}

fn problem(answer: &RawAnswer, status: u16) -> Result<(), String> {
    said(answer.status == status, || format!("not {status}"))?;
    let kind = answer.header("content-type");
    said(kind == "application/problem+json", || {
        format!("content-type {kind}")
    })?;
    for member in ["type", "title", "detail", "requestId"] {
        let is_there = answer.json[member]
            .as_str()
            .is_some_and(|said| !said.is_empty());
        said(is_there, || format!("no {member}"))?;
    }
    said(answer.json["status"] == status, || {
        "another status in the document".to_owned()
    })?;
    let id = answer.json["requestId"]
        .as_str()
        .unwrap_or_default()
        .to_ascii_lowercase();
    said(answer.header("x-request-id") == id, || {
        "another request id in the header".to_owned()
    })?;
    let needs_wait = status == 503 && answer.header("retry-after").is_empty();
    said(!needs_wait, || "no Retry-After".to_owned())
}

fn said(holds: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault()) }
}

fn shown(answer: &RawAnswer) -> String {
    answer
        .text
        .chars()
        .take(400)
        .collect::<String>()
        .replace("\r\n", " | ")
}

fn assert_no_secret_or_payload_in(log: &str) {
    for secret in [
        CANARY,
        crate::harness::INGEST_KEY,
        crate::harness::ADMIN,
        "good@example.ac.jp",
    ] {
        assert!(!log.contains(secret), "the log holds {secret}");
    }
}
