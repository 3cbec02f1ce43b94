//! What answers are taken for, and what stands in statements.

use super::*;
use crate::storage::series::SeriesAt;
use crate::storage::series::tests::at_url;

fn judged(status: u16, body: &str) -> String {
    match taken(StatusCode::from_u16(status).unwrap(), body) {
        Ok(left_out) => format!("in, {left_out} left out"),
        Err(SeriesError::Refused(reason)) => format!("refused: {reason}"),
        Err(SeriesError::NoDatabase) => "no database".to_owned(),
        Err(SeriesError::Away(reason)) => format!("away: {reason}"),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_says_whether_points_are_in_come_later_or_never() {
    for (status, body, expected) in [
        (204, "", "in, 0 left out"),
        (200, "", "in, 0 left out"),
        (
            400,
            r#"{"error":"partial write: points beyond retention policy dropped=12"}"#,
            "in, 12 left out",
        ),
        (
            400,
            r#"{"error":"partial write: unable to parse 'x,team=points beyond retention policy': invalid"}"#,
            "refused: it answered 400: partial write, unable to parse",
        ),
        (
            422,
            r#"{"code":"unprocessable entity","message":"failure writing points to database: partial write: points beyond retention policy dropped=3"}"#,
            "in, 3 left out",
        ),
        (
            400,
            r#"{"error":"partial write: field type conflict: input field \"executions\" on measurement \"mimamori_events\" is type integer, already exists as type string dropped=1"}"#,
            "refused: it answered 400: partial write, field type conflict",
        ),
        (
            400,
            r#"{"error":"partial write of line protocol occurred","data":[{"error_message":"invalid column type"}]}"#,
            "refused: it answered 400: partial write",
        ),
        (413, "", "refused: it answered 413"),
        (
            404,
            r#"{"error":"database not found: \"m\""}"#,
            "no database",
        ),
        (
            404,
            r#"{"code":"not found","message":"bucket not found"}"#,
            "no database",
        ),
        (
            401,
            r#"{"error":"authorization failed"}"#,
            "away: it answered 401: authorization failed",
        ),
        (
            500,
            r#"{"error":"timeout"}"#,
            "away: it answered 500: timeout",
        ),
        (503, "", "away: it answered 503"),
        (302, "", "away: it answered 302"),
        // whoever that is, it is no InfluxDB that says what is wrong with a point
        (400, "<html>Bad Request</html>", "away: it answered 400"),
    ] {
        assert_eq!(judged(status, body), expected, "{status} {body}");
    }
}

#[test]
fn what_the_server_repeats_of_names_is_told_to_nobody() {
    let body = r#"{"error":"unable to parse 'mimamori_events,team=山田花子 ': missing fields"}"#;

    let told = judged(400, body);

    assert_eq!(told, "refused: it answered 400: unable to parse");
}

#[test]
fn a_text_in_a_statement_ends_where_it_should() {
    assert_eq!(quoted_text(r"a' OR 'b\"), r"'a\' OR \'b\\'");
    assert_eq!(quoted_name(r#"a"; DROP "#), r#""a\"; DROP ""#);
}

#[tokio::test]
async fn points_that_nobody_waits_for_take_no_server_for_away() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let SeriesAt::Influx { url, .. } = at_url(&format!("http://{address}/?db=class")) else {
        panic!("an address of InfluxDB");
    };
    let client = Client::new(&url, None).unwrap();
    let point = || vec![WriteQuery::new(influxdb::Timestamp::Hours(1), "x").add_field("y", 1)];
    // it takes connections and closes them
    let closing = async { while listener.accept().await.is_ok() {} };

    let written = async {
        let behind = client.write_behind(point()).await;
        let known_behind = client.check_known();
        let waited_for = client.write(point()).await;
        (behind, known_behind, waited_for, client.check_known())
    };
    let written = tokio::select! {
        written = written => written,
        () = closing => panic!("it listens until the end"),
    };

    assert!(matches!(
        written,
        (
            Err(SeriesError::Away(_)),
            Ok(()),
            Err(SeriesError::Away(_)),
            Err(SeriesError::Away(_))
        )
    ));
}
