//! The write route of 2.x and 3, scripted: no such server is at hand.

use std::sync::{Arc, Mutex};

use mimamori_actors::domain::SessionKey;
use mimamori_actors::ports::StoreError;

use super::between::{Asked, Between, Turn};
use super::*;
use crate::keys::Secret;

const EMPTY: &str = r#"{"results":[{"statement_id":0}]}"#;

/// Answers questions as a server that is empty, and writes as the test says.
async fn fake(
    writes: impl Fn(&Asked) -> Turn + Send + 'static,
) -> (Between, Series, Arc<Mutex<Vec<Asked>>>) {
    let seen: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let seeing = Arc::clone(&seen);
    let between = Between::before(0, move |asked| {
        seeing.lock().unwrap().push(asked.clone());
        match asked.path.as_str() {
            "/write" => writes(asked),
            // 2.x knows no databases, only buckets
            _ if asked.body.contains("CREATE") => Turn::Answer(
                400,
                r#"{"code":"invalid","message":"CREATE DATABASE is not supported"}"#,
            ),
            _ => Turn::Answer(200, EMPTY),
        }
    })
    .await;
    let url = format!("http://{}/?db=class", between.address);
    let SeriesAt::Influx { url, .. } = at_url(&url) else {
        panic!("an address of InfluxDB");
    };
    let token = Some(Secret::new("hidden=="));
    let series = Series::at(&SeriesAt::Influx { url, token }).unwrap();
    (between, series, seen)
}

#[tokio::test]
async fn a_token_goes_with_every_request_and_points_go_compressed_in_nanoseconds() {
    let (_between, series, seen) = fake(|_| Turn::Answer(204, "")).await;

    series
        .write(&journal(), &batch(), Position(70))
        .await
        .unwrap();

    let seen = seen.lock().unwrap();
    assert!(
        seen.iter()
            .all(|asked| asked.authorization == "Token hidden==")
    );
    let writes: Vec<_> = seen.iter().filter(|asked| asked.path == "/write").collect();
    let first_words = writes
        .iter()
        .map(|asked| asked.body.split(',').next().unwrap());
    assert_eq!(
        first_words.collect::<Vec<_>>(),
        [
            "mimamori_tag_values",
            "mimamori_reach journal=\"journal-1\"",
            "mimamori_events",
            "mimamori_offsets"
        ]
    );
    for write in writes {
        assert!(write.is_compressed);
        assert_eq!(write.query, "db=class&precision=ns");
    }
}

#[tokio::test]
async fn lines_are_what_the_documentation_says() {
    let (_between, series, seen) = fake(|_| Turn::Answer(204, "")).await;

    series
        .write(&journal(), &batch(), Position(70))
        .await
        .unwrap();

    let seen = seen.lock().unwrap();
    let of = |table: &str| {
        let write = seen
            .iter()
            .find(|asked| asked.body.starts_with(table))
            .unwrap();
        write.body.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let run = "mimamori_events,classroom=default,kind=cell_executed,notebook=week1/課題.ipynb,team=チームA \
        position=2i,student=\"stu_00000000000000000000000000000001\",executions=1i,errors=1i,status=\"error\" \
        1795305602000000002";
    assert_eq!(of("mimamori_events")[1], run);
    let help = "mimamori_events,classroom=default,kind=help_opened \
        position=4i,helped=\"stu_00000000000000000000000000000002\",help=1i 1795305604000000004";
    assert_eq!(of("mimamori_events")[3], help);
    let kept = of("mimamori_offsets");
    assert_eq!(
        kept[0],
        "mimamori_offsets,journal=journal-1 position=70i 7258118400000000000"
    );
    let reach = "mimamori_reach journal=\"journal-1\",through=70i,heard=";
    assert!(kept[1].starts_with(reach), "{kept:?}");
    assert_eq!(
        of("mimamori_tag_values"),
        [
            "mimamori_tag_values,classroom=default,label=notebook value=\"week1/課題.ipynb\" 7258118400000000001",
            "mimamori_tag_values,classroom=default,label=team value=\"チームA\" 7258118400000000001",
        ]
    );
}

#[tokio::test]
async fn what_a_later_server_refuses_is_refused_and_what_it_cannot_do_now_is_waited_for() {
    for (status, body, is_for_good) in [
        (
            422,
            r#"{"code":"unprocessable entity","message":"failure writing points to database: partial write: field type conflict dropped=1"}"#,
            true,
        ),
        (
            400,
            r#"{"code":"invalid","message":"unable to parse 'x': bad timestamp"}"#,
            true,
        ),
        (
            400,
            r#"{"error":"partial write of line protocol occurred","data":[]}"#,
            true,
        ),
        (413, r#"{"code":"request too large"}"#, true),
        (
            401,
            r#"{"code":"unauthorized","message":"unauthorized access"}"#,
            false,
        ),
        (
            404,
            r#"{"code":"not found","message":"bucket \"class\" not found"}"#,
            false,
        ),
        (429, "", false),
        (500, r#"{"code":"internal error"}"#, false),
        (503, "", false),
    ] {
        let (_between, series, _) = fake(move |asked| {
            if asked.body.starts_with("mimamori_events") {
                Turn::Answer(status, body)
            } else {
                Turn::Answer(204, "")
            }
        })
        .await;

        let written = series
            .write(&journal(), &[executed(1, 1)], Position(1))
            .await;

        let is_refused = matches!(written, Err(StoreError::Refused(_)));
        let is_away = matches!(written, Err(StoreError::Unavailable(_)));
        assert_eq!(
            (is_refused, is_away),
            (is_for_good, !is_for_good),
            "{status}: {written:?}"
        );
        let told = written.unwrap_err().to_string();
        assert!(
            !told.contains("hidden") && !told.contains("class"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn what_is_kept_about_points_is_no_fault_of_an_entry() {
    for table in ["mimamori_tag_values", "mimamori_offsets", "mimamori_reach"] {
        let (_between, series, _) = fake(move |asked| {
            if asked.body.starts_with(table) {
                Turn::Answer(
                    400,
                    r#"{"error":"partial write: field type conflict dropped=1"}"#,
                )
            } else {
                Turn::Answer(204, "")
            }
        })
        .await;

        let written = series
            .write(&journal(), &[executed(1, 1)], Position(1))
            .await;

        assert!(
            matches!(written, Err(StoreError::Unavailable(_))),
            "{table}: {written:?}"
        );
    }
}

#[tokio::test]
async fn an_order_that_meets_a_closed_engine_is_given_again() {
    let closed = r#"{"results":[{"statement_id":0,"error":"engine is closed"}]}"#;
    let left = Mutex::new(2);
    let given: Arc<Mutex<u32>> = Arc::default();
    let counting = Arc::clone(&given);
    let between = Between::before(0, move |asked| {
        if !asked.body.contains("DELETE") {
            return Turn::Answer(if asked.path == "/write" { 204 } else { 200 }, EMPTY);
        }
        *counting.lock().unwrap() += 1;
        let mut left = left.lock().unwrap();
        if *left == 0 {
            return Turn::Answer(200, EMPTY);
        }
        *left -= 1;
        Turn::Answer(200, closed)
    })
    .await;
    let series = Series::at(&at_url(&format!("http://{}/?db=class", between.address))).unwrap();
    let person = SessionKey {
        classroom: room(),
        student: student(1),
    };

    let (journal, nothing) = (journal(), |_, _| Vec::new());
    let erased = series.erase(&journal, &person, Position(1), nothing);

    erased.await.unwrap();
    assert_eq!(*given.lock().unwrap(), 3);
}
