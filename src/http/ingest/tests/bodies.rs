//! Bodies in every form: declared, coded, too large, too late, broken off.

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{StreamExt, stream};
use std::io::Write;

use super::*;

const MIB: usize = 1024 * 1024;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gzipped(body: &[u8]) -> RequestBuilder {
    post().header("content-encoding", "gzip").body(body)
}

/// A body of one MiB after the other, and how many of them were asked for.
fn mebibytes(
    count: usize,
) -> (
    impl Stream<Item = Result<Bytes, Infallible>> + Send,
    Arc<Mutex<usize>>,
) {
    let asked = Arc::new(Mutex::new(0));
    let counter = asked.clone();
    let chunk = Bytes::from(vec![b' '; MIB]);
    let chunks = stream::iter(0..count).map(move |_| {
        *counter.lock().unwrap() += 1;
        Ok(chunk.clone())
    });
    (chunks, asked)
}

#[tokio::test]
async fn json_is_taken_under_each_of_its_names_and_nothing_else_is() {
    let app = App::new();
    for (content_type, status) in [
        ("application/json", 202),
        ("Application/JSON; charset=utf-8", 202),
        ("application/vnd.mimamori.v1+json", 202),
        ("text/plain", 415),
        ("application/jsonx", 415),
        ("application/+json", 415),
        ("application/a/b+json", 415),
        ("text/json", 415),
        ("", 415),
    ] {
        let request = request("POST")
            .header("authorization", "Bearer good")
            .header("content-type", content_type)
            .body("[]");

        assert_eq!(app.send(request).await.status(), status, "{content_type}");
    }
}

#[tokio::test]
async fn gzip_and_identity_are_taken_and_no_other_coding_is() {
    let app = App::new();
    let batch = gzip(json!([event("e1")]).to_string().as_bytes());

    let answer = app.send(gzipped(&batch)).await;
    assert_eq!(
        (answer.status(), answer.json()["accepted"].clone()),
        (202, json!(1))
    );
    let identity = post().header("content-encoding", "identity").body("[]");
    assert_eq!(app.send(identity).await.status(), 202);
    for coding in ["br", "deflate", "gzip, gzip", "zstd"] {
        let answer = app
            .send(post().header("content-encoding", coding).body("[]"))
            .await;
        answer.assert_problem(415, "unsupported_encoding");
    }
}

#[tokio::test]
async fn what_is_no_whole_gzip_member_is_refused() {
    let app = App::new();
    let whole = gzip(b"[]");
    let mut damaged = whole.clone();
    damaged[12] ^= 0x40;
    let mut wrong_sum = whole.clone();
    let sum = wrong_sum.len() - 8;
    wrong_sum[sum] ^= 1;

    let mut bodies = vec![
        b"[]".to_vec(),
        damaged,
        wrong_sum,
        [&whole[..], b"x"].concat(),
        [&whole[..], &whole[..]].concat(),
    ];
    bodies.extend((0..whole.len()).map(|end| whole[..end].to_vec()));
    for body in bodies {
        app.send(gzipped(&body))
            .await
            .assert_problem(400, "not_gzip");
    }
}

#[tokio::test]
async fn a_bomb_is_refused_before_it_is_unpacked() {
    let app = App::new();
    let bomb = gzip(&vec![b' '; 100 * MIB]);
    assert!(bomb.len() < MIB);
    let exact = gzip(format!("[{}]", " ".repeat(MAX_BODY_BYTES - 2)).as_bytes());

    app.send(gzipped(&bomb))
        .await
        .assert_problem(413, "too_large");
    assert_eq!(app.send(gzipped(&exact)).await.status(), 202);
}

#[tokio::test]
async fn too_large_bodies_are_told_the_limits() {
    let app = App::new();
    let exact = format!("[{}]", " ".repeat(MAX_BODY_BYTES - 2));

    assert_eq!(app.post(&exact).await.status(), 202);
    let answer = app.post(exact + " ").await;

    answer.assert_problem(413, "too_large");
    assert_eq!(answer.json()["maxBytes"], 4 * MIB);
    assert_eq!(answer.json()["maxEvents"], 500);
}

#[tokio::test]
async fn too_many_events_are_told_the_limits() {
    let app = App::new();
    let events: Vec<_> = (0..501).map(|n| event(&format!("e{n}"))).collect();

    let most = app.post(json!(events[1..]).to_string()).await;
    let answer = app.post(json!(events).to_string()).await;

    assert_eq!(
        (most.status(), most.json()["accepted"].clone()),
        (202, json!(500))
    );
    answer.assert_problem(413, "too_many_events");
    assert_eq!(answer.json()["maxEvents"], 500);
}

