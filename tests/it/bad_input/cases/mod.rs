//! The table.

mod events;

use serde_json::Value;

use super::request::{GZIP, JSON, chunked, gzip, keyed, post, post_with, request, with_head};
use crate::harness::{ADMIN, Run, run};

/// Stands in what is sent, and in no answer and no log.
pub const CANARY: &str = "c4n4ry-of-the-tests";

pub struct Case {
    pub name: String,
    pub bytes: Vec<u8>,
    pub expect: Expect,
}

pub enum Expect {
    /// A problem document of this status.
    Problem(u16),
    /// 405 that names this method.
    NotAllowed(&'static str),
    /// 422: the one event was refused with this code, at this place (empty: anywhere).
    Refused(&'static str, &'static str),
    /// 202, so many accepted and so many rejected.
    Taken { accepted: usize, rejected: usize },
    /// Not HTTP: refused or cut off.
    NotServed,
}

fn case(name: impl Into<String>, bytes: Vec<u8>, expect: Expect) -> Case {
    Case {
        name: name.into(),
        bytes,
        expect,
    }
}

pub fn all() -> Vec<Case> {
    let parts = [
        routes(),
        keys(),
        encodings(),
        sizes(),
        events::not_json(),
        events::events_refused(),
        events::too_long(),
        events::strange_but_taken(),
        not_http(),
    ];
    parts.into_iter().flatten().collect()
}

fn routes() -> Vec<Case> {
    let on_events = |method: &str| request(method, "/api/v1/events", &[], b"");
    let mut cases = vec![
        case(
            "unknown path",
            request("GET", "/nothing/here", &[], b""),
            Expect::Problem(404),
        ),
        case(
            "unknown path of the API, before the key",
            request("POST", "/api/v1/nothing", &[JSON], b"[]"),
            Expect::Problem(404),
        ),
        case(
            "unknown path behind a key",
            request(
                "POST",
                &keyed().replace("events", "nothing"),
                &[JSON],
                b"[]",
            ),
            Expect::Problem(404),
        ),
        case(
            "dots in the path",
            request("GET", "/api/v1/../../etc/passwd", &[], b""),
            Expect::Problem(404),
        ),
        case(
            "POST to a place that is read",
            request("POST", "/livez", &[], b""),
            Expect::NotAllowed("GET"),
        ),
        case(
            "POST to readiness",
            request("POST", "/readyz", &[], b""),
            Expect::NotAllowed("GET"),
        ),
        case(
            "POST to the classrooms",
            request("POST", "/api/v1/classrooms", &[JSON], b"{}"),
            Expect::NotAllowed("GET"),
        ),
    ];
    // the method is looked at before the key
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        cases.push(case(
            format!("{method} of events"),
            on_events(method),
            Expect::NotAllowed("POST"),
        ));
    }
    cases
}

fn keys() -> Vec<Case> {
    let with = |path: &str, headers: &[(&str, &str)]| request("POST", path, headers, b"[]");
    let admin = format!("Bearer {ADMIN}");
    let unknown = format!("Bearer {CANARY}");
    let events = "/api/v1/events";
    vec![
        case("no key", with(events, &[JSON]), Expect::Problem(401)),
        case(
            "no key and no type: the key comes first",
            with(events, &[]),
            Expect::Problem(401),
        ),
        case(
            "unknown key in the header",
            with(events, &[JSON, ("Authorization", &unknown)]),
            Expect::Problem(401),
        ),
        case(
            "unknown key in the query",
            with(&format!("{events}?key={CANARY}"), &[JSON]),
            Expect::Problem(401),
        ),
        case(
            "empty key in the query",
            with(&format!("{events}?key="), &[JSON]),
            Expect::Problem(401),
        ),
        case(
            "unknown key in the path",
            with(&format!("/k/{CANARY}{events}"), &[JSON]),
            Expect::Problem(401),
        ),
        case(
            "another scheme",
            with(events, &[JSON, ("Authorization", "Basic Og==")]),
            Expect::Problem(401),
        ),
        case(
            "an empty bearer",
            with(events, &[JSON, ("Authorization", "Bearer ")]),
            Expect::Problem(401),
        ),
        case(
            "the admin token is no ingest key",
            with(events, &[JSON, ("Authorization", &admin)]),
            Expect::Problem(403),
        ),
        case(
            "the admin token in the query",
            with(&format!("{events}?key={ADMIN}"), &[JSON]),
            Expect::Problem(403),
        ),
    ]
}

