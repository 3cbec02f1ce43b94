use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::*;
use crate::http::Context;
use crate::keys::{LINK_LASTS, SESSION_LASTS};

const NOON: Timestamp = Timestamp::from_millis(1_795_000_000_000);

/// A clock that a test sets.
#[derive(Debug)]
struct SetClock(AtomicI64);

impl SetClock {
    fn at_noon() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(NOON.as_millis())))
    }

    fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap();
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

struct Setup {
    access: Access,
    keys: Arc<Keys>,
    clock: Arc<SetClock>,
}

fn setup() -> Setup {
    with_keys(Keys::ephemeral())
}

fn with_keys(keys: Keys) -> Setup {
    let (keys, clock) = (Arc::new(keys), SetClock::at_noon());
    let further = "https://jupyter.example".parse().unwrap();
    let access = Access::new(Arc::clone(&keys), vec![further], clock.clone());
    Setup {
        access,
        keys,
        clock,
    }
}

fn request(method: Method, headers: &[(&'static str, &str)]) -> Head {
    let mut head = Head {
        method,
        path: "/api/v1/classrooms".to_owned(),
        query: String::new(),
        headers: warp::http::HeaderMap::new(),
        context: Context::for_tests(),
    };
    for (name, value) in headers {
        head.headers.append(*name, value.parse().unwrap());
    }
    head
}

fn get(headers: &[(&'static str, &str)]) -> Head {
    request(Method::GET, headers)
}

fn bearer(token: &Secret) -> String {
    format!("Bearer {}", token.expose())
}

fn cookie(token: &Secret) -> String {
    format!("theme=dark; {COOKIE}={}", token.expose())
}

fn refused<T: fmt::Debug>(result: Result<T, ApiError>) -> (u16, &'static str) {
    let error = result.unwrap_err();
    (error.status.as_u16(), error.code)
}

#[test]
fn the_admin_token_reads_and_administers() {
    let Setup { access, keys, .. } = setup();
    let head = get(&[("authorization", &bearer(keys.admin_token()))]);

    assert_eq!(access.viewer(&head).unwrap(), Viewer::Admin);
    assert!(access.admin(&head).is_ok());
}

#[test]
fn a_link_and_a_session_read_but_do_not_administer() {
    let Setup { access, keys, .. } = setup();

    for token in [keys.new_link(NOON), keys.new_session(NOON).0] {
        let head = get(&[("authorization", &bearer(&token))]);

        assert_eq!(access.viewer(&head).unwrap(), Viewer::Instructor);
        assert_eq!(refused(access.admin(&head)), (403, "forbidden"));
    }
}

#[test]
fn without_a_credential_nothing_is_read_or_written() {
    let Setup { access, .. } = setup();

    assert_eq!(refused(access.viewer(&get(&[]))), (401, "missing_token"));
    assert_eq!(refused(access.admin(&get(&[]))), (401, "missing_token"));
    assert_eq!(
        refused(access.classroom_to_write(&get(&[]))),
        (401, "missing_key")
    );
}

#[test]
fn an_ingest_key_reads_nothing() {
    let Setup { access, keys, .. } = setup();
    let head = get(&[("authorization", &bearer(keys.ingest_key()))]);

    assert_eq!(refused(access.viewer(&head)), (403, "forbidden"));
    assert_eq!(refused(access.admin(&head)), (403, "forbidden"));
}

#[test]
fn an_ingest_key_in_the_address_does_not_read_either() {
    let Setup { access, keys, .. } = setup();
    let mut head = get(&[]);
    head.query = format!("key={}", keys.ingest_key().expose());
    head.context.path_key = Some(keys.ingest_key().expose().to_owned());

    assert_eq!(refused(access.viewer(&head)), (401, "missing_token"));
}

#[test]
fn an_unknown_token_is_unknown_whatever_its_kind_claims() {
    let Setup { access, .. } = setup();

    for text in ["Bearer adm_1", "Bearer ing_1", "Bearer ses_1", "bearer x"] {
        let head = get(&[("authorization", text)]);

        assert_eq!(refused(access.viewer(&head)), (401, "unknown_token"));
        assert_eq!(
            refused(access.classroom_to_write(&head)),
            (401, "unknown_key")
        );
    }
}

#[test]
fn an_expired_link_or_session_is_told_so() {
    let Setup {
        access,
        keys,
        clock,
    } = setup();
    let (link, (session, _)) = (keys.new_link(NOON), keys.new_session(NOON));
    let by_link = get(&[("authorization", &bearer(&link))]);
    let by_cookie = get(&[("cookie", &cookie(&session))]);

    clock.pass(LINK_LASTS);
    assert_eq!(refused(access.viewer(&by_link)), (401, "expired_token"));
    assert!(access.viewer(&by_cookie).is_ok());

    clock.pass(SESSION_LASTS);
    assert_eq!(refused(access.viewer(&by_cookie)), (401, "missing_token"));
}

#[test]
fn a_bad_bearer_token_is_not_made_good_by_a_cookie() {
    let Setup { access, keys, .. } = setup();
    let (session, _) = keys.new_session(NOON);
    let head = get(&[("authorization", "Bearer x"), ("cookie", &cookie(&session))]);

    assert_eq!(refused(access.viewer(&head)), (401, "unknown_token"));
}

#[test]
fn a_proxys_basic_authorization_does_not_hide_the_cookie() {
    let Setup { access, keys, .. } = setup();
    let (session, _) = keys.new_session(NOON);
    let head = get(&[
        ("authorization", "Basic YTpi"),
        ("cookie", &cookie(&session)),
    ]);

    assert_eq!(access.viewer(&head).unwrap(), Viewer::Instructor);
}

#[test]
fn only_a_session_is_good_as_a_cookie() {
    let Setup { access, keys, .. } = setup();

    for token in [
        keys.admin_token().clone(),
        keys.ingest_key().clone(),
        keys.new_link(NOON),
    ] {
        let head = get(&[("cookie", &cookie(&token))]);

        assert_eq!(refused(access.viewer(&head)), (401, "missing_token"));
    }
}

#[test]
fn a_tampered_cookie_signs_nobody_in() {
    let Setup { access, keys, .. } = setup();
    let (session, _) = keys.new_session(NOON);
    // the first digits are the expiry: make it later
    let longer = session.expose().replacen("ses_0", "ses_1", 1);

    let head = get(&[("cookie", &format!("{COOKIE}={longer}"))]);

    assert_ne!(longer, session.expose());
    assert_eq!(refused(access.viewer(&head)), (401, "missing_token"));
}

#[test]
fn a_stale_cookie_beside_a_good_one_does_no_harm() {
    let Setup { access, keys, .. } = setup();
    let (session, _) = keys.new_session(NOON);
    let both = format!("{COOKIE}=stale; {COOKIE}={}", session.expose());

    assert!(access.viewer(&get(&[("cookie", &both)])).is_ok());
}

#[test]
fn a_foreign_page_changes_nothing_with_the_cookie() {
    let Setup { access, keys, .. } = setup();
    let cookie = cookie(&keys.new_session(NOON).0);
    let from = |origin: &str, method: Method| {
        access.viewer(&request(method, &[("cookie", &cookie), ("origin", origin)]))
    };

    for origin in [
        "https://evil.example",
        "null",
        "http://127.0.0.1:9000",
        "https://127.0.0.1:8000",
        "http://127.0.0.1:8000.evil.example",
        "http://x@127.0.0.1:8000",
    ] {
        assert_eq!(
            refused(from(origin, Method::POST)),
            (403, "foreign_origin"),
            "{origin}"
        );
    }
    assert!(from("http://127.0.0.1:8000", Method::POST).is_ok());
    assert!(from("https://jupyter.example", Method::POST).is_ok());
    assert!(from("https://evil.example", Method::GET).is_ok());
}

#[test]
fn two_origins_at_once_are_foreign() {
    let Setup { access, .. } = setup();
    let own = "http://127.0.0.1:8000";

    let head = get(&[("origin", own), ("origin", own)]);

    assert_eq!(access.origin_is_ours(&head), OriginCheck::Foreign);
    assert_eq!(access.origin_is_ours(&get(&[])), OriginCheck::Absent);
}

#[test]
fn a_key_writes_in_each_of_its_three_forms() {
    let Setup { access, keys, .. } = setup();
    let key = keys.ingest_key().expose();
    let default = ClassroomId::new("default");

    let by_header = get(&[("authorization", &bearer(keys.ingest_key()))]);
    let mut by_query = get(&[]);
    by_query.query = format!("x=1&key={key}");
    let mut by_path = get(&[]);
    by_path.context.path_key = Some(key.to_owned());

    for head in [by_header, by_query, by_path] {
        assert_eq!(access.classroom_to_write(&head).unwrap(), default);
    }
}

#[test]
fn a_good_key_counts_whatever_stands_beside_it() {
    let Setup { access, keys, .. } = setup();
    let mut head = get(&[("authorization", "Bearer of-a-proxy")]);
    head.context.path_key = Some(keys.ingest_key().expose().to_owned());

    assert!(access.classroom_to_write(&head).is_ok());

    head.context.path_key = Some("ing_wrong".to_owned());
    assert_eq!(
        refused(access.classroom_to_write(&head)),
        (401, "unknown_key")
    );
}

#[test]
fn what_reads_does_not_write() {
    let Setup { access, keys, .. } = setup();

    for token in [
        keys.admin_token().clone(),
        keys.new_link(NOON),
        keys.new_session(NOON).0,
    ] {
        let head = get(&[("authorization", &bearer(&token))]);

        assert_eq!(
            refused(access.classroom_to_write(&head)),
            (403, "forbidden")
        );
    }
}

#[test]
fn a_session_or_an_ingest_key_does_not_sign_in() {
    let Setup { access, keys, .. } = setup();
    let (session, _) = keys.new_session(NOON);

    assert_eq!(
        refused(access.sign_in(session.expose())),
        (403, "forbidden")
    );
    assert_eq!(
        refused(access.sign_in(keys.ingest_key().expose())),
        (403, "forbidden")
    );
    assert_eq!(refused(access.sign_in("x")), (401, "unknown_token"));
    assert!(access.sign_in(keys.new_link(NOON).expose()).is_ok());
}

#[tokio::test]
async fn who_signed_out_stays_out_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = |dir: &Path| with_keys(Keys::load_or_create(dir, None, None).unwrap());
    let before = open(dir.path());
    let (one, other) = (
        before.keys.new_session(NOON).0,
        before.keys.new_session(NOON).0,
    );
    let (one, other) = (
        get(&[("cookie", &cookie(&one))]),
        get(&[("cookie", &cookie(&other))]),
    );
    assert!(before.access.viewer(&one).is_ok());

    before.access.sign_out(&one).await;
    let after = open(dir.path());

    assert!(before.access.viewer(&one).is_err());
    assert!(after.access.viewer(&one).is_err());
    assert!(after.access.viewer(&other).is_ok());
}

#[test]
fn origins_are_compared_as_browsers_write_them() {
    let parse = |text: &str| text.parse::<Origin>();

    assert_eq!(
        parse("HTTPS://Hub.Example:443"),
        parse("https://hub.example")
    );
    assert_ne!(parse("https://hub.example"), parse("http://hub.example"));
    assert_eq!(
        Origin::of_address("https://hub.example/services/mimamori"),
        parse("https://hub.example")
    );
    assert!(parse("http://[::1]:8000").is_ok());
    for wrong in [
        "",
        "null",
        "hub.example",
        "ftp://hub.example",
        "http://",
        "http://a/b",
        "http://a b",
        "http://[::1",
        "http://a:99999",
        "http://a:",
        "file://",
    ] {
        assert_eq!(parse(wrong), Err(BadOrigin), "{wrong}");
    }
}