#[tokio::test]
async fn what_is_still_coming_is_thrown_away_up_to_16_mib() {
    let app = App::new();
    for (mebibytes_sent, declared, is_read) in [
        (10, false, true),
        (10, true, true),
        (16, false, true),
        (40, true, false),
    ] {
        let (chunks, asked) = mebibytes(mebibytes_sent);
        let length = (mebibytes_sent * MIB).to_string();
        let headers = [("content-length", length)];
        let headers = if declared { &headers[..] } else { &[] };

        let answer = app.stream(headers, chunks).await;

        answer.assert_problem(413, "too_large");
        let asked = *asked.lock().unwrap();
        assert_eq!(asked, mebibytes_sent.min(17), "read");
        let expected = (!is_read).then_some("close");
        assert_eq!(answer.header("connection"), expected);
    }
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_refused_without_its_body() {
    let app = App::new();
    let (chunks, asked) = mebibytes(10);
    let headers = [
        ("content-length", (10 * MIB).to_string()),
        ("expect", "100-continue".to_owned()),
    ];

    let answer = app.stream(&headers, chunks).await;

    answer.assert_problem(413, "too_large");
    assert_eq!(*asked.lock().unwrap(), 0);
    assert_eq!(answer.header("connection"), Some("close"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_in_time_is_408() {
    let app = App::new();
    let began = tokio::time::Instant::now();
    // a byte a second: each is in time, all of them are not
    let drops = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok(Bytes::from_static(b" ")), ()))
    });

    let answer = app.stream(&[], drops).await;

    answer.assert_problem(408, "body_timeout");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(began.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_is_listened_to_while_it_sends_and_not_for_ever() {
    let app = App::new();
    let headers = [("content-type", "text/plain".to_owned())];
    let began = tokio::time::Instant::now();
    let sent = stream::iter(0..3).then(|_| async {
        tokio::time::sleep(Duration::from_millis(900)).await;
        Ok(Bytes::from_static(b"x"))
    });

    let answer = app.stream(&headers, sent.chain(stream::pending())).await;

    answer.assert_problem(415, "unsupported_type");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(began.elapsed().as_millis(), 3 * 900 + 1000);
}

#[tokio::test]
async fn what_is_no_list_of_events_is_400_with_its_reason() {
    let app = App::new();
    let nested = format!("[{}{}]", "[".repeat(127), "]".repeat(127));
    let cases: [(&[u8], &str); 9] = [
        (b"", "not_json"),
        (b"[1", "not_json"),
        (b"[{\"code\":1e999}]", "not_json"),
        (nested.as_bytes(), "not_json"),
        (b"\xef\xbb\xbf[]", "not_json"),
        (b"[\"\xc3\x28\"]", "not_utf8"),
        (b"{}", "not_events"),
        (b"{\"events\":{}}", "not_events"),
        (b"\"[]\"", "not_events"),
    ];
    for (body, code) in cases {
        app.post(body).await.assert_problem(400, code);
    }
}

#[tokio::test]
async fn no_answer_repeats_what_was_sent() {
    let app = App::new();
    let secret = "hunter2@example.ac.jp";
    let bodies = [
        json!([{"eventType": secret, "emailAddress": secret, "eventId": "a hunter2"}]).to_string(),
        json!([{"eventType": "help", "emailAddress": secret, "eventTime": secret}]).to_string(),
        format!("[\"{secret}\"]"),
        format!("{{\"{secret}\""),
    ];
    for body in bodies {
        let answer = app.post(&body).await;

        let text = String::from_utf8_lossy(answer.0.body()).into_owned();
        assert!(!text.contains("hunter2"), "{text}");
        assert!((400..500).contains(&answer.status()));
    }
}

#[tokio::test]
async fn bodies_in_hand_take_bounded_memory_and_give_it_back() {
    let mut app = App::new();
    app.desk.room = Room::new(MIB);
    let large = || {
        let chunk = Bytes::from(vec![b' '; 2 * MIB]);
        stream::iter([Ok(chunk)])
    };
    let values = || stream::iter([Ok(Bytes::from(format!("[[{}1]]", "1,".repeat(50_000))))]);
    let small = || stream::iter([Ok(Bytes::from_static(b"[]"))]);

    app.stream(&[], large())
        .await
        .assert_problem(503, "overloaded");
    app.stream(&[], values())
        .await
        .assert_problem(503, "overloaded");
    assert_eq!(app.stream(&[], small()).await.status(), 202);
    let Ok(()) = app.desk.room.hold_nothing().grow(MIB) else {
        panic!("all of it is given back");
    };
}
