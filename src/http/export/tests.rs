use mimamori_actors::domain::Entry;
use mimamori_actors::ports::Store;
use tempfile::TempDir;

use super::*;
use crate::clock::SystemClock;
use crate::http::Context;
use crate::keys::Keys;
use crate::storage::records::RecordsAt;
use crate::storage::samples::{executed, journal, student};

struct House {
    _dir: TempDir,
    token: String,
    exports: Exports,
    routes: BoxedFilter<(Response,)>,
}

impl House {
    async fn with(entries: &[Arc<Entry>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = RecordsAt::Dir(dir.path().to_owned());
        let records = Records::open(&at).await.unwrap();
        if let Some(last) = entries.last() {
            let through = last.position;
            records.write(&journal(), entries, through).await.unwrap();
        }
        let keys = Arc::new(Keys::ephemeral());
        let token = keys.admin_token().expose().to_owned();
        let clock = Arc::new(SystemClock);
        let exports = Exports {
            access: Arc::new(Access::new(keys, Vec::new(), clock.clone())),
            records: Arc::new(records),
            classrooms: Classrooms::default(),
            jobs: Jobs::default(),
            clock,
        };
        Self {
            _dir: dir,
            token,
            routes: routes(exports.clone()),
            exports,
        }
    }

    async fn ask(&self, path: &str) -> warp::http::Response<bytes::Bytes> {
        warp::test::request()
            .path(path)
            .header("authorization", format!("Bearer {}", self.token))
            .extension(Context::for_tests())
            .reply(&self.routes)
            .await
    }

    fn request(&self) -> Request {
        Request {
            classroom: ClassroomId::new("default"),
            what: What::Events,
            format: Format::Csv,
            range: TimeRange {
                from: Timestamp::from_millis(0),
                to: None,
            },
        }
    }
}

const EXPORT: &str = "/api/v1/classrooms/default/export";

#[tokio::test]
async fn a_file_comes_with_its_name_and_who_is_left_out() {
    let house = House::with(&[executed(1, 1), executed(2, 2), executed(3, 2)]).await;
    let records = &house.exports.records;
    let now = Timestamp::from_millis(0);
    records
        .set_for_research(&student(1), false, now)
        .await
        .unwrap();

    let answer = house
        .ask(&format!("{EXPORT}?what=executions&format=csv"))
        .await;

    let header = |name: &str| answer.headers()[name].to_str().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(header("mimamori-left-out-students"), "1");
    assert_eq!(header("mimamori-rows-at-most"), "3");
    assert_eq!(
        header("content-disposition"),
        "attachment; filename=\"default-executions.csv\""
    );
    let text = std::str::from_utf8(answer.body()).unwrap();
    assert_eq!(text.matches("\"cell_executed\"").count(), 2, "{text}");
    assert!(
        !text.contains("山田") && !text.contains("@example"),
        "{text}"
    );
}

#[tokio::test]
async fn what_is_wrong_has_its_status() {
    let house = House::with(&[]).await;

    for (path, status) in [
        (EXPORT.to_owned(), 400),
        (format!("{EXPORT}?what=executions"), 400),
        (format!("{EXPORT}?what=keys&format=csv"), 400),
        (format!("{EXPORT}?what=help&format=csv&from=soon"), 400),
        (
            format!("{EXPORT}?what=help&format=csv&from=2026-11-02&to=2026-11-01"),
            400,
        ),
        (
            format!("{EXPORT}?what=help&format=csv&from=2026-11-01&to=2026-11-02"),
            200,
        ),
        (
            "/api/v1/classrooms/physics/export?what=help&format=csv".to_owned(),
            404,
        ),
        ("/api/v1/exports".to_owned(), 200),
    ] {
        assert_eq!(house.ask(&path).await.status(), status, "{path}");
    }
    let stranger = warp::test::request()
        .path(EXPORT)
        .extension(Context::for_tests())
        .reply(&house.routes)
        .await;
    assert_eq!(stranger.status(), 401);
}

#[tokio::test]
async fn two_exports_at_a_time() {
    let house = House::with(&[executed(1, 1)]).await;
    let begin = || {
        let now = Timestamp::from_millis(0);
        house.exports.jobs.begin(&house.request(), now)
    };
    let (first, second) = (begin().unwrap(), begin().unwrap());
    let path = format!("{EXPORT}?what=events&format=csv");

    let third = house.ask(&path).await;
    let told = house.ask("/api/v1/exports").await;
    drop(first);
    let fourth = house.ask(&path).await;
    drop(second);
    let (_one, _other) = (begin().unwrap(), begin().unwrap());
    house.exports.records.close().await.unwrap();
    let fifth = house.ask(&path).await;

    assert_eq!(third.status(), 429);
    assert!(third.headers().contains_key("retry-after"));
    let told: serde_json::Value = serde_json::from_slice(told.body()).unwrap();
    assert_eq!(told["items"].as_array().unwrap().len(), 2);
    assert_eq!(told["items"][0]["what"], "events");
    assert_eq!(fourth.status(), 200);
    // nothing is read for one that has no place
    assert_eq!(fifth.status(), 429);
}

#[tokio::test]
async fn who_goes_away_ends_the_export() {
    let entries: Vec<_> = (1..=9_000).map(|position| executed(position, 1)).collect();
    let house = House::with(&entries).await;
    let Exports { records, jobs, .. } = &house.exports;
    let now = Timestamp::from_millis(0);
    let mut begun = export::begin(records, jobs, house.request(), now)
        .await
        .unwrap();
    // more than fits between us has still to be read
    begun.pieces.recv().await.unwrap().unwrap();
    assert_eq!(jobs.told().len(), 1);

    drop(begun);

    while !jobs.told().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
