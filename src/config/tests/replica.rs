//! `records.read_url`: the replica of the records' database.

use super::*;

const URL: (&str, &str) = (
    "MIMAMORI_RECORDS__URL",
    "postgres://m:hidden-1@db.example/records",
);
const READ_URL: &str = "MIMAMORI_RECORDS__READ_URL";

fn refusal(pairs: &[(&str, &str)]) -> String {
    let report = load(pairs).unwrap_err().to_string();
    assert!(!report.contains("hidden"), "{report}");
    report
}

#[test]
fn a_replica_may_be_named_and_its_password_is_not_shown() {
    let other = "postgres://m:hidden-2@replica.example/records";

    let loaded = Config::load(None, environment(&[URL, (READ_URL, other)])).unwrap();

    let replica = loaded.config.records.read_url.as_ref().unwrap();
    assert_eq!(replica.expose(), other);
    let shown = format!("{:?} {:?}", loaded.config, loaded.provenance);
    assert!(shown.contains("replica.example") && !shown.contains("hidden"));
}

#[test]
fn its_address_may_come_from_a_file() {
    let file = file_with("postgres://m:hidden-2@replica.example/records\n");
    let path = file.path().to_str().unwrap();

    let config = load(&[URL, ("MIMAMORI_RECORDS__READ_URL_FILE", path)]).unwrap();

    assert!(config.records.read_url.is_some());
}

#[test]
fn without_a_database_there_is_no_replica_of_it() {
    let report = refusal(&[(READ_URL, "postgres://m:hidden-2@replica.example/records")]);

    assert!(report.contains("records.read_url"), "{report}");
    assert!(
        report.contains("in SQLite, which has no replica"),
        "{report}"
    );
}

#[test]
fn a_database_is_not_its_own_replica_whoever_signs_in() {
    let report = refusal(&[
        URL,
        (
            READ_URL,
            "postgresql://other:hidden-2@DB.example:5432/records",
        ),
    ]);

    assert!(
        report.contains("the database in records.url itself"),
        "{report}"
    );
}

#[test]
fn what_is_wrong_with_either_address_is_told_once() {
    let good = "postgres://m:hidden-2@replica.example/records";

    let of_replica = refusal(&[URL, (READ_URL, "mysql://m:hidden-2@db/x")]);
    let of_primary = refusal(&[
        ("MIMAMORI_RECORDS__URL", "mysql://hidden"),
        (READ_URL, good),
    ]);

    assert!(of_replica.contains("does not begin with postgres://"));
    assert!(of_replica.contains("records.read_url"), "{of_replica}");
    assert!(!of_primary.contains("records.read_url"), "{of_primary}");
}