fn encodings() -> Vec<Case> {
    let typed = |kind: &'static str| post_with(&[("Content-Type", kind)]);
    let encoded = |coding: &'static str| post_with(&[JSON, ("Content-Encoding", coding)]);
    let zipped = gzip(b"[]");
    let in_gzip = |body: &[u8]| request("POST", &keyed(), &[JSON, GZIP], body);
    vec![
        case("no content type", post_with(&[]), Expect::Problem(415)),
        case("text", typed("text/plain"), Expect::Problem(415)),
        case(
            "a form",
            typed("application/x-www-form-urlencoded"),
            Expect::Problem(415),
        ),
        case(
            "multipart",
            typed("multipart/form-data; boundary=x"),
            Expect::Problem(415),
        ),
        case(
            "almost JSON",
            typed("application/jsonx"),
            Expect::Problem(415),
        ),
        case("brotli", encoded("br"), Expect::Problem(415)),
        case("deflate", encoded("deflate"), Expect::Problem(415)),
        case("gzip twice", encoded("gzip, gzip"), Expect::Problem(415)),
        case(
            "gzip that is none",
            in_gzip(format!("[] {CANARY}").as_bytes()),
            Expect::Problem(400),
        ),
        case(
            "gzip that ends early",
            in_gzip(&zipped[..zipped.len() - 6]),
            Expect::Problem(400),
        ),
        case(
            "JSON with a charset",
            typed("application/json; charset=utf-8"),
            Expect::Taken {
                accepted: 0,
                rejected: 0,
            },
        ),
        case(
            "good gzip",
            in_gzip(&zipped),
            Expect::Taken {
                accepted: 0,
                rejected: 0,
            },
        ),
    ]
}

fn sizes() -> Vec<Case> {
    let big = format!("[\"{CANARY}{}\"]", "x".repeat(5 << 20));
    let many = |count: usize| {
        let events: Vec<_> = (0..count)
            .map(|nth| run(&format!("many-{count}-{nth}"), "many", "cell", Run::Ok))
            .collect();
        post(&Value::Array(events).to_string())
    };
    let bomb = gzip(format!("[\"{}\"]", " ".repeat(40 << 20)).as_bytes());
    let half = with_head(
        "POST",
        &keyed(),
        &[JSON, ("Content-Length", "100")],
        b"[{\"eventId\":",
    );
    vec![
        case("5 MiB", post(&big), Expect::Problem(413)),
        case(
            "5 MiB in chunks",
            chunked(big.as_bytes()),
            Expect::Problem(413),
        ),
        case(
            "40 MiB in a small gzip",
            request("POST", &keyed(), &[JSON, GZIP], &bomb),
            Expect::Problem(413),
        ),
        case("501 events", many(501), Expect::Problem(413)),
        case(
            "500 events",
            many(500),
            Expect::Taken {
                accepted: 500,
                rejected: 0,
            },
        ),
        case("half a body", half, Expect::Problem(408)),
        case(
            "half a chunk",
            with_head(
                "POST",
                &keyed(),
                &[JSON, ("Transfer-Encoding", "chunked")],
                b"40\r\n[{\"ev",
            ),
            Expect::Problem(408),
        ),
        case(
            "in chunks",
            chunked(b"[]"),
            Expect::Taken {
                accepted: 0,
                rejected: 0,
            },
        ),
    ]
}

fn not_http() -> Vec<Case> {
    let raw = |name: &str, bytes: &[u8]| {
        case(
            format!("not HTTP: {name}"),
            bytes.to_vec(),
            Expect::NotServed,
        )
    };
    let many_headers: String = (0..2000)
        .map(|nth| format!("X-{nth}: {CANARY}\r\n"))
        .collect();
    vec![
        raw(
            "noise",
            &[
                0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x0d, 0x0a, 0x0d, 0x0a,
            ],
        ),
        raw("a word", b"hello\r\n\r\n"),
        raw(
            "half a head",
            b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nX-",
        ),
        raw("nothing at all", b""),
        raw(
            "two lengths",
            &with_head(
                "POST",
                &keyed(),
                &[JSON, ("Content-Length", "2"), ("Content-Length", "3")],
                b"[]",
            ),
        ),
        raw(
            "a length that is none",
            &with_head("POST", &keyed(), &[JSON, ("Content-Length", "two")], b"[]"),
        ),
        raw(
            "2,000 headers",
            format!("GET /livez HTTP/1.1\r\nHost: x\r\n{many_headers}\r\n").as_bytes(),
        ),
        raw(
            "a head of 2 MiB",
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(2 << 20)).as_bytes(),
        ),
    ]
}
